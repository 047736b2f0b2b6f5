"""Planes of a volume as a reader expects them: patient's right on the left, front or head up, mm-true."""

from dataclasses import dataclass

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, Mask

LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""For each LPS axis the letter of its positive and its negative end; head and feet as on a scanner's screen."""

_WANTED = {2: ((0, 1), (1, 1)), 1: ((0, 1), (2, -1)), 0: ((1, 1), (2, -1))}
_NAMES = {2: "axial", 1: "coronal", 0: "sagittal"}
_OBLIQUE_COSINE = 0.9


@dataclass(frozen=True, kw_only=True)
class Plane:
    """How the slices across one index axis are shown.

    Attributes:
        axis: the index axis looked along: 0, 1 or 2.
        across: index axis that runs to the right of the screen.
        down: index axis that runs down the screen.
        flip_across: whether its index falls from left to right.
        flip_down: whether its index falls from top to bottom.
        name: "axial", "coronal", "sagittal" or "oblique".
        letters: of the screen's left, right, top and bottom.
    """

    axis: int
    across: int
    down: int
    flip_across: bool
    flip_down: bool
    name: str
    letters: tuple[str, str, str, str]

    def cut(self, array: Mask | FloatArray, index: int) -> Mask | FloatArray:
        """Rows (down) by columns (across) of one slice of an `(i, j, k)` array, as on the screen."""
        plane = array[(slice(None),) * self.axis + (index,)]  # axes left: the two others, in rising order
        plane = plane.T if self.across < self.down else plane
        if self.flip_down:
            plane = plane[::-1]
        return plane[:, ::-1] if self.flip_across else plane

    def spacing(self, grid: Grid) -> tuple[float, float]:
        """Mm from row to row and from column to column."""
        return grid.spacing[self.down], grid.spacing[self.across]


def plane_across(grid: Grid, axis: int) -> Plane:
    """The plane of the slices across index axis `axis`, turned as its anatomical orientation is read."""
    unit = grid.affine[:3, :3] / np.asarray(grid.spacing)
    first, second = (a for a in range(3) if a != axis)
    normal = np.cross(unit[:, first], unit[:, second])
    normal /= np.linalg.norm(normal)
    towards = int(np.argmax(np.abs(normal)))
    (right_axis, right_sign), (down_axis, down_sign) = _WANTED[towards]
    straight = abs(unit[right_axis, first] * unit[down_axis, second])
    crossed = abs(unit[right_axis, second] * unit[down_axis, first])
    across, down = (first, second) if straight >= crossed else (second, first)
    to_right, to_down = unit[:, across], unit[:, down]
    flip_across, flip_down = bool(to_right[right_axis] * right_sign < 0), bool(to_down[down_axis] * down_sign < 0)
    to_right, to_down = (-to_right if flip_across else to_right), (-to_down if flip_down else to_down)
    oblique = abs(normal[towards]) < _OBLIQUE_COSINE
    return Plane(
        axis=axis, across=across, down=down, flip_across=flip_across, flip_down=flip_down,
        name="oblique" if oblique else _NAMES[towards],
        letters=(letters(-to_right), letters(to_right), letters(-to_down), letters(to_down)),
    )  # fmt: skip


def letters(direction: FloatArray) -> str:
    """Where an LPS direction points, strongest first: "L", or "LP" when oblique; weak parts are left out."""
    order = np.argsort(-np.abs(direction))
    held = [axis for axis in order if abs(direction[axis]) > 0.3]
    return "".join(LETTERS[axis][0 if direction[axis] > 0 else 1] for axis in held)


def native_axis(grid: Grid) -> int:
    """The index axis along which slices were taken: the longest spacing, the last axis where all are alike."""
    spacing = np.asarray(grid.spacing)
    return int(np.argmax(spacing)) if spacing.max() > 1.2 * np.median(spacing) else 2
