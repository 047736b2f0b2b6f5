"""`CaseResult`: everything one study was answered with, before it becomes files or a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medmtl.shapes import Mask, ProbabilityArray
from medmtl.task import Kind, Task
from medmtl.volume import Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseResult:
    """The answers for one case, on the voxel grid of the series they belong to.

    Attributes:
        case: name of the case in files and logs; holds no identity unless the user asked for it.
        channels: the input volumes, one per channel of the model; the first is what is shown.
        tasks: the tasks that were answered, in the bundle's order.
        masks: voxel task name to its map: for `segmentation` `(i, j, k)` uint8 label values,
            for `regions` `(label, i, j, k)` bool.
        probabilities: voxel task name to `(channel, i, j, k)` float32, only where they were asked for.
        findings: the content of `findings.json`, plain JSON values.
        channel_names: of the model, in the order of `channels`; empty where they are not known.
    """

    case: str
    channels: tuple[Volume, ...]
    tasks: tuple[Task, ...]
    masks: Mapping[str, Any]
    probabilities: Mapping[str, ProbabilityArray]
    findings: dict[str, Any]
    channel_names: tuple[str, ...] = ()

    @property
    def volume(self) -> Volume:
        """The first channel."""
        return self.channels[0]

    def channel_of(self, task_name: str) -> int:
        """Number of the channel that a voxel task is drawn on, see `Task.drawn_on`."""
        drawn_on = next(task.drawn_on for task in self.tasks if task.name == task_name)
        return self.channel_names.index(drawn_on) if drawn_on in self.channel_names else 0

    def mask(self, task_name: str, label_name: str) -> Mask:
        """`(i, j, k)` bool mask of one structure."""
        task = next(task for task in self.tasks if task.name == task_name)
        index = [label.name for label in task.labels].index(label_name)
        found = self.masks[task_name]
        mask: Mask = found[index] if task.kind is Kind.REGIONS else found == task.labels[index].value
        return mask
