"""Planes to an affine, and every reason why planes are no volume (PS3.3 C.7.6.2).

Only Image Position, Image Orientation and Pixel Spacing are read. Slice Thickness and Spacing Between Slices say
nothing about where a slice lies and are wrong often enough.
"""

import math
from dataclasses import dataclass

import numpy as np

from medmtl.errors import Code, StudyError
from medmtl.geometry.affine import affine_from_axes, apply
from medmtl.shapes import FloatArray

MAX_CORNER_OFFSET_MM = 0.05
SAME_PLACE_MM = 0.01
ORIENTATION_TOLERANCE = 1e-4
_SPACING_TOLERANCE = 1e-4
_WHOLE_GAP_TOLERANCE = 0.03
_MOST_OF_A_GAP = 0.1
_NEIGHBOURS = 8
_GAP_RATIO = 1.75
_MAX_PLANES_PER_SLICE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Planes:
    """Where the planes of one stack lie, one row each.

    Attributes:
        positions: `(planes, 3)` Image Position (Patient) (0020,0032), LPS mm.
        orientations: `(planes, 6)` Image Orientation (Patient) (0020,0037).
        pixel_spacings: `(planes, 2)` Pixel Spacing (0028,0030), mm from row to row, then from column to column.
        rows: pixels down a column (0028,0010).
        columns: pixels along a row (0028,0011).
    """

    positions: FloatArray
    orientations: FloatArray
    pixel_spacings: FloatArray
    rows: int
    columns: int

    def corners(self) -> FloatArray:
        """`(planes, 4, 3)` LPS mm of the centres of each plane's corner pixels, from its own header."""
        along = self.orientations[:, :3] * self.pixel_spacings[:, 1:] * (self.columns - 1)
        down = self.orientations[:, 3:] * self.pixel_spacings[:, :1] * (self.rows - 1)
        first = self.positions
        return np.stack([first, first + along, first + down, first + along + down], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A volume's geometry.

    Attributes:
        order: the planes in the order of axis k, which rises along the normal (row direction x column direction).
        affine: `(4, 4)` index (column, row, slice) to LPS mm; of even planes where the slices lie unevenly.
        deviation_mm: largest distance of a slice corner from where its header puts it.
        tilt_deg: angle between the step and the normal of the slices; 0 where all drift together stays within 0.05 mm.
    """

    order: tuple[int, ...]
    affine: FloatArray
    deviation_mm: float
    tilt_deg: float = 0.0
    places: tuple[float, ...] = ()
    """Where the slices lie at uneven distances: index of each along axis k of the even planes, from 0 on."""

    @property
    def depth(self) -> int:
        """Planes along axis k."""
        return round(self.places[-1]) + 1 if self.places else len(self.order)


def check_planes(planes: Planes) -> None:
    """One lawful orientation and pixel spacing for all planes.

    Raises:
        StudyError: an orientation that is no pair of perpendicular unit vectors, a spacing that is not positive,
            or planes that differ in either.
    """
    row, column = planes.orientations[:, :3], planes.orientations[:, 3:]
    lengths = np.concatenate([np.linalg.norm(row, axis=1), np.linalg.norm(column, axis=1)])
    skew = np.abs((row * column).sum(axis=1))
    if np.abs(lengths - 1.0).max() > ORIENTATION_TOLERANCE or skew.max() > ORIENTATION_TOLERANCE:
        raise StudyError(
            Code.BAD_GEOMETRY,
            f"the row and column directions are no perpendicular unit vectors (lengths {lengths.min():.3f} to "
            f"{lengths.max():.3f}, cosine {skew.max():.3f})",
            "export the series again",
        )
    if planes.pixel_spacings.min() <= 0:
        raise StudyError(
            Code.BAD_GEOMETRY, f"the pixel spacing is {planes.pixel_spacings.min():g} mm", "export the series again"
        )
    if np.abs(planes.orientations - planes.orientations[0]).max() > ORIENTATION_TOLERANCE:
        raise StudyError(
            Code.MIXED_ORIENTATION, "the slices of the series differ in orientation", "give each orientation alone"
        )
    spacing = planes.pixel_spacings[0]
    if (np.abs(planes.pixel_spacings - spacing) > _SPACING_TOLERANCE * spacing).any():
        raise StudyError(Code.MIXED_SPACING, "the slices of the series differ in pixel spacing", "give each alone")


def places(planes: Planes) -> tuple[tuple[int, ...], ...]:
    """Planes that share a place (within 0.01 mm), as groups in the order of the normal."""
    heights = planes.positions @ _normal(planes)
    groups: list[list[int]] = []
    for index in np.argsort(heights, kind="stable"):
        near = [
            group
            for group in groups[-_NEIGHBOURS:]
            if np.linalg.norm(planes.positions[index] - planes.positions[group[0]]) <= SAME_PLACE_MM
        ]
        if near:
            near[0].append(int(index))
        else:
            groups.append([int(index)])
    return tuple(tuple(group) for group in groups)


def stack(planes: Planes) -> Stack:
    """The affine of planes that are checked, one at each place.

    Slices at uneven distances get the affine of even planes along the same line, at most as far apart as the two
    slices that are closest, and their places between these.

    Raises:
        StudyError: a single plane, a gap, or a corner of a slice over 0.05 mm from its header position.
    """
    if len(planes.positions) < 2:
        raise StudyError(
            Code.SINGLE_SLICE, "the series holds one slice, so its depth is unknown", "give the whole series"
        )
    normal = _normal(planes)
    order = np.argsort(planes.positions @ normal, kind="stable")
    positions = planes.positions[order]
    heights = positions @ normal
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    drift_mm = float(np.linalg.norm(sideways, axis=1).max())
    _check_gaps(np.diff(heights))
    header_corners = planes.corners()[order]
    affines = [_affine(planes, origin, step) for origin, step in _candidates(positions)]
    deviations = [_deviation_mm(affine, header_corners, planes) for affine in affines]
    # the ends alone give a round affine of round headers; the fit is taken where it is truly closer
    better = int(deviations[1] < deviations[0] - 1e-6)
    affine, deviation_mm = affines[better], deviations[better]
    indices: FloatArray | None = None
    if deviation_mm > MAX_CORNER_OFFSET_MM:
        _check_lone_gaps(np.diff(heights))
        affine, indices = _even_planes(planes, positions, heights)
        deviation_mm = _deviation_mm(affine, header_corners, planes, indices)
        if deviation_mm > MAX_CORNER_OFFSET_MM:
            raise StudyError(
                Code.UNEVEN_SLICES,
                f"a slice lies {deviation_mm:.2f} mm beside the line through the first and the last",
                "give each part alone",
            )
    return Stack(
        order=tuple(int(index) for index in order),
        affine=affine,
        deviation_mm=deviation_mm,
        tilt_deg=_tilt_deg(affine) if drift_mm > MAX_CORNER_OFFSET_MM else 0.0,
        places=() if indices is None else tuple(indices.tolist()),
    )


def _even_planes(planes: Planes, positions: FloatArray, heights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Affine of even planes from the first slice to the last, and the index of each slice among them."""
    steps, length = np.diff(heights), float(heights[-1] - heights[0])
    count = math.ceil(length / float(steps.min()) - 1e-6)
    if count + 1 > _MAX_PLANES_PER_SLICE * len(heights):
        raise StudyError(
            Code.UNEVEN_SLICES,
            f"the steps from slice to slice differ too much ({steps.min():.3f} to {steps.max():.3f} mm)",
            "export the series with even steps",
        )
    affine = _affine(planes, positions[0], (positions[-1] - positions[0]) / count)
    places: FloatArray = (heights - heights[0]) / length * count
    return affine, places


def _candidates(positions: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    count = len(positions)
    ends = (positions[0], (positions[-1] - positions[0]) / (count - 1))
    index = np.arange(count) - (count - 1) / 2
    step = (index[:, None] * positions).sum(axis=0) / (index**2).sum()
    return [ends, (positions.mean(axis=0) - step * (count - 1) / 2, step)]


def _normal(planes: Planes) -> FloatArray:
    normal: FloatArray = np.cross(planes.orientations[0, :3], planes.orientations[0, 3:])
    return normal / np.linalg.norm(normal)


def _affine(planes: Planes, origin: FloatArray, step: FloatArray) -> FloatArray:
    between_rows, between_columns = planes.pixel_spacings[0]
    along = planes.orientations[0, :3] * between_columns  # a step along a row crosses columns
    down = planes.orientations[0, 3:] * between_rows
    return affine_from_axes((along, down, step), origin)


def _deviation_mm(
    affine: FloatArray, header_corners: FloatArray, planes: Planes, indices: FloatArray | None = None
) -> float:
    ends = [(0, 0), (planes.columns - 1, 0), (0, planes.rows - 1), (planes.columns - 1, planes.rows - 1)]
    along_k = np.arange(len(header_corners)) if indices is None else indices
    index = np.array([[(i, j, k) for i, j in ends] for k in along_k], dtype=np.float64)
    return float(np.linalg.norm(apply(affine, index) - header_corners, axis=2).max())


def _check_gaps(steps: FloatArray) -> None:
    smallest = float(steps.min())
    if smallest <= SAME_PLACE_MM:
        raise StudyError(
            Code.UNEVEN_SLICES, "two slices lie at one height but not at one place", "give each part alone"
        )
    ratios = steps / smallest
    whole = np.round(ratios)
    if whole.max() >= 2 and (np.abs(ratios - whole) < np.minimum(_WHOLE_GAP_TOLERANCE * whole, _MOST_OF_A_GAP)).all():
        after = int(np.argmax(whole))
        raise StudyError(
            Code.MISSING_SLICE,
            f"a gap of {steps[after]:.3g} mm follows slice {after + 1} of {len(steps) + 1}, "
            f"elsewhere {smallest:.3g} mm",
            "fetch the missing slices",
        )


def _check_lone_gaps(steps: FloatArray) -> None:
    """A step far wider than those on both sides of it is a gap; where the spacing was changed, two such meet."""
    for index, step in enumerate(steps):
        beside = [*steps[max(0, index - 1) : index], *steps[index + 1 : index + 2]]
        if beside and step > _GAP_RATIO * max(beside):
            raise StudyError(
                Code.MISSING_SLICE,
                f"a gap of {step:.3g} mm follows slice {index + 1} of {len(steps) + 1}, beside it {max(beside):.3g} mm",
                "fetch the missing slices",
            )


def _tilt_deg(affine: FloatArray) -> float:
    step = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    cosine = float(abs(step @ normal) / np.linalg.norm(normal))
    return float(np.degrees(np.arccos(np.clip(cosine, 0, 1))))
