"""Images without what could betray a class beside the disease: is the class still told?

A classifier may read the frame of a scan instead of the organ: its padding, its field of view, how many slices lie
beyond the organ. Each alteration takes one of these away from every case alike, whatever its class; the class is
asked again, and the difference is judged by a paired bootstrap over patients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.outputs.files import write_atomic
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl.reading.nifti import read_nifti
from medmtl.shapes import Mask, VoxelArray
from medmtl.task import Kind, Task
from medmtl.volume import Volume
from medmtl_training.cases import Case, Dataset
from medmtl_training.evaluation.compare import compare
from medmtl_training.evaluation.voxels import read_masks

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one behind the last, along each index axis."""

MARGIN_MM = 20.0
_FILLING = 0.01  # of the voxels at the lowest value, from which on they are padding


@dataclass(frozen=True, kw_only=True)
class Structures:
    """Where the annotated structures of a case lie.

    Attributes:
        box: of all of them, in voxels of the image.
        axis: along which slices are stacked: the one with the widest spacing.
        lesions: first slice with a lesion and the one behind the last; None where there is none.
        centre: middle slice of the box.
    """

    box: Box
    axis: int
    lesions: tuple[int, int] | None
    centre: float


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """A change of the images of all cases.

    Attributes:
        name: of the change.
        what: one sentence.
        change: image, where the structures of its case lie and those of all others, to the changed image.
    """

    name: str
    what: str
    change: Callable[[Volume, Structures, Sequence[Structures]], Volume]


def _padding_blanked(volume: Volume, own: Structures, every: Sequence[Structures]) -> Volume:
    lowest = volume.array == volume.array.min()
    if float(lowest.mean()) < _FILLING or bool(lowest.all()):
        return volume
    array = volume.array.copy()
    array[lowest] = np.median(volume.array[~lowest]).astype(array.dtype)
    return _on(volume, array, volume.grid)


def _cropped(volume: Volume, own: Structures, every: Sequence[Structures]) -> Volume:
    margins = [
        0 if axis == own.axis else round(MARGIN_MM / spacing) for axis, spacing in enumerate(volume.grid.spacing)
    ]
    spans = [
        (0, size) if axis == own.axis else (max(0, low - margin), min(size, high + margin))
        for axis, (size, (low, high), margin) in enumerate(zip(volume.grid.shape, own.box, margins, strict=True))
    ]
    return _part(volume, spans)


def _ends_dropped(volume: Volume, own: Structures, every: Sequence[Structures]) -> Volume:
    return _slices(volume, own, own.box[own.axis])


def _lesion_slices(volume: Volume, own: Structures, every: Sequence[Structures]) -> Volume:
    kept = own.lesions
    if kept is None:  # as many slices as the others keep, so that their number tells nothing
        counts = [one.lesions[1] - one.lesions[0] for one in every if one.lesions is not None]
        low, high = own.box[own.axis]
        count = min(high - low, int(np.median(counts)) if counts else high - low)
        first = min(max(low, round(own.centre - count / 2)), high - count)
        kept = (first, first + count)
    return _slices(volume, own, kept)


ALTERATIONS = (
    Alteration(name="padding blanked", change=_padding_blanked, what="Padding holds the median of the image."),
    Alteration(
        name="cropped",
        change=_cropped,
        what=f"Within the slice the image ends {MARGIN_MM:g} mm beside the annotated structures.",
    ),
    Alteration(name="ends dropped", change=_ends_dropped, what="Slices beyond the annotated structures are gone."),
    Alteration(
        name="lesion slices",
        change=_lesion_slices,
        what="Slices from the first with a lesion to the last; in cases without one as many middle slices as the "
        "median of the others.",
    ),
)


def structures_of(case: Case, tasks: Sequence[Task]) -> Structures | None:
    """Where the annotated structures of a case lie; None where there are none."""
    every: Mask | None = None
    lesions: Mask | None = None
    grid: Grid | None = None
    for task in tasks:
        if task.name not in case.voxel_labels:
            continue
        found = read_masks(task, case.voxel_labels[task.name], case.annotated[task.name], f"truth of {case.name}")
        union = np.logical_or.reduce(list(found.masks.values()))
        every, grid = union if every is None else every | union, found.grid
        if task.host_task is not None or task.name == "lesions":
            lesions = union if lesions is None else lesions | union
    if every is None or grid is None or not every.any():
        return None
    spans = [_span(every.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    axis = int(np.argmax(grid.spacing))
    others = tuple(other for other in range(3) if other != axis)
    return Structures(
        box=(spans[0], spans[1], spans[2]),
        axis=axis,
        lesions=_span(lesions.any(axis=others)) if lesions is not None and lesions.any() else None,
        centre=sum(spans[axis]) / 2,
    )


def altered_images(
    dataset: Dataset, cases: Sequence[Case], alteration: Alteration, folder: Path
) -> dict[str, tuple[Path, ...]]:
    """Case to its changed images in `folder`; cases in which no structure is annotated are left out.

    Raises:
        MedmtlError: an image or a mask cannot be read, or the folder cannot be written.
    """
    where = {case.name: found for case in cases if (found := structures_of(case, dataset.tasks)) is not None}
    images: dict[str, tuple[Path, ...]] = {}
    for case in cases:
        if case.name not in where:
            continue
        paths = []
        for number, source in enumerate(case.images):
            changed = alteration.change(read_nifti(source), where[case.name], list(where.values()))
            path = folder / f"{case.name}_{number:04d}.nii.gz"
            write_atomic(path, nifti_bytes(changed.array, changed.grid))
            paths.append(path)
        images[case.name] = tuple(paths)
    return images


def judge_alteration(
    rows: Sequence[Mapping[str, Any]], altered: Sequence[Mapping[str, Any]], tasks: Sequence[Task]
) -> dict[str, Any]:
    """Altered minus plain for every case-level task with classes: differences with their paired intervals."""
    classes = [task for task in tasks if task.kind in (Kind.CLASSIFICATION, Kind.ORDINAL)]
    return compare(altered, rows, classes)


def _span(present: Any) -> tuple[int, int]:
    found = np.flatnonzero(present)
    return int(found[0]), int(found[-1]) + 1


def _slices(volume: Volume, own: Structures, kept: tuple[int, int]) -> Volume:
    spans = [kept if axis == own.axis else (0, size) for axis, size in enumerate(volume.grid.shape)]
    return _part(volume, spans)


def _part(volume: Volume, spans: Sequence[tuple[int, int]]) -> Volume:
    margins = [(-low, high - size) for (low, high), size in zip(spans, volume.grid.shape, strict=True)]
    array = np.ascontiguousarray(volume.array[tuple(slice(low, high) for low, high in spans)])
    return _on(volume, array, volume.grid.extended(margins))


def _on(volume: Volume, array: VoxelArray, grid: Grid) -> Volume:
    return replace(volume, array=array, grid=grid)
