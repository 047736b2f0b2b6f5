"""`Answers`: masks and class probabilities of one case, with what every task's report needs to measure them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medmtl.findings.measurement import volume_ml
from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, Mask, VoxelArray
from medmtl.task import Kind, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What the network said of one case, on the voxels of the series.

    Attributes:
        tasks: the answered tasks, hosts of asked ones included.
        grid: of the masks, LPS mm.
        image: `(i, j, k)` intensities of the first channel, HU for CT.
        masks: voxel task to its map: `(i, j, k)` label values, or `(label, i, j, k)` bool for regions.
        foreground: voxel task to `(i, j, k)` float32, the probability of any label there.
        case: case-level task to `(output,)` probabilities, or the value of a regression.
        calibrated: case-level tasks whose probabilities were calibrated.
        slice_axis: index axis across the acquired slices.
        planned_stack: whether the slices were planned on the organ, so that its ends in slice direction are no cut.
        minimum_lesion_ml: smaller lesions are not reported.
    """

    tasks: tuple[Task, ...]
    grid: Grid
    image: VoxelArray
    masks: Mapping[str, VoxelArray]
    foreground: Mapping[str, VoxelArray]
    case: Mapping[str, FloatArray]
    calibrated: frozenset[str]
    slice_axis: int
    planned_stack: bool
    minimum_lesion_ml: float

    @property
    def cut_axes(self) -> tuple[int, ...]:
        """Index axes at whose ends the scan may cut an organ."""
        return tuple(axis for axis in range(3) if not (self.planned_stack and axis == self.slice_axis))

    def task(self, name: str) -> Task | None:
        """The task called `name`, None where it was not answered."""
        return next((task for task in self.tasks if task.name == name), None)

    def mask(self, task: Task, label_name: str) -> Mask:
        """`(i, j, k)` bool mask of one structure."""
        index = [label.name for label in task.labels].index(label_name)
        found = self.masks[task.name]
        mask: Mask = found[index] if task.kind is Kind.REGIONS else found == task.labels[index].value
        return mask

    def any_mask(self, task: Task) -> Mask:
        """`(i, j, k)` bool mask of all structures of a task."""
        found = self.masks[task.name]
        return np.asarray(found.any(axis=0) if task.kind is Kind.REGIONS else found > 0)

    def host_mask(self, task: Task) -> Mask | None:
        """Mask of the structure the task's labels lie inside, None without one."""
        if task.inside is None:
            return None
        host_task = self.task(task.inside.split(".")[0])
        return None if host_task is None else self.mask(host_task, task.inside.split(".")[1])

    @cached_property
    def ml(self) -> Mapping[str, float]:
        """ "task.label" to mL, of every structure."""
        volumes: dict[str, float] = {}
        for task in self.tasks:
            if task.kind is Kind.SEGMENTATION:
                counts = np.bincount(self.masks[task.name].ravel(), minlength=256)
                volumes |= {f"{task.name}.{x.name}": int(counts[x.value]) * self.grid.voxel_ml for x in task.labels}
            elif task.kind is Kind.REGIONS:
                volumes |= {f"{task.name}.{x.name}": volume_ml(self.mask(task, x.name), self.grid) for x in task.labels}
        return volumes
