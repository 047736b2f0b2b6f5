"""Two methods on the same cases: paired differences with intervals, and the cases that changed most."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medmtl.task import Kind, Task
from medmtl_training.evaluation import classification
from medmtl_training.evaluation.bootstrap import DRAWS, Bootstrap, Statistic, difference_of, mean_of
from medmtl_training.evaluation.summary import class_arrays, enough, known_rows, lesion_f1

Row = Mapping[str, Any]

_LARGER_IS_BETTER = {"dice": True, "nsd": True, "hd95_mm": False, "error_percent": False, "false_ml": False}
_LOSSES = 5


def compare(
    first: Sequence[Row], second: Sequence[Row], tasks: Sequence[Task], draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """First minus second, for every figure that both sets of rows have, on the cases they share.

    Returns:
        Task to `labels` {label: {metric: difference}} or {metric: difference}; a difference holds `value`, its 95 %
        `interval`, `n`, `patients` and `verdict` ("better", "worse" or "no evidence").
    """
    other = {row["case"]: row for row in second}
    pairs = [(row, other[row["case"]]) for row in first if row["case"] in other]
    result: dict[str, Any] = {}
    for task in tasks:
        both = [pair for pair in pairs if all(task.name in row["tasks"] for row in pair)]
        if not both:
            continue
        found = _voxel(both, task, draws, seed) if task.is_voxel else _case_level(both, task, draws, seed)
        if found:
            result[task.name] = found
    return {"cases": len(pairs), "only_in_first": len(first) - len(pairs), "tasks": result}


def largest_losses(first: Sequence[Row], second: Sequence[Row], most: int = _LOSSES) -> list[dict[str, Any]]:
    """The largest losses of Dice from second to first: case, task, label, both values."""
    other = {row["case"]: row for row in second}
    losses = []
    for row in first:
        before = {(task, label): value for task, label, value in _dice_cells(other.get(row["case"], {"tasks": {}}))}
        for task, label, value in _dice_cells(row):
            was = before.get((task, label))
            if was is not None and value < was:
                losses.append({"case": row["case"], "task": task, "label": label, "first": value, "second": was})
    losses.sort(key=lambda loss: (loss["first"] - loss["second"], loss["case"]))
    return losses[:most]


def _dice_cells(row: Row) -> list[tuple[str, str, float]]:
    return [
        (task, label, cell["dice"])
        for task, scored in row["tasks"].items()
        for label, cell in scored.get("labels", {}).items()
        if cell["dice"] is not None
    ]


def _voxel(pairs: list[tuple[Row, Row]], task: Task, draws: int, seed: int) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    names = [*(label.name for label in task.labels), "union"]
    for name in names:
        for metric, larger_is_better in _LARGER_IS_BETTER.items():
            cells = []
            for pair in pairs:
                values = [row["tasks"][task.name].get("labels", {}).get(name, {}).get(metric) for row in pair]
                if None not in values:
                    cells.append((pair[0]["patient"], values[0] - values[1]))
            if cells:
                bootstrap = Bootstrap([patient for patient, _ in cells], draws=draws, seed=seed)
                estimate = bootstrap.mean([value for _, value in cells]).as_json()
                labels.setdefault(name, {})[metric] = {**estimate, "verdict": verdict(estimate, larger_is_better)}
    lesions = _lesions(pairs, task, draws, seed)
    return {"labels": {**labels, **lesions}} if labels else {}


def _lesions(pairs: list[tuple[Row, Row]], task: Task, draws: int, seed: int) -> dict[str, Any]:
    """Lesion-wise F1 of the counts summed over the cases, first minus second."""
    counted = [(one, two) for one, two in pairs if all("lesions" in row["tasks"][task.name] for row in (one, two))]
    if not counted:
        return {}
    scores = [lesion_f1([pair[side]["tasks"][task.name]["lesions"] for pair in counted]) for side in (0, 1)]
    bootstrap = Bootstrap([one["patient"] for one, _ in counted], draws=draws, seed=seed)
    return {"lesion by lesion": _judged({"f1": (difference_of(*scores), True)}, bootstrap)}


def _case_level(pairs: list[tuple[Row, Row]], task: Task, draws: int, seed: int) -> dict[str, Any]:
    known = known_rows([row for row, _ in pairs], task)
    if not known:
        return {}
    names = {row["case"] for row in known}
    other = [row for _, row in pairs if row["case"] in names]
    bootstrap = Bootstrap([row["patient"] for row in known], draws=draws, seed=seed)
    if task.kind is Kind.REGRESSION:
        return _judged({"absolute_error": (_absolute_errors(known, other, task), False)}, bootstrap)
    if task.kind is Kind.MULTILABEL:
        return {"labels": {label.name: _judged(_of_label(known, other, task, label.name), bootstrap)
                           for label in task.labels}}  # fmt: skip
    truth, mine = class_arrays(known, task)
    _, theirs = class_arrays(other, task)
    figures: dict[str, tuple[Statistic, bool]] = {}
    present = [index for index in range(len(task.labels)) if enough(truth == index, 1)]
    if len(present) == len(task.labels):
        chosen = present[1:] if len(present) == 2 else present
        for name, figure in (("auroc", classification.auroc), ("auprc", classification.average_precision)):
            parts = [classification.macro([figure(truth == k, p[:, k]) for k in chosen]) for p in (mine, theirs)]
            figures[name] = (difference_of(*parts), True)
    for name, by_case, larger_is_better in (
        ("accuracy", classification.accuracy, True),
        ("balanced_accuracy", classification.balanced_accuracy, True),
        ("brier", classification.brier, False),
        ("ece", classification.calibration_error, False),
    ):
        figures[name] = (difference_of(by_case(truth, mine), by_case(truth, theirs)), larger_is_better)
    return _judged(figures, bootstrap)


def _judged(figures: Mapping[str, tuple[Statistic, bool]], bootstrap: Bootstrap) -> dict[str, Any]:
    result = {}
    for metric, (statistic, larger_is_better) in figures.items():
        estimate = bootstrap.estimate(statistic).as_json()
        result[metric] = {**estimate, "verdict": verdict(estimate, larger_is_better)}
    return result


def _absolute_errors(first: Sequence[Row], second: Sequence[Row], task: Task) -> Statistic:
    errors = [
        np.array([abs(row["tasks"][task.name]["value"] - row["tasks"][task.name]["truth"]) for row in rows])
        for rows in (first, second)
    ]
    return mean_of(errors[0] - errors[1])


def _of_label(first: Sequence[Row], second: Sequence[Row], task: Task, name: str) -> dict[str, tuple[Statistic, bool]]:
    positive = np.array([name in row["tasks"][task.name]["truth"] for row in first])
    mine, theirs = (
        np.array([row["tasks"][task.name]["probabilities"][name] for row in rows]) for rows in (first, second)
    )
    figures = {"brier": (mean_of((mine - positive) ** 2 - (theirs - positive) ** 2), False)}
    if enough(positive, 1):
        areas = difference_of(classification.auroc(positive, mine), classification.auroc(positive, theirs))
        figures["auroc"] = (areas, True)
    return figures


def verdict(estimate: Mapping[str, Any], larger_is_better: bool) -> str:
    """ "better" or "worse" where the interval of a difference lies on one side of 0, else "no evidence"."""
    interval = estimate["interval"]
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "no evidence"
    gain = np.sign(interval[0]) > 0
    return "better" if gain == larger_is_better else "worse"
