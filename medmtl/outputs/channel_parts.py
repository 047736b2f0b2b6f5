"""A case by the channels that its tasks are drawn on: every mask goes out on the voxels of its own channel."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.geometry.masks import resample_masks_onto
from medmtl.geometry.resample import resample_onto
from medmtl.result import CaseResult
from medmtl.volume import Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelPart:
    """The tasks that are drawn on one channel.

    Attributes:
        channel: its name where it is a further one; empty for the first.
        result: these tasks alone, their maps on the channel's own voxels, the channel as the first volume; the
            findings are those of the whole case.
    """

    channel: str
    result: CaseResult

    def file(self, name: str) -> str:
        """A file's name, with the channel where it is a further one: `seg.dcm`, `seg_es.dcm`."""
        stem, dot, suffix = name.rpartition(".")
        return f"{stem}_{self.channel.lower()}{dot}{suffix}" if self.channel else name


def channel_parts(result: CaseResult) -> tuple[ChannelPart, ...]:
    """The case by channels, the first one first; further ones only where a task is drawn on them."""
    numbers = {task.name: result.channel_of(task.name) if task.is_voxel else 0 for task in result.tasks}
    further = sorted(set(numbers.values()) - {0})
    if not further:
        return (ChannelPart(channel="", result=result),)
    parts = [ChannelPart(channel="", result=_only(result, numbers, 0, result.volume.grid))]
    for number in further:
        own: Volume = result.channels[number].own
        name = result.channel_names[number]
        moved = replace(_only(result, numbers, number, own.grid), channels=(own,), channel_names=(name,))
        parts.append(ChannelPart(channel=name, result=moved))
    return tuple(parts)


def _only(result: CaseResult, numbers: dict[str, int], number: int, grid: Grid) -> CaseResult:
    tasks = tuple(task for task in result.tasks if numbers[task.name] == number)
    names = {task.name for task in tasks}
    source = result.volume.grid
    return replace(
        result,
        tasks=tasks,
        masks={name: resample_masks_onto(found, source, grid) for name, found in result.masks.items() if name in names},
        probabilities={
            name: found if grid.same_as(source) else np.stack([_linear(one, source, grid) for one in found])
            for name, found in result.probabilities.items()
            if name in names
        },
    )


def _linear(values: Any, source: Grid, target: Grid) -> Any:
    return resample_onto(values, source, target, outside=0.0)
