"""`cases.csv` of an evaluation: a row a case, a column a figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from medmtl.task import Kind, Task

_FIGURES = ("dice", "nsd", "hd95_mm", "truth_ml", "predicted_ml", "error_percent", "false_ml")
_LESION_FIGURES = ("truth", "found", "predicted", "matched", "f1")


def per_case_csv(rows: Sequence[Mapping[str, Any]], tasks: Sequence[Task]) -> bytes:
    """Figures of each case: `TASK.LABEL.FIGURE` of voxel tasks, `TASK.VALUE.truth` and `.found` of derived values,
    truth, answer and Brier score of case-level tasks.

    A cell is empty where the figure is not defined: no Dice where the truth is empty.
    """
    by_name = {task.name: task for task in tasks}
    cells = [{**_head(row), **_figures(row, by_name)} for row in rows]
    columns = list(dict.fromkeys(column for cell in cells for column in cell))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return text.getvalue().encode()


def _head(row: Mapping[str, Any]) -> dict[str, str]:
    return {"case": row["case"], "patient": row["patient"], "fold": "" if row["fold"] is None else str(row["fold"])}


def _figures(row: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for name, scored in row["tasks"].items():
        for label, found in scored.get("labels", {}).items():
            cells |= {f"{name}.{label}.{key}": _text(found[key]) for key in _FIGURES}
        if "lesions" in scored:
            cells |= {f"{name}.lesions.{key}": _text(scored["lesions"][key]) for key in _LESION_FIGURES}
        for value, cell in scored.get("derived", {}).items():
            cells |= {f"{name}.{value}.{key}": _text(cell[key]) for key in ("truth", "found")}
        if "truth" in scored:
            cells |= _case_level(scored, tasks[name])
    return cells


def _case_level(scored: Mapping[str, Any], task: Task) -> dict[str, str]:
    truth = scored["truth"]
    if task.kind is Kind.REGRESSION:
        error = None if truth is None else abs(scored["value"] - truth)
        return {f"{task.name}.truth": _text(truth), f"{task.name}.value": _text(scored["value"]),
                f"{task.name}.absolute_error": _text(error)}  # fmt: skip
    given = scored["probabilities"]
    cells = {f"{task.name}.truth": ";".join(truth) if isinstance(truth, list) else truth or ""}
    cells |= {f"{task.name}.p_{label}": _text(value) for label, value in given.items()}
    if truth is not None:
        names = truth if isinstance(truth, list) else [truth]
        squares = sum((value - (label in names)) ** 2 for label, value in given.items())
        cells[f"{task.name}.brier"] = _text(squares if task.kind is Kind.MULTILABEL else squares / 2)
    return cells


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
