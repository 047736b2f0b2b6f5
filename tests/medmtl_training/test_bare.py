"""Training from prepared arrays where nothing is installed that reads images or serves pages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medmtl.errors import Code, MedmtlError
from medmtl_training.cases import read_dataset
from medmtl_training.cli import train
from medmtl_training.config import read_config
from medmtl_training.data_cli import data
from medmtl_training.prepared_set import config_of_prepared
from tests.tiny import ROOT, heart_dataset, write_tiny_config

ABSENT = ("pydicom", "SimpleITK", "streamlit", "nibabel", "highdicom", "scipy", "sklearn", "click", "PIL", "jinja2",
          "tensorboard", "cc3d", "rich")  # fmt: skip

BLOCKED = f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {ABSENT!r} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import warnings; warnings.simplefilter("ignore")
from medmtl_training.bare import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hearts."""
    return heart_dataset(tmp_path_factory.mktemp("bare") / "hearts", 4)


@pytest.fixture(scope="module")
def prepared(images: Path) -> Path:
    """The same, as `medmtl data prepare` leaves them."""
    config = write_tiny_config(images.parent / "plan.yaml", model={"name": "bare"})
    folder = images.parent / "prepared"
    arguments = ["prepare", str(images), "-o", str(folder), "--config", str(config)]
    result = CliRunner().invoke(data, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("disk: ")
    return folder


def without_readers(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m medmtl_training.bare` where `ABSENT` cannot be imported."""
    paths = ":".join(str(ROOT / part) for part in ("", "training"))
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], env={"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_prepared_set_is_a_data_set_without_images(images: Path, prepared: Path) -> None:
    assert {path.name for path in prepared.iterdir()} == {"dataset.yaml", "cases.csv", "plan.yaml", "prepared"}
    with_images, _ = read_dataset(images)
    without, _ = read_dataset(prepared)
    assert without.prepared == prepared / "prepared"
    assert [case.name for case in without.cases] == [case.name for case in with_images.cases]
    assert [set(case.voxel_labels) for case in without.cases] == [set(case.voxel_labels) for case in with_images.cases]
    assert all(case.images == () for case in without.cases)


def test_bare_training_and_the_bundle_where_the_images_are(images: Path, prepared: Path) -> None:
    run = images.parent / "run"
    done = without_readers(str(prepared), "-o", str(run), "--folds", "0", "--max-steps", "3", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "disk: " in done.stderr
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["steps"] == 3
    assert not (run / "prepared").exists()
    assert not (run / "bundle").exists()
    arguments = [str(images), "-o", str(run), "--config", str(run / "plan.yaml"), "--folds", "0", "--resume"]
    result = CliRunner().invoke(train, [*arguments, "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (run / "bundle" / "MODEL_CARD.md").is_file()
    assert "from step" not in result.output  # nothing was trained again


def test_bare_refusals_are_one_line(images: Path, prepared: Path) -> None:
    done = without_readers(str(images), "-o", str(images.parent / "x"))
    assert done.returncode == 2
    assert done.stderr.startswith("bad-option train: the folder holds no prepared arrays")
    done = without_readers(str(prepared), "-o", str(images.parent / "x"), "--folds", "one")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "plan", "prepare"])
def test_what_needs_images_says_so(prepared: Path, tmp_path: Path, command: str) -> None:
    further = [] if command == "check" else ["-o", str(tmp_path / "out")]
    result = CliRunner().invoke(data, [command, str(prepared), *further])
    said = result.output + str(result.exception)
    assert result.exit_code == 1
    assert "prepared arrays" in said


def test_arrays_of_another_plan_are_not_trained_on(prepared: Path, tmp_path: Path) -> None:
    text = (prepared / "plan.yaml").read_text(encoding="utf-8")
    (tmp_path / "other.yaml").write_text(text.replace("low: 0.5", "low: 1.5"), encoding="utf-8")
    dataset, _ = read_dataset(prepared)
    assert config_of_prepared(dataset, None) == read_config(prepared / "plan.yaml")
    with pytest.raises(MedmtlError) as caught:
        config_of_prepared(dataset, tmp_path / "other.yaml")
    assert caught.value.code is Code.CHECKPOINT_MISMATCH


def test_the_blocked_interpreter_lacks_what_it_should() -> None:
    code = BLOCKED.replace("from medmtl_training.bare import main", "import pydicom")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "No module named 'pydicom'" in done.stderr
