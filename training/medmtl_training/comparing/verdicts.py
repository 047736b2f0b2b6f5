"""What paired differences and gradients say: gain, negative transfer or no evidence; what to train together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medmtl.task import Task
from medmtl_training.gradients.meter import Pair

Rows = list[dict[str, Any]]

_WORDS = {"better": "gain", "worse": "negative transfer", "no evidence": "no evidence"}
_FIGURES = ("dice", "auroc", "absolute_error", "brier")
"""The first that a task has is the one it is judged by."""

_TOGETHER = 0.05
_LEAST_PATIENTS = 10
"""With fewer, a bootstrap interval is too narrow to say anything."""


def judged(
    compared: Mapping[str, Any],
    tasks: Sequence[Task],
    against: str,
    *,
    transfer: bool = False,
    least: int = _LEAST_PATIENTS,
) -> Rows:
    """A row per label or class task: joint minus `against`, its 95 % interval over patients, and the verdict.

    The verdict is "no evidence" where the interval holds zero or rests on fewer than `least` patients.

    Args:
        compared: what `evaluation.compare.compare` gave, the joint answers first.
        tasks: those to judge.
        against: name of the other training.
        transfer: whether "better" is a gain from other tasks, and "worse" negative transfer.
        least: patients, for anything to be evidence.
    """
    rows = []
    for task in tasks:
        found = compared["tasks"].get(task.name, {})
        for label, figures in found.get("labels", {"": found}).items():
            name = next((figure for figure in _FIGURES if figure in figures), None)
            if name is None or label in ("union", "lesion by lesion"):
                continue
            cell = figures[name]
            verdict = cell["verdict"] if cell["patients"] >= least else "no evidence"
            rows.append(
                {
                    "task": task.name, "label": label, "figure": name, "against": against,
                    "difference": cell["value"], "interval": cell["interval"], "n": cell["n"],
                    "patients": cell["patients"], "verdict": _WORDS[verdict] if transfer else verdict,
                }
            )  # fmt: skip
    return rows


def affinity(pairs: Sequence[Pair], tasks: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Mean cosine of the tasks' gradients of the shared weights, a row and a column per task."""
    known = {frozenset((pair.one, pair.other)): pair.cosine for pair in pairs}
    return {
        one: {other: 1.0 if one == other else known.get(frozenset((one, other))) for other in tasks} for one in tasks
    }


def groups(matrix: Mapping[str, Mapping[str, float | None]], hurt: frozenset[str]) -> list[list[str]]:
    """Tasks that should train together: linked by gradients that point the same way, those that lose by company alone.

    Single linkage over mean cosines above 0.05; a task with negative transfer stands alone.
    """
    found: list[list[str]] = []
    for task, row in matrix.items():
        near = [] if task in hurt else [group for group in found if any(_linked(row[other]) for other in group)]
        near = [group for group in near if not hurt & set(group)]
        found = [group for group in found if group not in near]
        found.append([*(name for group in near for name in group), task])
    order = list(matrix)
    return sorted((sorted(group, key=order.index) for group in found), key=lambda group: order.index(group[0]))


def _linked(cosine: float | None) -> bool:
    return cosine is not None and cosine > _TOGETHER


def advice(twins: Rows, matrix: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    """What to do, in sentences; nothing is advised that no interval supports."""
    hurt = frozenset(row["task"] for row in twins if row["verdict"] == "negative transfer")
    helped = sorted({row["task"] for row in twins if row["verdict"] == "gain"} - hurt)
    if hurt:
        yield f"Training together costs {', '.join(sorted(hurt))}: train alone what it costs, or try gradients: upgrad."
    if helped:
        yield f"Training together helps {', '.join(helped)}."
    if not hurt and not helped and twins:
        yield "No interval excludes zero: on these cases joint and single-task training cannot be told apart."
    found = groups(matrix, hurt)
    if len(found) > 1:
        named = "; ".join(" with ".join(group) for group in found)
        yield f"Groups by gradients and differences: {named}. As a schedule: groups: {[list(group) for group in found]}"
