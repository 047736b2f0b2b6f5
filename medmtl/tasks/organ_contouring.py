"""`organs`: a row per organ of every voxel task."""

from typing import Any

from medmtl.answers import Answers
from medmtl.findings.formula import evaluate, names_of
from medmtl.task import Label, Task

NAME = "organs"


def view(answers: Answers) -> list[dict[str, Any]]:
    """Volumes in mL, mass where its density is declared, and whether the edge of the scan cuts the organ."""
    return [
        _row(answers, task, label)
        for task in answers.tasks
        if task.is_voxel
        for label in task.labels
        if label.category == "organ"
    ]


def _row(answers: Answers, task: Task, label: Label) -> dict[str, Any]:
    ml = answers.ml[f"{task.name}.{label.name}"]
    return {
        "task": task.name,
        "name": label.name,
        "title": {"en": label.title("en"), "zh": label.title("zh")},
        "ml": round(ml, 4),
        "ml_interval": answers.calibration.interval_ml(f"{task.name}.{label.name}", ml),
        "g": _grams(task, label, ml),
        "truncated": answers.extents[f"{task.name}.{label.name}"].reaches_edge(answers.grid.shape, answers.cut_axes),
    }


def _grams(task: Task, label: Label, ml: float) -> float | None:
    """The mass, where a derived value in g reads this label alone."""
    for derived in task.derived:
        if derived.unit == "g" and names_of(derived.formula) == {label.name}:
            grams = evaluate(derived.formula, {label.name: ml})
            return None if grams is None else round(grams, 3)
    return None
