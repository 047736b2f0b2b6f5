"""`Answers`: masks and class probabilities of one case, with what every task's report needs to measure them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from medmtl.findings.calibration import Calibration
from medmtl.findings.extent import NOWHERE, Box, Extent, label_extents, mask_extent
from medmtl.geometry.grid import Grid
from medmtl.geometry.masks import resample_masks_onto
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
        foreground: voxel task to `(i, j, k)` float32, the probability of any label there; without it lesions have
            no confidence.
        case: case-level task to `(output,)` probabilities, or the value of a regression.
        images: voxel task to the intensities of the channel it is drawn on, on `grid`, where that is a further one.
        own_grids: voxel task to the grid of that channel, where it is another than `grid`: maps go out on it, and are
            counted there.
        influence: task of classes to {"task.label": what its class gains in probability from what was read inside it}.
        calibration: what the model's held-out errors say of these answers.
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
    calibration: Calibration
    slice_axis: int
    planned_stack: bool
    minimum_lesion_ml: float
    images: Mapping[str, VoxelArray] = field(default_factory=dict)
    own_grids: Mapping[str, Grid] = field(default_factory=dict)
    influence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

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

    def prediction_set(self, task: Task) -> list[str] | None:
        """Classes that cannot be excluded, in the task's order; None where the model has no threshold."""
        held = self.calibration.prediction_set(task.name, self.case[task.name])
        return None if held is None else [task.labels[place].name for place in held]

    def cropped(self, box: Box) -> "Answers":
        """The same in a box of voxels, as views; its grid says where the box lies."""
        i, j, k = (part.stop - part.start for part in box)
        affine = self.grid.affine.copy()
        affine[:3, 3] = self.grid.to_lps(np.array([float(part.start) for part in box]))
        return replace(
            self,
            grid=Grid(shape=(i, j, k), affine=affine),
            image=self.image[box],
            images={name: found[box] for name, found in self.images.items()},
            masks={name: found[(..., *box)] for name, found in self.masks.items()},
            foreground={name: found[box] for name, found in self.foreground.items()},
        )

    @cached_property
    def extents(self) -> Mapping[str, Extent]:
        """ "task.label" to where it lies, of every structure."""
        found: dict[str, Extent] = {}
        for task in self.tasks:
            if task.kind is Kind.SEGMENTATION:
                held = label_extents(self.masks[task.name])
                found |= {f"{task.name}.{label.name}": held.get(label.value, NOWHERE) for label in task.labels}
            elif task.kind is Kind.REGIONS:
                found |= {f"{task.name}.{x.name}": mask_extent(self.mask(task, x.name)) for x in task.labels}
        return found

    @cached_property
    def voxels(self) -> Mapping[str, int]:
        """ "task.label" to its number of voxels, on the grid that its map goes out on."""
        found = {name: extent.voxels for name, extent in self.extents.items()}
        for task in self.tasks:
            if task.name in self.own_grids:
                masks = resample_masks_onto(self.masks[task.name], self.grid, self.own_grids[task.name])
                own = replace(self, tasks=(task,), masks={task.name: masks}, own_grids={})
                found |= {name: extent.voxels for name, extent in own.extents.items()}
        return found

    @cached_property
    def ml(self) -> Mapping[str, float]:
        """ "task.label" to mL, of every structure."""
        grids = {task.name: self.own_grids.get(task.name, self.grid) for task in self.tasks}
        return {name: voxels * grids[name.split(".")[0]].voxel_ml for name, voxels in self.voxels.items()}
