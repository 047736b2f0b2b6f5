"""`Fingerprint`: what a plan needs to know of a data set's images: geometry, where the structures lie, intensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medmtl.errors import DatasetError, MedmtlError
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import slices_last, to_lps
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl.shapes import FloatArray, Mask, VoxelArray
from medmtl_training.cases import Case, Dataset

THICK_RATIO = 3.0
"""Slice distance over pixel size from which slices are kept as scanned."""

SAMPLE_CASES = 40
_VOXELS_OF_A_CASE = 20_000
_AIR_HU = -1000.0  # below it lies only what a scanner fills its corners with


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """Rows are the sampled cases, columns the working axes.

    Attributes:
        cases: number of cases of the data set.
        thick: whether slices are so far apart that they stay as scanned.
        spacing_mm: `(n, 3)`.
        extent_mm: `(n, 3)` of the images.
        structure_mm: `(m, 3)` of the box of all labelled voxels, only of cases that have some.
        intensities: a row per channel, of labelled voxels where there are any: 0.5 and 99.5 percentile, mean and
            spread between them, and the 99.5 percentile of a case that a tenth of the cases exceeds. HU for CT.
    """

    cases: int
    thick: bool
    spacing_mm: FloatArray
    extent_mm: FloatArray
    structure_mm: FloatArray
    intensities: tuple[tuple[float, float, float, float, float], ...]


def fingerprint(dataset: Dataset) -> Fingerprint:
    """Reads the images and labels of at most `SAMPLE_CASES` cases, evenly spread over the list.

    Raises:
        DatasetError: a case cannot be read; the message names it.
    """
    step = max(1, -(-len(dataset.cases) // SAMPLE_CASES))
    looks = [_look(case, len(dataset.channels)) for case in dataset.cases[::step]]
    sorted_spacing = np.sort([look.grid.spacing for look in looks], axis=1)
    thick = bool(np.median(sorted_spacing[:, 2] / sorted_spacing[:, 0]) >= THICK_RATIO)
    turns = [slices_last(look.grid) if thick else to_lps(look.grid) for look in looks]
    grids = [turn.grid(look.grid) for turn, look in zip(turns, looks, strict=True)]
    boxes = [
        [look.box_mm[axis] for axis in turn.order]
        for turn, look in zip(turns, looks, strict=True)
        if look.box_mm is not None
    ]
    return Fingerprint(
        cases=len(dataset.cases),
        thick=thick,
        spacing_mm=np.array([grid.spacing for grid in grids]),
        extent_mm=np.array([np.multiply(grid.shape, grid.spacing) for grid in grids]),
        structure_mm=np.array(boxes, dtype=np.float64).reshape(-1, 3),
        intensities=tuple(_intensities(looks, channel) for channel in range(len(dataset.channels))),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    grid: Grid
    box_mm: FloatArray | None
    samples: tuple[npt.NDArray[Any], ...]
    labelled: tuple[npt.NDArray[Any], ...]


def _look(case: Case, channels: int) -> _Look:
    try:
        volumes = [read_nifti(path) for path in case.images]
        labelled = _labelled(case, volumes[0].grid)
    except MedmtlError as error:
        raise DatasetError(error.code, f"case {case.name}: {error.what}", error.todo) from None
    box = None
    if labelled.any():
        where = np.argwhere(labelled)
        box = (where.max(axis=0) - where.min(axis=0) + 1) * np.asarray(volumes[0].grid.spacing)
    return _Look(
        grid=volumes[0].grid,
        box_mm=box,
        samples=tuple(_sample(volumes[channel].array.ravel()) for channel in range(channels)),
        labelled=tuple(_sample(volumes[channel].array[labelled]) for channel in range(channels)),
    )


def _labelled(case: Case, grid: Grid) -> Mask:
    found = np.zeros(grid.shape, dtype=np.bool_)
    for label in case.voxel_labels.values():
        for path in [label] if isinstance(label, Path) else label.values():
            array, _ = read_label_map(path)
            if array.shape == grid.shape:
                found |= (array > 0) & (array < 255)
    return found


def _sample(values: VoxelArray) -> npt.NDArray[Any]:
    return np.asarray(values[:: max(1, values.size // _VOXELS_OF_A_CASE)])


def _intensities(looks: Sequence[_Look], channel: int) -> tuple[float, float, float, float, float]:
    known = [look.labelled[channel] for look in looks if look.labelled[channel].size]
    samples = known or [look.samples[channel] for look in looks]
    sample = np.concatenate(samples).astype(np.float64)
    body = sample[sample > _AIR_HU] if (sample > _AIR_HU).any() else sample
    low, high = (float(value) for value in np.percentile(body, [0.5, 99.5]))
    brightest = max(high, float(np.percentile([np.percentile(values, 99.5) for values in samples], 90)))
    clipped = np.clip(body, low, brightest)
    return low, high, float(clipped.mean()), float(clipped.std()), brightest
