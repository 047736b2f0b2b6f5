"""Sheared grids (gantry tilt) and the upright boxes that hold them."""

import numpy as np

from medmtl.geometry.affine import corner_indices
from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray

MAX_DRIFT_MM = 0.05
"""By how far the voxels of a box may leave a right angle from one end of an axis to the other: rounded headers."""


def is_upright(grid: Grid) -> bool:
    """Whether the axes of a grid stand at right angles, as images of ITK, NIfTI qforms and most viewers assume."""
    columns = grid.affine[:3, :3]
    unit = columns / np.asarray(grid.spacing)
    cosines = np.abs(unit.T @ unit - np.eye(3))
    lengths = (np.asarray(grid.shape) - 1) * np.asarray(grid.spacing)
    return bool((cosines * lengths).max() <= MAX_DRIFT_MM)


def upright(grid: Grid) -> Grid:
    """The smallest box of right angles that holds a sheared grid; a grid that is upright comes back as it is.

    Where one axis alone leans (a tilted gantry), the planes of the other two stay the planes they are: voxel `(i, j)`
    of each merely moves within its plane, so resampling onto the box mixes no two slices.
    """
    if is_upright(grid):
        return grid
    leaning = _leaning_axis(grid)
    columns = _upright_columns(grid.affine[:3, :3], leaning)
    corners = np.linalg.solve(columns, grid.to_lps(corner_indices(grid.shape)).T - grid.affine[:3, 3:4]).T
    low = np.floor(corners.min(axis=0) + 1e-3)
    high = np.ceil(corners.max(axis=0) - 1e-3)
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = grid.affine[:3, 3] + columns @ low
    shape = (high - low).astype(int) + 1
    return Grid(shape=(int(shape[0]), int(shape[1]), int(shape[2])), affine=affine)


def _leaning_axis(grid: Grid) -> int:
    """The axis whose two companions are the most nearly perpendicular; the last one of equals."""
    unit = grid.affine[:3, :3] / np.asarray(grid.spacing)
    cosines = np.abs(unit.T @ unit)
    rest = [float(cosines[(axis + 1) % 3, (axis + 2) % 3]) for axis in range(3)]
    return max(range(3), key=lambda axis: (-round(rest[axis], 6), axis))


def _upright_columns(columns: FloatArray, leaning: int) -> FloatArray:
    """Gram and Schmidt, the leaning axis last."""
    found: FloatArray = columns.copy()
    first, second = (axis for axis in range(3) if axis != leaning)
    for axis, before in ((second, (first,)), (leaning, (first, second))):
        for other in before:
            along = found[:, other]
            found[:, axis] = found[:, axis] - along * float(found[:, axis] @ along) / float(along @ along)
    return found
