"""Label maps and probabilities to NIfTI, on the grid of the input; here LPS becomes RAS on the way out."""

from collections.abc import Iterator
from typing import Any

import nibabel as nib
import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.outputs.channel_parts import channel_parts
from medmtl.outputs.files import gzip_bytes
from medmtl.result import CaseResult
from medmtl.shapes import Mask, ProbabilityArray, Shape
from medmtl.task import Kind

MAX_QFORM_SHEAR_DEG = 0.01
PROBABILITY_FLOOR = 0.1
PROBABILITY_MARGIN_MM = 5.0


def nifti_bytes(array: Any, grid: Grid, slope: float = 1.0, description: str = "medmtl, research use only") -> bytes:
    """`array` as a `.nii.gz` file on `grid`, in mm; the same bytes for the same array.

    The sform is the grid's affine with the first two rows negated (LPS to RAS) as float32: what was read from a
    float32 sform is written bit for bit. The qform, which cannot hold shear, is set only for a box.

    Args:
        array: `(i, j, k)` uint8, int16 or float32.
        grid: where the voxels lie, LPS mm.
        slope: value = stored * slope, written as `scl_slope`.
        description: at most 79 ASCII characters.

    Raises:
        ValueError: the array does not fill the grid.
    """
    if array.shape != grid.shape:
        raise ValueError(f"array {array.shape} does not fill the grid {grid.shape}")
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_zooms(grid.spacing)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine + 0.0  # no minus zero
    if grid.shear_deg < MAX_QFORM_SHEAR_DEG:
        header.set_qform(ras, code=1)
    header.set_sform(ras, code=1)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = slope, 0.0
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    little = header.as_byteswapped("<")
    stored = np.asarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    # label maps lie in NIfTI's order already, so that a long CT's is packed where it is
    voxels = stored.reshape(-1, order="F").view(np.uint8).data
    return gzip_bytes(little.binaryblock + bytes(4), voxels)


def mask_files(result: CaseResult) -> Iterator[tuple[str, bytes]]:
    """Name in the case's folder and bytes of the map of every voxel task, on the voxels of the channel it is drawn on.

    `TASK.nii.gz` holds label values; kinds that may overlap come as one binary `TASK/LABEL.nii.gz` per label.
    """
    for part in channel_parts(result):
        yield from _mask_files(part.result)


def _mask_files(result: CaseResult) -> Iterator[tuple[str, bytes]]:
    grid = result.volume.grid
    for task in result.tasks:
        if task.name not in result.masks:
            continue
        found = result.masks[task.name]
        if task.kind is Kind.REGIONS:
            for index, label in enumerate(task.labels):
                yield f"{task.name}/{label.name}.nii.gz", nifti_bytes(found[index].astype(np.uint8), grid)
        else:
            yield f"{task.name}.nii.gz", nifti_bytes(np.asarray(found, dtype=np.uint8), grid)


def probability_files(result: CaseResult) -> Iterator[tuple[str, bytes]]:
    """`probabilities/TASK_LABEL.nii.gz` of every structure: uint8, slope 1/255, cropped to the structure's box.

    The box holds the mask and all voxels of `PROBABILITY_FLOOR` and more, with a margin; a structure without any
    has no file. The affine is that of the crop, so it lies right on the input.
    """
    for part in channel_parts(result):
        yield from _probability_files(part.result)


def _probability_files(result: CaseResult) -> Iterator[tuple[str, bytes]]:
    for task in result.tasks:
        if not task.is_voxel or task.name not in result.probabilities:
            continue
        stacked = result.probabilities[task.name]
        first = 1 if task.kind is Kind.SEGMENTATION else 0
        for index, label in enumerate(task.labels):
            channel = stacked[first + index]
            crop = _box(channel, result.mask(task.name, label.name), result.volume.grid)
            if crop is not None:
                low, high = crop
                cut = channel[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
                stored = np.rint(np.clip(cut, 0.0, 1.0) * 255.0).astype(np.uint8)
                grid = _crop_grid(result.volume.grid, low, high)
                yield f"probabilities/{task.name}_{label.name}.nii.gz", nifti_bytes(stored, grid, slope=1.0 / 255.0)


def _box(probability: ProbabilityArray, mask: Mask, grid: Grid) -> tuple[Shape, Shape] | None:
    held = mask | (probability >= PROBABILITY_FLOOR)
    low, high = [], []
    for axis in range(3):
        used = np.flatnonzero(held.any(axis=tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            return None
        margin = int(np.ceil(PROBABILITY_MARGIN_MM / grid.spacing[axis]))
        low.append(max(0, int(used[0]) - margin))
        high.append(min(grid.shape[axis], int(used[-1]) + 1 + margin))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _crop_grid(grid: Grid, low: Shape, high: Shape) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_lps(np.array(low, dtype=np.float64))
    return Grid(shape=(high[0] - low[0], high[1] - low[1], high[2] - low[2]), affine=affine)
