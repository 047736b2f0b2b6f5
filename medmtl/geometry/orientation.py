"""Turning index axes: permutations and flips that move no voxel in the patient."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import VoxelArray


@dataclass(frozen=True, kw_only=True)
class AxisTurn:
    """New axis n is old axis `order[n]`, reversed where `flipped[n]`."""

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: VoxelArray) -> VoxelArray:
        """View of `(..., i, j, k)` along the new axes; leading axes stay."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        return turned[(..., *(slice(None, None, -1) if flip else slice(None) for flip in self.flipped))]

    def undo(self, array: VoxelArray) -> VoxelArray:
        """View of an array along the new axes, turned back to the old ones."""
        lead = array.ndim - 3
        straight = array[(..., *(slice(None, None, -1) if flip else slice(None) for flip in self.flipped))]
        back = [self.order.index(axis) for axis in range(3)]
        return straight.transpose(*range(lead), *(lead + axis for axis in back))

    def grid(self, grid: Grid) -> Grid:
        """The grid along the new axes: every voxel keeps its LPS position."""
        affine = grid.affine.copy()
        columns = grid.affine[:3, :3][:, list(self.order)].copy()
        origin = grid.affine[:3, 3].copy()
        shape = tuple(grid.shape[axis] for axis in self.order)
        for axis, flip in enumerate(self.flipped):
            if flip:
                origin += columns[:, axis] * (shape[axis] - 1)
                columns[:, axis] *= -1
        affine[:3, :3] = columns
        affine[:3, 3] = origin
        return Grid(shape=(shape[0], shape[1], shape[2]), affine=affine)


def to_lps(grid: Grid) -> AxisTurn:
    """The turn after which i runs most nearly to the left, j to the back, k to the head."""
    direction = grid.affine[:3, :3] / np.asarray(grid.spacing)
    order = max(permutations(range(3)), key=lambda axes: sum(abs(direction[n, axes[n]]) for n in range(3)))
    flips = [bool(direction[n, order[n]] < 0) for n in range(3)]
    return AxisTurn(order=(order[0], order[1], order[2]), flipped=(flips[0], flips[1], flips[2]))


def slices_last(grid: Grid) -> AxisTurn:
    """The turn that makes the axis of the widest spacing the last, nothing flipped.

    Where no axis is wider than the others by half, the axes stay as they are.
    """
    spacing = np.asarray(grid.spacing)
    widest = int(spacing.argmax())
    if spacing[widest] < 1.5 * np.sort(spacing)[1]:
        widest = 2
    rest = [axis for axis in range(3) if axis != widest]
    return AxisTurn(order=(rest[0], rest[1], widest), flipped=(False, False, False))
