import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmtl.errors import Code, MedmtlError, UsageError
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.evaluation.compare import compare, largest_losses
from medmtl_training.evaluation.predictions import open_predictions
from medmtl_training.evaluation.score import ScoreSettings, score

SETTINGS = ScoreSettings(draws=200, baseline_columns=(("age", "sex"),))
VOXEL_ML = 1.5 * 1.5 * 6.0 / 1000


def answer(
    dataset: Dataset,
    out: Path,
    write: Callable[..., Path],
    change: Callable[[str, Any], Any],
    p_ill: Callable[..., Any],
) -> Path:
    """A predictions folder: every truth passed through `change`, `p_ill(index, ill)` as the probability."""
    for index, case in enumerate(dataset.cases):
        for task, path in case.voxel_labels.items():
            write(out / case.name / f"{task}.nii.gz", change(task, np.asarray(nib.load(path).dataobj, dtype=np.uint8)))
        p = p_ill(index, case.case_labels["diagnosis"] == "ill")
        values = {"class": "ill" if p > 0.5 else "well", "probabilities": {"well": 1 - p, "ill": p}}
        findings = {"case": case.name, "tasks": {"diagnosis": {"kind": "classification", "values": values}}}
        (out / case.name / "findings.json").write_text(json.dumps(findings), encoding="utf-8")
    return out


def scored(dataset: Dataset, folder: Path, settings: ScoreSettings = SETTINGS) -> dict[str, Any]:
    return score(open_predictions(folder, dataset), dataset, dataset.cases, settings)


@pytest.fixture
def dataset(toy: Path) -> Dataset:
    return read_dataset(toy)[0]


@pytest.fixture
def perfect(dataset: Dataset, tmp_path: Path, nifti_writer: Callable[..., Path]) -> Path:
    return answer(dataset, tmp_path / "perfect", nifti_writer, lambda _, a: a, lambda _, ill: 0.9 if ill else 0.1)


def test_truth_as_prediction(dataset: Dataset, perfect: Path) -> None:
    metrics = scored(dataset, perfect)
    assert (metrics["cases"], metrics["patients"], metrics["folds"], metrics["missing"]) == (12, 12, [0, 1, 2], [])
    body = metrics["tasks"]["organs"]["labels"]["body"]
    assert body["dice"] == {
        "mean": 1.0, "median": 1.0, "interval": [1.0, 1.0], "median_interval": [1.0, 1.0], "n": 12, "patients": 12,
    }  # fmt: skip
    assert (body["nsd"]["mean"], body["hd95_mm"]["mean"], body["error_percent"]["median"]) == (1.0, 0.0, 0.0)
    for label in ("core", "rim", "union"):
        found = metrics["tasks"]["lesions"]["labels"][label]
        assert (found["dice"]["mean"], found["dice"]["n"], found["n_empty_truth"]) == (1.0, 6, 6)
        assert (found["false_ml"]["mean"], found["false_ml"]["cases_with"]) == (0.0, 0)
    lesions = metrics["tasks"]["lesions"]["lesions"]
    assert (lesions["truth"], lesions["found"], lesions["f1"]["value"]) == (6, 6, 1.0)
    diagnosis = metrics["tasks"]["diagnosis"]
    assert diagnosis["auroc"]["value"] == 1.0
    assert diagnosis["accuracy"]["value"] == 1.0
    assert diagnosis["brier"]["value"] == pytest.approx(0.01)
    assert diagnosis["ece"]["value"] == pytest.approx(0.1)
    assert diagnosis["confusion"] == {"well": {"well": 6, "ill": 0}, "ill": {"well": 0, "ill": 6}}


def test_baselines_stand_beside_the_classifier(dataset: Dataset, perfect: Path) -> None:
    found = scored(dataset, perfect)["tasks"]["diagnosis"]["baselines"]
    assert set(found) == {"majority", "geometry", "age+sex", "found lesions mL"}
    assert found["geometry"]["auroc"]["value"] == 0.5  # all images have one geometry
    assert found["found lesions mL"]["auroc"]["value"] == 1.0
    assert found["geometry"]["auroc_difference"]["value"] == 0.5
    assert found["majority"]["balanced_accuracy"]["value"] == 0.5
    assert found["majority"]["auroc"] is None


def test_shifted_masks_have_the_analytic_figures(
    dataset: Dataset, tmp_path: Path, nifti_writer: Callable[..., Path]
) -> None:
    folder = answer(dataset, tmp_path / "p", nifti_writer, lambda _, a: np.roll(a, 4, axis=0), lambda _, ill: 0.5)
    metrics = scored(dataset, folder)
    body = metrics["tasks"]["organs"]["labels"]["body"]
    assert body["dice"]["mean"] == pytest.approx(12 / 16)
    assert body["hd95_mm"]["mean"] == pytest.approx(6.0)
    assert body["volume_ml"]["bias"] == 0.0
    lesions = metrics["tasks"]["lesions"]["labels"]
    assert lesions["core"]["dice"]["mean"] == 0.0
    assert lesions["union"]["dice"]["mean"] == pytest.approx(2 / 6)
    assert lesions["core"]["missed"] == 0
    assert metrics["tasks"]["lesions"]["lesions"]["f1"]["value"] == 1.0  # IoU 2 / 10


def test_false_lesions_in_empty_cases_are_counted_apart(
    dataset: Dataset, tmp_path: Path, nifti_writer: Callable[..., Path]
) -> None:
    def paint(task: str, array: Any) -> Any:
        changed = array.copy()
        if task == "lesions":
            changed[0:2, 0:5, 0] = 1
        return changed

    metrics = scored(dataset, answer(dataset, tmp_path / "p", nifti_writer, paint, lambda _, ill: float(ill)))
    core = metrics["tasks"]["lesions"]["labels"]["core"]
    assert core["false_ml"]["mean"] == pytest.approx(10 * VOXEL_ML)
    assert core["false_ml"]["cases_with"] == 6
    assert core["dice"]["n"] == 6
    assert core["dice"]["mean"] == pytest.approx(2 * 32 / (32 + 42))
    lesions = metrics["tasks"]["lesions"]["lesions"]
    assert (lesions["predicted"], lesions["matched"]) == (18, 6)
    assert lesions["false_per_case"]["value"] == 1.0


def test_missed_structures_count_as_zero(dataset: Dataset, tmp_path: Path, nifti_writer: Callable[..., Path]) -> None:
    folder = answer(dataset, tmp_path / "p", nifti_writer, lambda _, a: a * 0, lambda _, ill: float(ill))
    body = scored(dataset, folder)["tasks"]["organs"]["labels"]["body"]
    assert (body["dice"]["mean"], body["dice"]["n"], body["missed"]) == (0.0, 12, 12)
    assert (body["nsd"]["mean"], body["hd95_mm"]["mean"], body["hd95_mm"]["n"]) == (0.0, None, 0)


def test_ignored_voxels_are_not_scored(dataset: Dataset, perfect: Path, nifti_writer: Callable[..., Path]) -> None:
    for case in dataset.cases:
        path = case.voxel_labels["organs"]
        array = np.asarray(nib.load(path).dataobj, dtype=np.uint8)
        array[4:12][array[4:12] > 0] = 255
        nifti_writer(path, array)
    assert scored(dataset, perfect)["tasks"]["organs"]["labels"]["body"]["dice"]["mean"] == 1.0


def test_labels_that_were_not_drawn_are_not_scored(toy: Path, perfect: Path) -> None:
    lines = (toy / "cases.csv").read_text(encoding="utf-8").splitlines()
    lines = [lines[0] + ",lesions:annotated", *(line + ",rim" for line in lines[1:])]
    (toy / "cases.csv").write_text("\n".join(lines), encoding="utf-8")
    lesions = scored(read_dataset(toy)[0], perfect)["tasks"]["lesions"]
    assert set(lesions["labels"]) == {"rim"}
    assert "lesions" not in lesions


def test_unknown_diagnosis_and_missing_case(toy: Path, perfect: Path) -> None:
    text = (toy / "cases.csv").read_text(encoding="utf-8").replace("c00,p00,0,well", "c00,p00,0,")
    (toy / "cases.csv").write_text(text, encoding="utf-8")
    (perfect / "c01" / "findings.json").unlink()
    metrics = scored(read_dataset(toy)[0], perfect)
    assert metrics["missing"] == ["c01"]
    assert metrics["cases"] == 11
    assert metrics["tasks"]["diagnosis"]["n"] == 10


def test_cases_of_one_exam_are_one_patient(dataset: Dataset, perfect: Path) -> None:
    settings = ScoreSettings(draws=50, same_patient=(("c00", "c05"),))
    metrics = scored(dataset, perfect, settings)
    assert metrics["patients"] == 11
    assert metrics["tasks"]["organs"]["labels"]["body"]["dice"]["patients"] == 11


def test_subgroups(dataset: Dataset, perfect: Path) -> None:
    metrics = scored(dataset, perfect, ScoreSettings(draws=50, by=("sex", "slice_step_mm")))
    assert {name: group["cases"] for name, group in metrics["subgroups"]["sex"].items()} == {"F": 8, "M": 4}
    step = metrics["subgroups"]["slice_step_mm"]
    assert list(step) == ["6"]
    assert step["6"]["tasks"]["organs"]["labels"]["body"]["dice"]["n"] == 12
    assert step["6"]["tasks"]["diagnosis"]["auroc"] is None  # six cases a class are too few
    with pytest.raises(UsageError, match="site"):
        scored(dataset, perfect, ScoreSettings(draws=50, by=("site",)))


def test_flat_folder_as_nnunet_writes_it(dataset: Dataset, tmp_path: Path, nifti_writer: Callable[..., Path]) -> None:
    for case in dataset.cases[:4]:
        array = np.asarray(nib.load(case.voxel_labels["organs"]).dataobj, dtype=np.uint8)
        nifti_writer(tmp_path / "flat" / f"{case.name}.nii.gz", array)
    with pytest.raises(UsageError, match="--task"):
        open_predictions(tmp_path / "flat", dataset)
    flat = open_predictions(tmp_path / "flat", dataset, "organs")
    metrics = score(flat, dataset, dataset.cases[:4], SETTINGS)
    assert list(metrics["tasks"]) == ["organs"]
    assert metrics["tasks"]["organs"]["labels"]["body"]["dice"]["mean"] == 1.0
    assert metrics["missing"] == []
    with pytest.raises(UsageError) as caught:
        open_predictions(tmp_path, dataset, "organs")
    assert caught.value.code == Code.NOT_FOUND


@pytest.mark.parametrize("fault", ["grid", "value", "classes", "json"])
def test_wrong_predictions_are_refused_by_case(
    dataset: Dataset, perfect: Path, nifti_writer: Callable[..., Path], fault: str
) -> None:
    path = perfect / "c02" / "organs.nii.gz"
    array = np.asarray(nib.load(path).dataobj, dtype=np.uint8)
    findings = perfect / "c02" / "findings.json"
    if fault == "grid":
        nifti_writer(path, array, (1.5, 1.5, 5.0))
    elif fault == "value":
        nifti_writer(path, array * 7)
    elif fault == "classes":
        findings.write_text(findings.read_text(encoding="utf-8").replace('"well":', '"fine":'), encoding="utf-8")
    else:
        findings.write_text("{", encoding="utf-8")
    with pytest.raises(MedmtlError, match="c02") as caught:
        scored(dataset, perfect)
    expected = {"grid": Code.GRID_MISMATCH, "value": Code.BAD_LABEL_VALUE}
    assert caught.value.code == expected.get(fault, Code.BAD_DATASET)


def test_comparison_is_paired(
    dataset: Dataset, perfect: Path, tmp_path: Path, nifti_writer: Callable[..., Path]
) -> None:
    shifted = answer(
        dataset, tmp_path / "q", nifti_writer, lambda _, a: np.roll(a, 4, axis=0), lambda _, ill: 0.4 if ill else 0.6
    )
    first, second = scored(dataset, perfect)["rows"], scored(dataset, shifted)["rows"]
    found = compare(first, second[:10], dataset.tasks, draws=200)
    assert (found["cases"], found["only_in_first"]) == (10, 2)
    dice = found["tasks"]["organs"]["labels"]["body"]["dice"]
    assert (dice["value"], dice["verdict"], dice["n"]) == (pytest.approx(0.25), "better", 10)
    hd95 = found["tasks"]["organs"]["labels"]["body"]["hd95_mm"]
    assert (hd95["value"], hd95["verdict"]) == (pytest.approx(-6.0), "better")
    assert found["tasks"]["diagnosis"]["auroc"] | {"patients": 0} == {
        "value": 1.0, "interval": [1.0, 1.0], "n": 10, "patients": 0, "verdict": "better",
    }  # fmt: skip
    same = compare(first, first, dataset.tasks, draws=200)
    assert same["tasks"]["organs"]["labels"]["body"]["dice"]["verdict"] == "no evidence"
    assert largest_losses(first, second) == []
    worst = largest_losses(second, first)[0]
    assert (worst["task"], worst["label"], worst["first"], worst["second"]) == ("lesions", "core", 0.0, 1.0)


def test_real_truth_scores_one_against_itself(shared: Path) -> None:
    root = shared / "data" / "cardiac_lge_mr"
    dataset, _ = read_dataset(root)
    cases = dataset.fold(0)[1]
    predictions = open_predictions(root / "organs", dataset, "organs")
    metrics = score(predictions, dataset, cases, ScoreSettings(draws=100, same_patient=(("Case_P059", "Case_P072"),)))
    for label in ("lv_cavity", "myocardium", "union"):
        assert metrics["tasks"]["organs"]["labels"][label]["dice"]["mean"] == 1.0
    assert metrics["patients"] == len(cases) - 1
    assert len(metrics["subgroups"]["slice_step_mm"]) >= 2
