import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from medmtl.errors import Code, MedmtlError, UsageError
from medmtl_training.cases import Dataset
from medmtl_training.evaluate_cli import evaluate, evaluate_command
from medmtl_training.options import parse_folds


def test_folds_of_text() -> None:
    assert parse_folds("all") is None
    assert parse_folds("0,2") == {0, 2}
    assert parse_folds("0-2, 4") == {0, 1, 2, 4}
    with pytest.raises(UsageError):
        parse_folds("first")


def test_flat_predictions_against_others(toy: Path, tmp_path: Path, nifti_writer: Callable[..., Path]) -> None:
    for path in (toy / "organs").iterdir():
        array = np.asarray(nib.load(path).dataobj, dtype=np.uint8)
        nifti_writer(tmp_path / "other" / path.name, np.roll(array, 4, axis=0))
    arguments = [str(toy / "organs"), str(toy), "--task", "organs", "--against", str(tmp_path / "other")]
    arguments += ["-o", str(tmp_path / "out"), "--folds", "0-1", "--by", "sex"]
    result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "organs.body: Dice 1.000 (1.000 to 1.000), n 8" in result.output
    assert "organs.body: dice differs by 0.250 (0.250 to 0.250): better" in result.output
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["comparison"]["tasks"]["organs"]["labels"]["body"]["dice"]["verdict"] == "better"
    assert set(metrics["subgroups"]) == {"sex"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Against the other predictions" in page
    first = (tmp_path / "out" / "metrics.json").read_bytes()
    with pytest.raises(MedmtlError, match="--overwrite"):
        CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    CliRunner().invoke(evaluate, [*arguments, "--overwrite"], catch_exceptions=False)
    assert (tmp_path / "out" / "metrics.json").read_bytes() == first


@pytest.mark.parametrize(("shift", "code"), [(0, 0), (4, 1)])
def test_promotion_is_an_exit_status(
    toy: Path, tmp_path: Path, nifti_writer: Callable[..., Path], shift: int, code: int
) -> None:
    for path in (toy / "organs").iterdir():
        array = np.asarray(nib.load(path).dataobj, dtype=np.uint8)
        nifti_writer(tmp_path / "new" / path.name, np.roll(array, shift, axis=0))
    arguments = [str(tmp_path / "new"), str(toy), "--task", "organs", "--promote", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(evaluate, [*arguments, "--against", str(toy / "organs")], catch_exceptions=False)
    assert result.exit_code == code, result.output
    said = result.stderr.splitlines()[-1]
    assert said.startswith("not-promoted evaluate: not promoted: it is worse; organs.body" if code else "may be")
    with pytest.raises(UsageError, match="--against"):
        CliRunner().invoke(evaluate, arguments, catch_exceptions=False)


def test_what_changed_most_is_pictured_and_every_case_has_a_row(
    toy: Path, tmp_path: Path, nifti_writer: Callable[..., Path]
) -> None:
    for number, path in enumerate(sorted((toy / "organs").iterdir())):
        array = np.asarray(nib.load(path).dataobj, dtype=np.uint8)
        nifti_writer(tmp_path / "worse" / path.name, np.roll(array, number // 4, axis=0))
    arguments = [str(tmp_path / "worse"), str(toy), "--task", "organs", "--against", str(toy / "organs")]
    result = CliRunner().invoke(evaluate, [*arguments, "-o", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Largest losses of Dice, in pictures" in page
    assert page.count("data:image/png") >= 6
    assert "body, Dice 0.875, was 1.000" in page
    rows = (tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 13
    assert rows[0].startswith("case,patient,fold,organs.body.dice,")
    assert rows[12].startswith("c11,p11,2,0.875,")


def test_a_folder_of_nnunet_says_its_labels_and_answers_both_tasks(
    toy: Path, tmp_path: Path, nifti_writer: Callable[..., Path]
) -> None:
    for path in (toy / "organs").iterdir():
        organs, lesions = (np.asarray(nib.load(toy / n / path.name).dataobj) for n in ("organs", "lesions"))
        nifti_writer(tmp_path / "flat" / path.name, np.where(lesions > 0, lesions + 1, organs).astype(np.uint8))
    labels = {"background": 0, "body": 1, "core": 2, "rim": 3}
    # their names alone do not say lesion: one task of all labels does not fit either
    (tmp_path / "flat" / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    out = ["-o", str(tmp_path / "out"), "--quiet", "--json"]
    result = CliRunner().invoke(evaluate, [str(tmp_path / "flat"), str(toy), *out], catch_exceptions=False)
    tasks = json.loads(result.stdout)["tasks"]
    assert tasks["lesions"]["labels"]["core"]["dice"]["mean"] == 1.0
    assert tasks["organs"]["labels"]["body"]["dice"]["mean"] < 1.0  # the lesions are not in it
    named = {"background": 0, "body": 1, "tumour core": 2}
    (tmp_path / "flat" / "dataset.json").write_text(json.dumps({"labels": named}), encoding="utf-8")
    result = CliRunner().invoke(
        evaluate, [str(tmp_path / "flat"), str(toy), *out, "--overwrite", "--folds", "0"], catch_exceptions=False
    )
    assert set(json.loads(result.stdout)["tasks"]) == {"organs"}  # body with its tumour; no task has that core
    (tmp_path / "flat" / "dataset.json").write_text(json.dumps({"labels": {"liver": 1}}), encoding="utf-8")
    with pytest.raises(UsageError, match="which task"):
        CliRunner().invoke(evaluate, [str(tmp_path / "flat"), str(toy), *out, "--overwrite"], catch_exceptions=False)


def test_missing_cases_of_asked_folds_are_an_exit_code(toy: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "c00.nii.gz").write_bytes((toy / "organs" / "c00.nii.gz").read_bytes())
    arguments = [str(flat), str(toy), "--task", "organs", "--quiet"]
    all_cases = CliRunner().invoke(evaluate, [*arguments, "-o", str(tmp_path / "a")], catch_exceptions=False)
    fold = CliRunner().invoke(evaluate, [*arguments, "-o", str(tmp_path / "b"), "--folds", "0"], catch_exceptions=False)
    assert (all_cases.exit_code, fold.exit_code) == (0, 1)
    assert "3 cases have no prediction" in fold.output
    with pytest.raises(UsageError, match="chosen cases"):
        CliRunner().invoke(evaluate, [*arguments, "-o", str(tmp_path / "c"), "--folds", "1"], catch_exceptions=False)


def test_a_model_is_answered_by_the_seam(toy: Path, tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def predict_heldout(model: str, dataset: Dataset, out: Path, images: object) -> Path:
        asked.append((model, len(dataset.cases)))
        out.mkdir(parents=True)
        for case in dataset.cases:
            (out / f"{case.name}.nii.gz").write_bytes(case.voxel_labels["organs"].read_bytes())
        return out

    command = evaluate_command(predict_heldout)
    arguments = ["some-model", str(toy), "--task", "organs", "--folds", "2", "--json", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(command, [*arguments, "--quiet"], catch_exceptions=False)
    assert asked == [("some-model", 4)]
    found = json.loads(result.stdout)
    assert found["tasks"]["organs"]["labels"]["body"]["dice"]["n"] == 4
    assert "rows" not in found
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(evaluate, [*arguments, "--overwrite"], catch_exceptions=False)
    assert caught.value.code == Code.NOT_FOUND


def test_answers_of_a_model_that_saw_the_case_are_no_accuracy(toy: Path, tmp_path: Path) -> None:
    for name in ("c00", "c01"):
        folder = tmp_path / "found" / name
        folder.mkdir(parents=True)
        (folder / "organs.nii.gz").write_bytes((toy / "organs" / f"{name}.nii.gz").read_bytes())
        warnings = [{"code": "seen-in-training", "text": "seen"}] if name == "c01" else []
        (folder / "findings.json").write_text(json.dumps({"warnings": warnings, "tasks": {}}), encoding="utf-8")
    arguments = [str(tmp_path / "found"), str(toy), "-o", str(tmp_path / "out"), "--quiet"]
    with pytest.raises(MedmtlError, match="c01") as refusal:
        CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert refusal.value.code == Code.SEEN_IN_TRAINING
    assert not (tmp_path / "out" / "metrics.json").exists()
