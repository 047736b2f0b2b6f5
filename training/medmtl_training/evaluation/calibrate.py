"""Calibration from held-out rows, and the rows of each fold calibrated by the other folds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from medmtl.findings.calibration import (
    OFFSET_ML,
    Calibration,
    ClassCalibration,
    LesionCalibration,
    VolumeCalibration,
    scaled_probabilities,
)
from medmtl.shapes import FloatArray
from medmtl.task import Kind, Task
from medmtl_training.evaluation.classification import IntArray
from medmtl_training.evaluation.summary import class_arrays, known_rows

COVERAGE = 0.9
_TEMPERATURES = (0.25, 8.0)
_LEAST_CASES = 10  # fewer say too little about a tail
_LEAST_LESIONS = 5  # of true and of false ones each
_PRIOR_CASES = 2.0  # cases' worth of belief that no scaling is needed

Row = Mapping[str, Any]


def fit_calibration(rows: Sequence[Row], tasks: Sequence[Task]) -> Calibration:
    """The calibration that held-out answers support; a part with too few cases is left out."""
    classes = {task.name: found for task in tasks if (found := _classes(rows, task)) is not None}
    volumes: dict[str, VolumeCalibration] = {}
    lesions: dict[str, LesionCalibration] = {}
    for task in tasks:
        if not task.is_voxel:
            continue
        scored = [row["tasks"][task.name] for row in rows if "labels" in row["tasks"].get(task.name, {})]
        for name in dict.fromkeys(name for cell in scored for name in cell["labels"]):
            pairs = [cell["labels"][name] for cell in scored if name in cell["labels"]]
            known = _volume([(pair["truth_ml"], pair["predicted_ml"]) for pair in pairs])
            if known is not None:
                volumes[f"{task.name}.{name}"] = known
        pieces = [piece for cell in scored for piece in cell.get("lesions", {}).get("pieces", ())]
        if (fitted := _lesions(pieces)) is not None:
            lesions[task.name] = fitted
    return Calibration(classes=classes, volumes=volumes, lesions=lesions)


def cross_fitted(rows: Sequence[Row], tasks: Sequence[Task]) -> list[Row]:
    """The rows with the answers of each fold calibrated by what the other folds' held-out answers taught.

    Rows of a single fold, or without one, stay as they are.
    """
    folds = {row["fold"] for row in rows}
    if len(folds - {None}) < 2:
        return list(rows)
    fitted = {fold: fit_calibration([row for row in rows if row["fold"] != fold], tasks) for fold in folds}
    return [calibrated_row(row, tasks, fitted[row["fold"]]) for row in rows]


def calibrated_row(row: Row, tasks: Sequence[Task], calibration: Calibration) -> Row:
    """One row as the model with this calibration would have answered."""
    cells = dict(row["tasks"])
    for task in tasks:
        cell = cells.get(task.name)
        if cell is None:
            continue
        if task.is_voxel:
            cells[task.name] = _with_intervals(cell, task, calibration)
        elif task.name in calibration.classes:
            names = [label.name for label in task.labels]
            logits = np.log(np.maximum([cell["probabilities"][name] for name in names], 1e-7))
            found = scaled_probabilities(logits, calibration.classes[task.name].temperature)
            held = calibration.prediction_set(task.name, found)
            cells[task.name] = {
                **cell,
                "probabilities": {name: float(p) for name, p in zip(names, found, strict=True)},
                "prediction_set": None if held is None else [names[place] for place in held],
            }
    return {**row, "tasks": cells}


def _with_intervals(cell: Row, task: Task, calibration: Calibration) -> Row:
    if "labels" not in cell:
        return cell
    labels = {
        name: {**scored, "interval_ml": calibration.interval_ml(f"{task.name}.{name}", scored["predicted_ml"])}
        for name, scored in cell["labels"].items()
    }
    return {**cell, "labels": labels}


def _classes(rows: Sequence[Row], task: Task) -> ClassCalibration | None:
    if task.kind not in (Kind.CLASSIFICATION, Kind.ORDINAL):
        return None
    known = known_rows(rows, task)
    if len(known) < _LEAST_CASES:
        return None
    truth, probabilities = class_arrays(known, task)
    logits = np.log(np.maximum(probabilities, 1e-7))
    temperature = fit_temperature(truth, logits)
    given = scaled_probabilities(logits, temperature)[np.arange(len(truth)), truth]
    rank = int(np.floor((1.0 - COVERAGE) * (len(given) + 1)))  # of the lowest probabilities given to true classes
    threshold = float(np.sort(given)[rank - 1]) if rank >= 1 else None
    return ClassCalibration(
        temperature=round(temperature, 4),
        threshold=None if threshold is None else round(threshold, 6),
        coverage=COVERAGE,
        cases=len(known),
    )


def fit_temperature(truth: IntArray, logits: FloatArray) -> float:
    """The temperature of the lowest log loss, drawn a little towards 1: perfect ranks would give 0."""
    place = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        p = scaled_probabilities(logits, float(np.exp(log_temperature)))[place, truth]
        return float(-np.log(np.maximum(p, 1e-12)).sum() + _PRIOR_CASES * log_temperature**2)

    low, high = (float(np.log(bound)) for bound in _TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def _volume(pairs: list[tuple[float, float]]) -> VolumeCalibration | None:
    if len(pairs) < _LEAST_CASES:
        return None
    true, found = np.asarray(pairs, dtype=np.float64).T
    ratios = np.sort(np.log((true + OFFSET_ML) / (found + OFFSET_ML)))
    rank = max(1, int(np.floor((1.0 - COVERAGE) / 2.0 * (len(ratios) + 1))))  # cut off at either end
    return VolumeCalibration(
        low=round(float(ratios[rank - 1]), 4),
        high=round(float(ratios[-rank]), 4),
        coverage=round(min(COVERAGE, 1.0 - 2.0 * rank / (len(ratios) + 1)), 3),  # few cases promise less
        cases=len(ratios),
    )


def _lesions(pieces: Sequence[Mapping[str, Any]]) -> LesionCalibration | None:
    from sklearn.linear_model import LogisticRegression

    real = np.array([piece["real"] for piece in pieces], dtype=bool)
    if min(real.sum(), (~real).sum()) < _LEAST_LESIONS:
        return None
    p = np.clip([piece["mean_probability"] for piece in pieces], 1e-6, 1.0 - 1e-6)
    table = np.column_stack([np.log(p / (1.0 - p)), np.log(np.maximum([piece["ml"] for piece in pieces], 1e-3))])
    model = LogisticRegression(C=1.0).fit(table, real)
    return LesionCalibration(
        constant=round(float(model.intercept_[0]), 4),
        log_odds=round(float(model.coef_[0, 0]), 4),
        log_ml=round(float(model.coef_[0, 1]), 4),
        lesions=len(pieces),
    )
