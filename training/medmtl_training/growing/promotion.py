"""Whether a retrained model takes the place of the one before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medmtl.errors import Code, TrainingError
from medmtl.task import Task
from medmtl_training.comparing.verdicts import judged
from medmtl_training.evaluation.compare import compare

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How far the lower end of a paired 95 % interval may lie below zero."""

    dice: float = 0.01
    auroc: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether the new model is promoted, a reason for each label or task that stands against it, and all figures."""

    promoted: bool
    reasons: tuple[str, ...]
    rows: list[dict[str, Any]]

    def refusal(self) -> TrainingError:
        """`not-promoted`, with what stands against it; for one that is not promoted."""
        worse = any(": worse" in reason or reason.endswith("is worse") for reason in self.reasons)
        why = "it is worse" if worse else "not enough cases"
        first, *others = self.reasons
        more = f" and {len(others)} more" if others else ""
        todo = "use more held-out cases, train longer, or keep the old model"
        return TrainingError(Code.NOT_PROMOTED, f"not promoted: {why}; {first}{more}", todo)


def decide(new: Sequence[Row], old: Sequence[Row], tasks: Sequence[Task], margins: Margins) -> Decision:
    """New minus old on the held-out cases that both answered, figure by figure.

    Promoted only if the lower end of every paired interval lies above minus its margin; where an interval is too wide
    for that, or cannot be computed, the cases are too few and the old model stays. Other figures than Dice and AUROC
    must not be worse.

    Args:
        new: rows of `evaluation.score.score` for the new model.
        old: the same for the old one.
        tasks: those that both answer.
        margins: for Dice and AUROC.
    """
    rows = judged(compare(new, old, tasks), tasks, "the model before", least=0)
    reasons = []
    limits = {"dice": margins.dice, "auroc": margins.auroc}
    for row in rows:
        name = f"{row['task']}.{row['label']}" if row["label"] else row["task"]
        margin, interval = limits.get(row["figure"]), row["interval"]
        if margin is None:
            if row["verdict"] == "worse":
                reasons.append(f"{name}: {row['figure']} is worse")
        elif interval is None or interval[0] <= -margin:
            lost = row["difference"] is not None and interval is not None and interval[1] < -margin
            end = (
                "no interval" if interval is None else f"lower end {interval[0]:+.3f}, allowed is above {-margin:+.2f}"
            )
            reasons.append(f"{name}: {'worse' if lost else 'not enough cases'} ({end})")
    missing = [task.name for task in tasks if task.name not in {row["task"] for row in rows}]
    reasons += [f"{name}: not enough cases (none held out has a truth for it)" for name in missing]
    return Decision(promoted=not reasons, reasons=tuple(reasons), rows=rows)
