"""A series: instances judged, put in order, and either a grid or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from medmtl.errors import Code, Notice, StudyError
from medmtl.geometry.grid import Grid
from medmtl.reading.dicom_checks import (
    check_alike,
    check_complete,
    check_matrix,
    count_notices,
    dropped_notice,
    numbered,
    value_notices,
    without_copies,
)
from medmtl.reading.dicom_geometry import Planes, Stack, check_planes, places, stack
from medmtl.reading.dicom_header import Instance
from medmtl.reading.dicom_pixels import stored_values
from medmtl.reading.dicom_split import Part, Placed, are_stacks, by_orientation, by_traits

_REPAIRS = frozenset(
    {Code.DUPLICATE_DROPPED, Code.LOCALIZER, Code.SERIES_SPLIT, Code.HEADER_REPAIRED, Code.SLICES_RESAMPLED}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One volume of a study, readable or refused: a series, or a part of one. Holds UIDs: never logged.

    Attributes:
        instances: every file of it, also those that were dropped.
        part: which volume of its series it is, from 1; None where the series is one volume.
        label: what sets a part apart from the others of its series, in words.
        slices: instance and plane of each slice, in the order of axis k; empty where refused.
        grid: where the voxels lie, LPS mm; None where refused.
        places: where the slices lie at uneven distances, the index of each along axis k of `grid`, whose planes are
            even; else empty.
        error: why it is refused, None where it can be read.
        notices: repairs and warnings so far.
        deviation_mm: largest distance of a slice corner from its header position.
    """

    instances: tuple[Instance, ...]
    part: int | None = None
    label: str = ""
    slices: tuple[Placed, ...] = ()
    grid: Grid | None = None
    places: tuple[float, ...] = ()
    error: StudyError | None = None
    notices: tuple[Notice, ...] = ()
    deviation_mm: float = 0.0

    @property
    def first(self) -> Instance:
        """An instance to ask for what all share."""
        return self.slices[0][0] if self.slices else self.instances[0]

    @property
    def selector(self) -> str:
        """What `--series` takes to name this volume: the Series Instance UID (0020,000E), a colon and its part."""
        name = self.first.series_uid or f"number={self.first.series_number}"  # anonymisers empty the UID
        return name if self.part is None else f"{name}:{self.part}"

    @property
    def state(self) -> str:
        """ok, repaired or refused."""
        if self.error is not None:
            return "refused"
        return "repaired" if any(notice.code in _REPAIRS for notice in self.notices) else "ok"

    @property
    def derived(self) -> bool:
        """Whether the images were computed from others: Image Type (0008,0008) value 1."""
        return bool(self.first.image_type) and self.first.image_type[0] == "DERIVED"

    @cached_property
    def plane_count(self) -> int:
        """Images in the series."""
        return len(self.slices) or sum(max(1, len(instance.planes)) for instance in self.instances)

    @property
    def axial(self) -> bool:
        """Whether the slices lie within 30 degrees of axial."""
        if self.grid is None:
            return False
        normal = np.cross(self.grid.affine[:3, 0], self.grid.affine[:3, 1])
        return bool(abs(normal[2]) > np.cos(np.radians(30.0)) * np.linalg.norm(normal))

    def refused(self, error: StudyError) -> "Series":
        """The same series, refused for `error`."""
        return replace(self, slices=(), grid=None, places=(), error=error)


def judge(instances: Sequence[Instance]) -> list[Series]:
    """The volumes of instances that share a Series Instance UID, refused ones among them.

    Localizers become a series of their own; orientations, echoes, phases and time points a part each.
    """
    localizers = [instance for instance in instances if "LOCALIZER" in instance.image_type]
    others = [instance for instance in instances if "LOCALIZER" not in instance.image_type]
    found = []
    if localizers:
        refusal = StudyError(Code.LOCALIZER, "the images are localizers", "give the series that was planned on them")
        found.append(Series(instances=tuple(localizers), error=refusal))
    if others:
        notices: tuple[Notice, ...] = ()
        if localizers:
            notices = (Notice(code=Code.LOCALIZER, text=f"{len(localizers)} localizer image(s) were left out"),)
        series = Series(instances=tuple(others), notices=notices)
        try:
            found[:0] = _volumes(series)
        except StudyError as error:
            found.insert(0, series.refused(error))
    return found


def _volumes(series: Series) -> list[Series]:
    for instance in series.instances:
        if instance.fault is not None:
            raise numbered(instance.fault, series.instances, instance)
    check_alike(series.instances)
    instances, notices = without_copies(series.instances)
    notices = (*notices, *dict.fromkeys(notice for instance in instances for notice in instance.notices))
    placed = [(instance, plane) for instance in instances for plane in instance.planes]
    check_complete(placed, series.instances)
    notices = (*series.notices, *notices, *value_notices(instances), *count_notices(instances))
    turned = by_orientation(placed)
    if len(turned) > 1 and not are_stacks(placed, turned):
        check_planes(_planes(placed))  # says what is wrong with a single one, else that they differ
    parts: list[tuple[Part, StudyError | None]] = [pair for part in turned for pair in _separate(placed, part, series)]
    if len(parts) > 1:
        text = f"the series holds {len(parts)} volumes and was split"
        notices = (*notices, Notice(code=Code.SERIES_SPLIT, text=text))
    volumes = []
    for number, (part, error) in enumerate(parts, start=1):
        chosen = [placed[index] for index in part.planes]
        one = replace(
            series,
            instances=tuple(dict.fromkeys(instance for instance, _ in chosen)) if len(parts) > 1 else series.instances,
            part=number if len(parts) > 1 else None,
            label=part.label,
            notices=notices,
        )
        volumes.append(one.refused(error) if error is not None else _stacked(one, chosen))
    return volumes


def _separate(placed: Sequence[Placed], part: Part, series: Series) -> list[tuple[Part, StudyError | None]]:
    """The volumes of one orientation, each with the reason why it is none."""
    try:
        check_matrix([placed[index] for index in part.planes], series.instances)
        planes = _planes([placed[index] for index in part.planes])
        check_planes(planes)
    except StudyError as error:
        return [(part, error)]
    groups = [[part.planes[index] for index in group] for group in places(planes)]
    crowded = [group for group in groups if len(group) > 1]
    if not crowded or all(_same_image(placed[group[0]], placed[other]) for group in crowded for other in group[1:]):
        return [(part, None)]
    pieces = by_traits(placed, part, groups)
    if len(pieces) > 1:
        return [(piece, None) for piece in pieces]
    if len(crowded) * 2 > len(groups):
        what = f"{len(part.planes)} images lie at {len(groups)} positions and nothing says which belong together"
        return [(part, StudyError(Code.FOUR_DIMENSIONAL, what, "give one phase, echo or time point alone"))]
    what = "two different images lie at one position"
    return [(part, StudyError(Code.DOUBLED_SLICE, what, "remove the one that does not belong"))]


def _stacked(series: Series, placed: Sequence[Placed]) -> Series:
    planes = _planes(placed)
    kept = [group[0] for group in places(planes)]
    dropped = len(placed) - len(kept)
    try:
        found = stack(_planes([placed[index] for index in kept]))
    except StudyError as error:
        return series.refused(error)
    slices = tuple(placed[kept[index]] for index in found.order)
    shape = (planes.columns, planes.rows, found.depth)
    geometry = (*_uneven_notice(found), *_tilt_notice(found))
    return replace(
        series,
        slices=slices,
        grid=Grid(shape=shape, affine=found.affine),
        places=found.places,
        notices=(*series.notices, *((dropped_notice(dropped),) if dropped else ()), *geometry),
        deviation_mm=found.deviation_mm,
    )


def _uneven_notice(found: Stack) -> tuple[Notice, ...]:
    if not found.places:
        return ()
    step_mm = float(np.linalg.norm(found.affine[:3, 2]))
    gaps = np.diff(found.places) * step_mm
    text = (
        f"the slices lie {gaps.min():.3g} to {gaps.max():.3g} mm apart: answers are found on {found.depth} planes of "
        f"{step_mm:.3g} mm, interpolated between the {len(found.order)} slices, and DICOM objects lie on the slices"
    )
    return (Notice(code=Code.SLICES_RESAMPLED, text=text),)


def _tilt_notice(found: Stack) -> tuple[Notice, ...]:
    if found.tilt_deg == 0.0:
        return ()
    text = (
        f"the slices step {found.tilt_deg:.1f} degrees off their normal (gantry tilt): answers are found on upright "
        "voxels and brought back to the slices"
    )
    return (Notice(code=Code.TILTED, text=text),)


def _planes(placed: Sequence[Placed]) -> Planes:
    return Planes(
        positions=np.array([plane.position for _, plane in placed], dtype=np.float64),
        orientations=np.array([plane.orientation for _, plane in placed], dtype=np.float64),
        pixel_spacings=np.array([plane.pixel_spacing for _, plane in placed], dtype=np.float64),
        rows=placed[0][0].rows,
        columns=placed[0][0].columns,
    )


def _same_image(first: Placed, second: Placed) -> bool:
    if (first[1].slope, first[1].intercept) != (second[1].slope, second[1].intercept):
        return False
    return all(
        np.array_equal(one, other) for one, other in zip(stored_values([first]), stored_values([second]), strict=True)
    )
