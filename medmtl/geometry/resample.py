"""From grid to grid: the one place where SimpleITK resamples.

All of it happens in index space, so that it holds for sheared grids too, which SimpleITK's images cannot describe.
"""

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.geometry.linear import resample_linear
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
    if not cubic:
        return resample_linear(array, shape)
    source = array.astype(np.float32)
    # ITK's spline reads beyond the image along an axis of two voxels; its mirror image, written out, is the same spline
    margins = tuple(2 if n == 2 else 0 for n in source.shape)
    mirrored = np.pad(source, [(n, n) for n in margins], mode="reflect") if any(margins) else source
    return np.clip(_resample(mirrored, shape, "sitkBSpline", margins), source.min(), source.max())


def resample_labels(labels: VoxelArray, shape: tuple[int, int, int]) -> VoxelArray:
    """Label values on `shape` voxels over the same extent: the label with the largest resampled share, uint8."""
    if labels.shape == tuple(shape):
        return labels.astype(np.uint8, copy=False)
    best = np.zeros(shape, dtype=np.float32)
    out = np.zeros(shape, dtype=np.uint8)
    for value in np.unique(labels):
        share = _resample((labels == value).astype(np.float32), shape, "sitkLinear")
        better = share > best
        out[better] = value
        best = np.maximum(best, share)
    return out


def resample_onto(array: VoxelArray, source: Grid, target: Grid, *, outside: float) -> VoxelArray:
    """Values of `array` on `source` at the voxels of `target`, linear, float32.

    Args:
        array: `(i, j, k)` intensities or probabilities.
        source: where they lie, LPS mm.
        target: where they are wanted, LPS mm; its axes may run otherwise.
        outside: the value of voxels half a voxel or more beyond `source`.
    """
    import SimpleITK as sitk  # noqa: N813  (its own documentation's name); slow to import

    to_source = np.linalg.solve(source.affine, target.affine)
    filter_ = sitk.ResampleImageFilter()
    filter_.SetSize([int(n) for n in target.shape[::-1]])
    matrix = np.round(to_source[:3, :3], 12)[::-1, ::-1]  # axes (k, j, i), as below
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(np.round(to_source[:3, 3], 9)[::-1].tolist())
    filter_.SetTransform(transform)
    filter_.SetInterpolator(sitk.sitkLinear)
    filter_.SetDefaultPixelValue(float(outside))
    filter_.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(filter_.Execute(sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))))


def resample_labels_onto(labels: VoxelArray, source: Grid, target: Grid) -> VoxelArray:
    """Label values of `labels` on `source` at the voxels of `target`: the label with the largest share, uint8."""
    best = np.zeros(target.shape, dtype=np.float32)
    out = np.zeros(target.shape, dtype=np.uint8)
    for value in np.unique(labels):
        share = resample_onto(labels == value, source, target, outside=float(value == 0))
        better = share > best
        out[better] = value
        best = np.maximum(best, share)
    return out


def _resample(
    source: VoxelArray, shape: tuple[int, int, int], method: str, margins: tuple[int, ...] = (0, 0, 0)
) -> VoxelArray:
    """The voxels between the margins on `shape` voxels."""
    import SimpleITK as sitk  # noqa: N813

    # SimpleITK names axes (x, y, z) = our (k, j, i) for a C-ordered array: both triples are reversed alike.
    image = sitk.GetImageFromArray(np.ascontiguousarray(source))
    inner = [n - 2 * margin for n, margin in zip(source.shape, margins, strict=True)]
    step = [float(have) / float(want) for have, want in zip(inner[::-1], shape[::-1], strict=True)]
    filter_ = sitk.ResampleImageFilter()
    filter_.SetSize([int(n) for n in shape[::-1]])
    filter_.SetOutputSpacing(step)
    filter_.SetOutputOrigin([margin + 0.5 * s - 0.5 for s, margin in zip(step, margins[::-1], strict=True)])
    filter_.SetInterpolator(getattr(sitk, method))
    filter_.UseNearestNeighborExtrapolatorOn()
    filter_.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(filter_.Execute(image))
