"""Derived values (ejection fractions, masses, shares) from the true and from the found volumes, held together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from medmtl.findings.formula import evaluate
from medmtl.shapes import FloatArray
from medmtl.task import Task
from medmtl_training.evaluation.bootstrap import Bootstrap, Statistic, ratio
from medmtl_training.evaluation.overlap import bland_altman

Row = Mapping[str, Any]
_LEAST = 3  # cases for a correlation


def derived_rows(tasks: Sequence[Task], scored: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """Task to {derived value: its `truth`, what was `found`, its `unit`} of one case.

    A value is None where a structure it reads was not drawn, or it divides by nothing; a value without truth is left
    out.

    Args:
        tasks: of the data set.
        scored: task to its figures of the case, with `labels`.
    """
    true: dict[str, float | None] = {}
    found: dict[str, float | None] = {}
    for task in tasks:
        labels = scored.get(task.name, {}).get("labels", {})
        for label in task.labels if task.is_voxel else ():
            path, figures = f"{task.name}.{label.name}", labels.get(label.name)
            true[path] = None if figures is None else figures["truth_ml"]
            found[path] = None if figures is None else figures["predicted_ml"]
    result: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for derived in task.derived:
            pair = [_value(task, derived.formula, volumes) for volumes in (true, found)]
            if pair[0] is not None and task.name in scored:
                cell = {"truth": pair[0], "found": pair[1], "unit": derived.unit}
                result.setdefault(task.name, {})[derived.name] = cell
    return result


def derived_summary(cells: Sequence[tuple[str, Row]], draws: Bootstrap) -> dict[str, Any]:
    """Figures of one derived value, in its unit.

    Args:
        cells: patient and cell (`truth`, `found`) of each case where both are known.
        draws: for these patients.
    """
    truth, found = (np.array([cell[key] for _, cell in cells], dtype=np.float64) for key in ("truth", "found"))
    error = np.abs(found - truth)
    agreement = bland_altman(found, truth)
    return {
        "n": len(cells),
        "unit": cells[0][1]["unit"] if cells else "",
        "mean_absolute_error": draws.mean(error).as_json(),
        "median_absolute_error": draws.median(error).as_json(),
        "correlation": draws.estimate(pearson(truth, found)).as_json() if len(cells) >= _LEAST else None,
        "agreement": None if agreement is None else asdict(agreement),
    }


def pearson(first: FloatArray, second: FloatArray) -> Statistic:
    """Pearson's correlation of two values a case, cases repeated by their weight."""

    def statistic(weights: FloatArray) -> FloatArray:
        count = weights.sum(axis=1)
        one, other = ratio(weights @ first, count), ratio(weights @ second, count)
        both = ratio(weights @ (first * second), count) - one * other
        spread = (ratio(weights @ first**2, count) - one**2) * (ratio(weights @ second**2, count) - other**2)
        return ratio(both, np.sqrt(np.maximum(spread, 0.0)))

    return statistic


def _value(task: Task, formula: str, volumes: Mapping[str, float | None]) -> float | None:
    own = {label.name: volumes.get(f"{task.name}.{label.name}") for label in task.labels}
    return evaluate(formula, {**volumes, **own})
