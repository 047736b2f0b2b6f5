import json
import pickle
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.bundle.catalogue import bundle_folders, find_bundle
from medmtl.bundle.digests import verify_sums, write_sums
from medmtl.errors import BundleError, Code, UsageError
from medmtl.findings.calibration import Calibration, ClassCalibration, LesionCalibration, VolumeCalibration
from tests.tiny import CUBE, heart_tasks, write_bundle

KNOWN = Calibration(
    classes={"diagnosis": ClassCalibration(temperature=1.5, threshold=0.2, cases=40)},
    volumes={"organs.lv_cavity": VolumeCalibration(low=-0.1, high=0.1, cases=40)},
    lesions={"lesions": LesionCalibration(constant=0.0, log_odds=1.0, log_ml=0.5, lesions=40)},
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "tiny", networks=2, calibration=KNOWN)


def edit(bundle: Bundle, **changes: Any) -> None:
    """Changes keys of bundle.yaml and lists its new checksum, as somebody who knows how would."""
    path = bundle.folder / "bundle.yaml"
    body = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
    path.write_text(yaml.safe_dump({k: v for k, v in body.items() if v is not None}), encoding="utf-8")
    write_sums(bundle.folder)


def refusal(folder: Path) -> Code:
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    return caught.value.code


def test_what_is_written_reads_back_equal(bundle: Bundle) -> None:
    again = read_bundle(bundle.folder)
    for name in ("tasks", "plan", "calibration", "reference", "training", "limits", "sha256", "weights", "channels"):
        assert getattr(again, name) == getattr(bundle, name), name
    assert again.tasks == heart_tasks()
    assert [path.name for path in again.weights] == ["net_0.safetensors", "net_1.safetensors"]
    assert again.task("organs").labels[0].name == "lv_cavity"
    assert again.task_names == ("lesions", "organs", "diagnosis")


def test_checksums_are_those_of_sha256sum(bundle: Bundle) -> None:
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle.folder, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["bundle.yaml", "reference.json", "weights/net_1.safetensors", "LICENCE"])
def test_a_changed_byte_is_found_in_any_file(bundle: Bundle, name: str) -> None:
    path = bundle.folder / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert refusal(bundle.folder) is Code.BUNDLE_DAMAGED


@pytest.mark.parametrize("name", ["LICENCE", "weights/net_0.safetensors", "reference.json"])
def test_a_missing_file_is_found(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    assert refusal(bundle.folder) is Code.BUNDLE_DAMAGED


@pytest.mark.parametrize("name", ["hook.py", "weights/.net.safetensors.swp", "metrics.json"])
def test_an_unlisted_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).write_text("{}", encoding="utf-8")
    assert refusal(bundle.folder) in (Code.BUNDLE_DAMAGED, Code.UNSAFE_WEIGHTS)


class Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("name", ["net_9.pt", "net_9.safetensors", "net_9.bin"])
def test_a_pickle_named_as_weights_is_refused_and_not_run(bundle: Bundle, name: str) -> None:
    trace = bundle.folder.parent / "was-run"
    (bundle.folder / "weights" / name).write_bytes(pickle.dumps(Evil(trace)))
    write_sums(bundle.folder)  # even where it is listed
    assert refusal(bundle.folder) is Code.UNSAFE_WEIGHTS
    assert not trace.exists()


def test_a_short_file_or_a_folder_among_the_weights_is_refused(bundle: Bundle) -> None:
    (bundle.folder / "weights" / "net_2.safetensors").write_bytes(b"\x08\x00")
    assert refusal(bundle.folder) is Code.UNSAFE_WEIGHTS
    (bundle.folder / "weights" / "net_2.safetensors").unlink()
    (bundle.folder / "weights" / "net_2.safetensors").mkdir()
    assert refusal(bundle.folder) is Code.UNSAFE_WEIGHTS


def test_checksums_outside_the_folder_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    sums = bundle.folder / "SHA256SUMS"
    line = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  ../secret\n"  # right for "x"
    sums.write_text(sums.read_text(encoding="ascii") + line, encoding="ascii")
    with pytest.raises(BundleError):
        verify_sums(bundle.folder)


def test_a_model_keeps_its_name_when_figures_are_added_and_only_then(bundle: Bundle) -> None:
    (bundle.folder / "metrics.json").write_text("{}", encoding="utf-8")
    (bundle.folder / "MODEL_CARD.md").write_text("# card", encoding="utf-8")
    write_sums(bundle.folder)
    assert read_bundle(bundle.folder).sha256 == bundle.sha256
    edit(bundle, calibration={})
    assert read_bundle(bundle.folder).sha256 != bundle.sha256


@pytest.mark.parametrize("what", ["weights", "reference"])
def test_another_answer_is_another_name(tmp_path: Path, what: str) -> None:
    one = write_bundle(tmp_path / "one")
    if what == "weights":
        other = write_bundle(tmp_path / "other", networks=2)
    else:
        grown = {**one.reference, "cases": 9}
        other = write_bundle(tmp_path / "other", reference=grown)
    assert one.sha256 != other.sha256
    assert write_bundle(tmp_path / "again").sha256 == one.sha256


def test_another_version_is_refused(bundle: Bundle) -> None:
    edit(bundle, schema="medmtl-bundle/2")
    assert refusal(bundle.folder) is Code.BUNDLE_VERSION


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": {"organs": {"kind": "outline"}}},
        {"tasks": {"../../organs": {"kind": "regression"}}},
        {"tasks": ["organs"]},
        {"plan": {"patch": [1, 2, 3]}},
        {"modality": None},
        {"training": None},
        {"calibration": 5},
    ],
)
def test_a_bundle_yaml_that_says_nonsense_is_refused(bundle: Bundle, changes: dict[str, Any]) -> None:
    edit(bundle, **changes)
    assert refusal(bundle.folder) is Code.BUNDLE_DAMAGED


@pytest.mark.parametrize("text", ["", "just text", "a: [", "- 1", "!!python/object/apply:os.system ['true']"])
def test_a_bundle_yaml_that_is_none_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.folder / "bundle.yaml").write_text(text, encoding="utf-8")
    write_sums(bundle.folder)
    assert refusal(bundle.folder) is Code.BUNDLE_DAMAGED


def test_a_folder_that_is_no_bundle(tmp_path: Path, bundle: Bundle) -> None:
    assert refusal(tmp_path) is Code.NOT_A_BUNDLE
    (bundle.folder / "SHA256SUMS").unlink()
    assert refusal(bundle.folder) is Code.NOT_A_BUNDLE


def test_auxiliary_tasks_are_not_offered(tmp_path: Path) -> None:
    organs = replace(heart_tasks()[1], auxiliary=True)
    tasks = (heart_tasks()[0], organs, heart_tasks()[2])
    made = write_bundle(tmp_path / "aux", tasks=tasks, plan=CUBE)
    assert made.task_names == ("lesions", "diagnosis")


def test_models_are_found_by_name_by_folder_and_by_run(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMTL_MODELS", str(tmp_path))
    assert bundle_folders()["tiny"] == bundle.folder
    assert find_bundle("tiny").sha256 == bundle.sha256
    assert find_bundle(str(bundle.folder)).sha256 == bundle.sha256
    (tmp_path / "run").mkdir()
    bundle.folder.rename(tmp_path / "run" / "bundle")
    assert find_bundle(str(tmp_path / "run")).sha256 == bundle.sha256
    with pytest.raises(UsageError) as caught:
        find_bundle(str(tmp_path / "gone"))
    assert caught.value.code is Code.NOT_FOUND
    assert str(tmp_path) not in caught.value.what


def test_bundle_yaml_holds_plain_data(bundle: Bundle) -> None:
    body = yaml.safe_load((bundle.folder / "bundle.yaml").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(body)) == body
