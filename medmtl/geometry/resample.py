"""Changing the spacing of a grid: the one place where SimpleITK is used.

Both grids share their axes and their extent, so this happens in index space and holds for sheared grids too.
"""

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from medmtl.geometry.grid import Grid
from medmtl.shapes import VoxelArray


def respaced(grid: Grid, spacing: tuple[float | None, float | None, float | None]) -> Grid:
    """A grid with the same axes and outer edges, voxels of about `spacing` mm (None keeps an axis).

    The number of voxels is rounded, so the edges agree exactly and the spacing nearly.
    """
    shape = [
        n if wanted is None else max(1, round(n * have / wanted))
        for n, have, wanted in zip(grid.shape, grid.spacing, spacing, strict=True)
    ]
    step = np.asarray(grid.shape) / np.asarray(shape)
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * step
    affine[:3, 3] = grid.to_lps(0.5 * step - 0.5)
    return Grid(shape=(shape[0], shape[1], shape[2]), affine=affine)


def resample(array: VoxelArray, shape: tuple[int, int, int], *, cubic: bool = False) -> VoxelArray:
    """Values of `(i, j, k)` on `shape` voxels over the same extent, float32; edges are continued.

    Args:
        array: intensities or probabilities.
        shape: of the new array.
        cubic: cubic B-spline, clipped to the input's range; else linear.
    """
    if array.shape == tuple(shape):
        return array.astype(np.float32, copy=False)
    source = array.astype(np.float32)
    method = sitk.sitkBSpline if cubic else sitk.sitkLinear
    out = _resample(source, shape, method)
    return np.clip(out, source.min(), source.max()) if cubic else out


def resample_labels(labels: VoxelArray, shape: tuple[int, int, int]) -> VoxelArray:
    """Label values on `shape` voxels over the same extent: the label with the largest resampled share, uint8."""
    if labels.shape == tuple(shape):
        return labels.astype(np.uint8, copy=False)
    best = np.zeros(shape, dtype=np.float32)
    out = np.zeros(shape, dtype=np.uint8)
    for value in np.unique(labels):
        share = _resample((labels == value).astype(np.float32), shape, sitk.sitkLinear)
        better = share > best
        out[better] = value
        best = np.maximum(best, share)
    return out


def _resample(source: VoxelArray, shape: tuple[int, int, int], method: Any) -> VoxelArray:
    # SimpleITK names axes (x, y, z) = our (k, j, i) for a C-ordered array: both triples are reversed alike.
    image = sitk.GetImageFromArray(np.ascontiguousarray(source))
    step = [float(have) / float(want) for have, want in zip(source.shape[::-1], shape[::-1], strict=True)]
    filter_ = sitk.ResampleImageFilter()
    filter_.SetSize([int(n) for n in shape[::-1]])
    filter_.SetOutputSpacing(step)
    filter_.SetOutputOrigin([0.5 * s - 0.5 for s in step])
    filter_.SetInterpolator(method)
    filter_.UseNearestNeighborExtrapolatorOn()
    filter_.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(filter_.Execute(image))
