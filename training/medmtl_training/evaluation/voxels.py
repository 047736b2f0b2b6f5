"""Masks of a case: the truth of a data set and the answer of a predictions folder, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmtl.errors import Code, DatasetError, MedmtlError
from medmtl.geometry.grid import Grid
from medmtl.reading.nifti import read_label_map
from medmtl.shapes import LabelMap, Mask, Shape, Spacing
from medmtl.task import Kind, Task
from medmtl_training.cells import VoxelLabel

IGNORED = 255
"""Label value of voxels that are neither trained on nor scored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseMasks:
    """The structures of one voxel task in one case.

    Attributes:
        masks: label name to its `(i, j, k)` mask; for the truth only the labels that were annotated.
        ignored: `(i, j, k)` voxels that are not scored.
        grid: of the masks.
    """

    masks: Mapping[str, Mask]
    ignored: Mask
    grid: Grid


def read_masks(task: Task, source: VoxelLabel, annotated: frozenset[str] | None, whose: str) -> CaseMasks:
    """The masks in `source`, a label map or label name to binary file.

    Args:
        task: whose labels they are.
        source: the file or files.
        annotated: labels to read, None for all.
        whose: "truth of CASE" or "prediction of CASE", for messages.

    Raises:
        DatasetError: `bad-label-value` for a value the task does not have, `grid-mismatch` where regions differ.
        StudyError: a file cannot be read.
    """
    wanted = [label for label in task.labels if annotated is None or label.name in annotated]
    if task.kind is Kind.SEGMENTATION:
        if not isinstance(source, Path):
            raise TypeError(f"{task.name} is one label map, not a mapping")
        array, grid = read_map(source, f"{task.name} of the {whose}")
        _check_values(array, {label.value for label in task.labels}, task, whose)
        return CaseMasks(
            masks={label.name: array == label.value for label in wanted}, ignored=array == IGNORED, grid=grid
        )
    if isinstance(source, Path):
        raise TypeError(f"{task.name} has a file for each label, not one map")
    return _read_regions(task, {name: source[name] for name in (label.name for label in wanted)}, whose)


def _read_regions(task: Task, files: Mapping[str, Path], whose: str) -> CaseMasks:
    masks: dict[str, Mask] = {}
    ignored: Mask | None = None
    first: Grid | None = None
    for name, path in files.items():
        array, grid = read_map(path, f"{task.name} of the {whose}")
        _check_values(array, {1}, task, whose)
        first = first or grid
        check_grids(first, grid, f"{task.name} of the {whose}")
        masks[name] = array == 1
        ignored = (array == IGNORED) if ignored is None else ignored | (array == IGNORED)
    if first is None or ignored is None:
        raise ValueError(f"{task.name} of the {whose} has no file")
    return CaseMasks(masks=masks, ignored=ignored, grid=first)


def read_map(path: Path, what: str) -> tuple[LabelMap, Grid]:
    """`(i, j, k)` label values and their grid; `what` they are stands in the message.

    Raises:
        StudyError, DatasetError: the file cannot be read.
    """
    try:
        return read_label_map(path)
    except MedmtlError as fault:
        raise type(fault)(fault.code, f"{what}: {fault.what}", fault.todo) from fault


def _check_values(array: LabelMap, known: set[int], task: Task, whose: str) -> None:
    foreign = sorted(int(value) for value in np.unique(array) if int(value) not in known | {0, IGNORED})
    if foreign:
        raise DatasetError(
            Code.BAD_LABEL_VALUE,
            f"{task.name} of the {whose} holds {foreign[:5]}, not only {sorted(known)}",
            "correct the label map or the task in dataset.yaml",
        )


def check_grids(expected: Grid, found: Grid, what: str) -> None:
    """Nothing, where both grids are one.

    Raises:
        DatasetError: `grid-mismatch`.
    """
    if not expected.same_as(found):
        raise DatasetError(
            Code.GRID_MISMATCH,
            f"{what} lies on another grid ({found.shape}, expected {expected.shape})",
            "bring it onto the grid of the image",
        )


def image_geometry(path: Path) -> tuple[Shape, Spacing]:
    """Shape and spacing in mm from the header of a NIfTI; voxels are not read."""
    import nibabel

    header = nibabel.load(path).header
    shape, zooms = header.get_data_shape(), header.get_zooms()
    return (int(shape[0]), int(shape[1]), int(shape[2])), (float(zooms[0]), float(zooms[1]), float(zooms[2]))


def slice_step_mm(spacing: Spacing) -> float:
    """Distance of slices: the spacing along the axis across the two that are alike, axis k where no two or all are."""
    for axis in (2, 1, 0):
        first, second = (spacing[other] for other in range(3) if other != axis)
        if abs(first - second) < 1e-3:
            return spacing[axis]
    return spacing[2]
