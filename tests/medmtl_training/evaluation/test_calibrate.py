from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from medmtl.findings.calibration import OFFSET_ML, VolumeCalibration, scaled_probabilities
from medmtl.task import Task
from medmtl_training.evaluation.calibrate import calibrated_row, cross_fitted, fit_calibration, fit_temperature
from tests.tiny import heart_tasks

TASKS = heart_tasks()
CASES = 400


def rows(sharpness: float = 2.0, seed: int = 0, cases: int = CASES) -> list[Mapping[str, Any]]:
    """Cases in five folds: a classifier that is `sharpness` times too sure, volumes with an error of 20 %, lesions."""
    rng = np.random.default_rng(seed)
    made: list[Mapping[str, Any]] = []
    for number in range(cases):
        logit = rng.normal(0.0, 2.0)
        truth = "infarction" if rng.random() < 1 / (1 + np.exp(-logit)) else "normal"
        p = float(1 / (1 + np.exp(-sharpness * logit)))
        true = float(rng.uniform(50.0, 150.0))
        found = (true + OFFSET_ML) * float(np.exp(rng.normal(0.0, 0.2))) - OFFSET_ML
        mean, ml = float(rng.uniform(0.5, 0.99)), float(rng.uniform(0.1, 20.0))
        piece = {"mean_probability": mean, "confidence": mean, "ml": ml, "real": bool(rng.random() < ml / 20.0)}
        made.append({
            "case": f"C{number}", "patient": f"C{number}", "fold": number % 5,
            "tasks": {
                "diagnosis": {"truth": truth, "probabilities": {"normal": 1 - p, "infarction": p}},
                "organs": {"labels": {"lv_cavity": {"truth_ml": true, "predicted_ml": found}}},
                "lesions": {"labels": {}, "lesions": {"pieces": [piece]}},
            },
        })  # fmt: skip
    return made


def test_the_temperature_undoes_overconfidence() -> None:
    assert fit_calibration(rows(3.0), TASKS).classes["diagnosis"].temperature == pytest.approx(3.0, rel=0.25)
    assert fit_calibration(rows(1.0), TASKS).classes["diagnosis"].temperature == pytest.approx(1.0, rel=0.25)
    assert fit_calibration(rows(0.4), TASKS).classes["diagnosis"].temperature == pytest.approx(0.4, rel=0.25)


def test_a_classifier_that_ranks_perfectly_stays_finite() -> None:
    logits = np.array([[5.0, 0.0], [0.0, 5.0]] * 20)
    temperature = fit_temperature(np.array([0, 1] * 20), logits)
    assert 0.25 <= temperature <= 1.0
    assert np.isfinite(scaled_probabilities(logits, temperature)).all()


def held(calibrated: Sequence[Mapping[str, Any]]) -> float:
    cells = [row["tasks"]["diagnosis"] for row in calibrated]
    return sum(cell["truth"] in cell["prediction_set"] for cell in cells) / len(cells)


@pytest.mark.parametrize("seed", range(3))
def test_sets_and_intervals_hold_the_truth_as_often_as_they_promise(seed: int) -> None:
    calibrated = cross_fitted(rows(seed=seed), TASKS)
    assert 0.86 <= held(calibrated) <= 0.95  # three standard errors of 400 cases
    cells = [row["tasks"]["organs"]["labels"]["lv_cavity"] for row in calibrated]
    inside = [cell["interval_ml"][0] <= cell["truth_ml"] <= cell["interval_ml"][1] for cell in cells]
    assert 0.86 <= sum(inside) / len(inside) <= 0.95
    assert any(len(row["tasks"]["diagnosis"]["prediction_set"]) == 2 for row in calibrated)


def test_a_fold_is_calibrated_by_the_other_folds_alone() -> None:
    given = rows()
    turned = [
        {**row, "tasks": {**row["tasks"], "diagnosis": {**row["tasks"]["diagnosis"], "truth": "normal"}}}
        if row["fold"] == 2
        else row
        for row in given
    ]
    for fold, same in ((2, True), (3, False)):
        one, two = (
            [row["tasks"]["diagnosis"]["probabilities"] for row in cross_fitted(which, TASKS) if row["fold"] == fold]
            for which in (given, turned)
        )
        assert (one == two) is same


def test_one_fold_alone_is_left_as_it_is() -> None:
    alone = [row for row in rows() if row["fold"] == 1]
    assert cross_fitted(alone, TASKS) == alone


def test_few_cases_calibrate_nothing_or_promise_less() -> None:
    assert fit_calibration(rows(cases=9), TASKS).to_mapping() == {}
    few = fit_calibration(rows(cases=12), TASKS)
    assert few.volumes["organs.lv_cavity"].coverage == pytest.approx(1 - 2 / 13, abs=1e-3)
    assert few.lesions == {}


def test_a_lesion_is_believed_as_often_as_such_lesions_were_real() -> None:
    known = fit_calibration(rows(cases=2000), TASKS).lesions["lesions"]
    assert known.confidence(0.8, 1.0) < known.confidence(0.8, 10.0) < known.confidence(0.8, 19.0)
    assert known.confidence(0.8, 10.0) == pytest.approx(0.5, abs=0.12)


def test_a_structure_that_was_not_found_has_an_interval() -> None:
    known = VolumeCalibration(low=-1.0, high=1.0)
    low, high = known.interval(0.0)
    assert low == 0.0
    assert high == pytest.approx(OFFSET_ML * (np.e - 1))


def test_a_row_is_calibrated_as_the_model_would_answer() -> None:
    (row, *_), calibration = rows(), fit_calibration(rows(), TASKS)
    cell = calibrated_row(row, TASKS, calibration)["tasks"]["diagnosis"]
    raw = row["tasks"]["diagnosis"]["probabilities"]
    temperature = calibration.classes["diagnosis"].temperature
    odds = np.log(raw["infarction"] / raw["normal"]) / temperature
    assert cell["probabilities"]["infarction"] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-6)
    assert isinstance(TASKS[0], Task)
