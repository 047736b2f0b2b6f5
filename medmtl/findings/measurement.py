"""Sizes of one structure, in mm and mL."""

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, Mask


def volume_ml(mask: Mask, grid: Grid) -> float:
    """Volume in mL: voxels times the voxel's volume."""
    return int(np.count_nonzero(mask)) * grid.voxel_ml


def centroid_lps(mask: Mask, grid: Grid) -> tuple[float, float, float]:
    """Mean position of the voxels' centres, LPS mm.

    Raises:
        ValueError: the mask is empty.
    """
    where = np.argwhere(mask)
    if len(where) == 0:
        raise ValueError("an empty mask has no centroid")
    x, y, z = grid.to_lps(where.mean(axis=0))
    return (float(x), float(y), float(z))


def slice_range(mask: Mask, axis: int = 2) -> tuple[int, int]:
    """First and last index along `axis` that holds a voxel of the mask.

    Raises:
        ValueError: the mask is empty.
    """
    held = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
    if len(held) == 0:
        raise ValueError("an empty mask lies in no slice")
    return int(held[0]), int(held[-1])


def plane_axes_mm(mask: Mask, grid: Grid, axis: int = 2) -> tuple[float, float]:
    """Longest diameter within one slice and the longest across it, in mm (RECIST 1.1, Eisenhauer 2009).

    Diameters run between the outer edges of pixels, in the slices across `axis`; the second is measured at a
    right angle to the first, in the slice where the first was found.
    """
    plane = [n for n in range(3) if n != axis]
    best, across = 0.0, 0.0
    for index in range(mask.shape[axis]):
        pixels = np.argwhere(mask.take(index, axis=axis))
        if len(pixels) == 0:
            continue
        corners = _outline(_edge_points(pixels) @ grid.affine[:3, plane].T)
        distances = np.sqrt(((corners[:, None] - corners[None]) ** 2).sum(axis=2))
        one, two = np.unravel_index(int(distances.argmax()), distances.shape)
        longest = float(distances[one, two])
        if longest > best:
            best, across = longest, _width(corners, corners[two] - corners[one])
    return best, across


def _edge_points(pixels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
    """Middle of each pixel's four edges: a disc's diameter comes out right, its corners do not stick out."""
    halves = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    points: FloatArray = (pixels[:, None, :] + halves[None]).reshape(-1, 2)
    return points


def _outline(points: FloatArray) -> FloatArray:
    """The points that can be ends of a diameter: corners of the convex hull, where there is one."""
    from scipy.spatial import ConvexHull, QhullError  # slow to import

    centred = points - points.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    try:
        return points[ConvexHull(centred @ directions.T).vertices]
    except QhullError:
        return points


def _width(points: FloatArray, direction: FloatArray) -> float:
    """Extent of the points at a right angle to `direction`, within their plane."""
    unit = direction / np.linalg.norm(direction)
    centred = points - points.mean(axis=0)
    rest = centred - np.outer(centred @ unit, unit)
    normal = np.linalg.svd(rest, full_matrices=False)[2][0]
    spread = rest @ normal
    return float(spread.max() - spread.min())
