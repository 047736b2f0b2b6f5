"""The structures of a case that were found, numbered once for all outputs."""

from dataclasses import dataclass

from medmtl.result import CaseResult
from medmtl.shapes import Mask
from medmtl.task import Label


@dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """One structure that holds a voxel.

    Attributes:
        number: from 1, in the order of tasks and labels; the segment number in a SEG.
        task: name of its task.
        label: what it is.
        mask: `(i, j, k)` bool, not empty.
    """

    number: int
    task: str
    label: Label
    mask: Mask

    @property
    def is_lesion(self) -> bool:
        """Whether the structure is abnormal; the task's name decides where the label does not say."""
        return self.label.category == "lesion" or (self.label.category is None and self.task == "lesions")


def structures_of(result: CaseResult) -> tuple[Structure, ...]:
    """Every structure of every voxel task that holds a voxel."""
    found = [
        (task.name, label, result.mask(task.name, label.name))
        for task in result.tasks
        if task.name in result.masks
        for label in task.labels
    ]
    held = [(task, label, mask) for task, label, mask in found if mask.any()]
    return tuple(Structure(number=n, task=t, label=label, mask=m) for n, (t, label, m) in enumerate(held, start=1))
