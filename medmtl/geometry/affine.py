"""Affines: voxel index to patient millimetres, and the one switch between RAS and LPS."""

import numpy as np

from medmtl.shapes import FloatArray, Shape, Spacing


def swap_ras_lps(affine: FloatArray) -> FloatArray:
    """`(4, 4)` affine to LPS mm from one to RAS mm, or the other way round: both turn x and y about."""
    swapped: FloatArray = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine, dtype=np.float64)
    return swapped


def spacing_of(affine: FloatArray) -> Spacing:
    """Distance in mm between neighbouring voxels along each index axis."""
    lengths = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return (float(lengths[0]), float(lengths[1]), float(lengths[2]))


def corner_indices(shape: Shape) -> FloatArray:
    """`(8, 3)` indices of the corner voxels of a grid of `shape`."""
    last = [n - 1 for n in shape]
    corners: FloatArray = np.array(
        [(i, j, k) for k in (0, last[2]) for j in (0, last[1]) for i in (0, last[0])], dtype=np.float64
    )
    return corners


def apply(affine: FloatArray, index: FloatArray) -> FloatArray:
    """Points `(..., 3)` in the affine's frame, mm, of voxel indices `(..., 3)`."""
    points: FloatArray = np.asarray(index, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
    return points


def corner_distance_mm(first: FloatArray, second: FloatArray, shape: Shape) -> float:
    """Largest distance in mm between where two affines of one frame put the corner voxels of `shape`."""
    corners = corner_indices(shape)
    return float(np.linalg.norm(apply(first, corners) - apply(second, corners), axis=1).max())


def affine_from_axes(columns: tuple[FloatArray, FloatArray, FloatArray], origin: FloatArray) -> FloatArray:
    """`(4, 4)` affine whose index axes step by `columns`, each `(3,)` mm, from `origin` `(3,)` mm."""
    affine = np.eye(4)
    for axis, column in enumerate(columns):
        affine[:3, axis] = column
    affine[:3, 3] = origin
    return affine


def is_usable(affine: FloatArray) -> bool:
    """Whether an affine is `(4, 4)`, finite and spans a volume: no axis zero, no two parallel."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], [0, 0, 0, 1]):
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths < 1e-6).any():
        return False
    # the determinant of unit columns is 1 for a box and falls to 0 as it collapses
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3 and abs(np.linalg.det(affine[:3, :3])) >= 1e-9)
