"""Labels of a side, and mirroring that would exchange them."""

from collections.abc import Sequence

from medmtl.errors import Code, TrainingError
from medmtl.preparation.plan import Orientation, Plan
from medmtl.task import Task

SIDES = ("left", "right")


def are_paired(tasks: Sequence[Task]) -> bool:
    """Whether a left structure has a right twin among the labels, by code and laterality or by name."""
    labels = [label for task in tasks for label in task.labels]
    pairs = {(label.code.value, label.laterality) for label in labels if label.code and label.laterality in SIDES}
    return len({code for code, _ in pairs}) < len(pairs) or any(
        set(SIDES) & set(label.name.split("_")) for label in labels
    )


def refuse_mirrored_sides(plan: Plan, tasks: Sequence[Task]) -> None:
    """Refuses a plan that would teach a left structure as its right twin.

    In the patient's frame only the first axis runs from side to side; as acquired, any may.

    Raises:
        TrainingError: `mirrored-sides`.
    """
    sideways = (0,) if plan.orientation is Orientation.LPS else (0, 1, 2)
    axes = sorted(set(sideways) & {*plan.flips, *plan.mirror})
    if axes and are_paired(tasks):
        what = f"the plan mirrors axis {axes[0]}, and left and right structures are labels of their own"
        raise TrainingError(Code.MIRRORED_SIDES, what, "take the axis out of `flips` and `mirror`")
