"""A series: instances judged, put in order, and either a grid or the reason why there is none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import file_digest

import numpy as np

from medmtl.errors import Code, Notice, StudyError
from medmtl.geometry.grid import Grid
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
            raise _numbered(instance.fault, series, instance)
    _check_alike(series.instances)
    instances, notices = _without_copies(series)
    notices = (*notices, *dict.fromkeys(notice for instance in instances for notice in instance.notices))
    placed = [(instance, plane) for instance in instances for plane in instance.planes]
    _check_complete(placed, series)
    notices = (*series.notices, *notices, *_value_notices(instances), *_count_notices(instances))
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
        _check_matrix([placed[index] for index in part.planes], series)
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
        notices=(*series.notices, *((_dropped(dropped),) if dropped else ()), *geometry),
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


def _numbered(fault: StudyError, series: Series, instance: Instance) -> StudyError:
    total = len(series.instances)
    if total == 1:
        return fault
    place = sorted(other.path for other in series.instances).index(instance.path) + 1
    return StudyError(fault.code, f"file {place} of {total} by name: {fault.what}", fault.todo)


def _check_alike(instances: Sequence[Instance]) -> None:
    checks = (
        (Code.MIXED_PATIENTS, "patient", {i.patient for i in instances}),
        (Code.MIXED_SERIES, "study", {i.study_uid for i in instances}),
        (Code.MIXED_SERIES, "modality or kind of object", {(i.modality, i.sop_class_uid) for i in instances}),
        (Code.MIXED_SERIES, "polarity of the pixels", {i.photometric for i in instances}),
        (Code.MIXED_FRAME_OF_REFERENCE, "frame of reference", {i.frame_of_reference_uid for i in instances}),
    )
    for code, what, values in checks:
        if len(values) > 1:
            raise StudyError(code, f"the images of one series differ in {what}", "give each part alone")


def _check_matrix(placed: Sequence[Placed], series: Series) -> None:
    counts = Counter((instance.rows, instance.columns) for instance, _ in placed)
    if len(counts) > 1:
        rare = counts.most_common()[-1][0]
        odd = next(instance for instance, _ in placed if (instance.rows, instance.columns) == rare)
        what = f"{rare[0]} x {rare[1]} pixels, unlike other images of the series"
        raise _numbered(StudyError(Code.MIXED_MATRIX, what, "give each part alone"), series, odd)


def _check_complete(placed: Sequence[Placed], series: Series) -> None:
    for keyword in ("position", "orientation", "pixel_spacing"):
        lacking = [instance for instance, plane in placed if getattr(plane, keyword) is None]
        if lacking:
            what = f"{len(lacking)} of {len(placed)} images have no {keyword.replace('_', ' ')}"
            fault = StudyError(Code.MISSING_GEOMETRY, what, "export the series with its geometry")
            raise fault if len(lacking) == len(placed) else _numbered(fault, series, lacking[0])


def _without_copies(series: Series) -> tuple[list[Instance], tuple[Notice, ...]]:
    """The instances without byte-for-byte copies of one SOP Instance UID (0008,0018)."""
    counts = Counter(instance.instance_uid for instance in series.instances)
    kept: list[Instance] = []
    seen: set[tuple[str, str]] = set()
    for instance in sorted(series.instances, key=lambda one: one.path):
        if instance.instance_uid and counts[instance.instance_uid] > 1:
            with instance.path.open("rb") as stream:
                key = (instance.instance_uid, file_digest(stream, "sha256").hexdigest())
            if key in seen:
                continue
            seen.add(key)
        kept.append(instance)
    dropped = len(series.instances) - len(kept)
    return kept, ((_dropped(dropped),) if dropped else ())


def _dropped(count: int) -> Notice:
    return Notice(code=Code.DUPLICATE_DROPPED, text=f"{count} copy or copies of slices already there were left out")


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


def _value_notices(instances: Sequence[Instance]) -> tuple[Notice, ...]:
    notices = []
    if instances[0].photometric == "MONOCHROME1":
        text = "MONOCHROME1: the values are used as stored, the display is inverted"
        notices.append(Notice(code=Code.INVERTED_DISPLAY, text=text))
    if instances[0].modality == "CT":
        text = ""
        if not all(one.rescaled for one in instances):
            text = "no rescale slope: the values may not be Hounsfield units"
        elif any(one.rescale_unit not in ("", "HU") for one in instances):
            text = "the rescale type is not HU: the values may not be Hounsfield units"
        notices += [Notice(code=Code.NO_RESCALE, text=text)] if text else []
    return tuple(notices)


def _count_notices(instances: Sequence[Instance]) -> tuple[Notice, ...]:
    """A missing first or last slice leaves no gap: only counts can tell."""
    if any(len(instance.planes) > 1 for instance in instances):
        return ()
    numbers = sorted(one.instance_number for one in instances if one.instance_number is not None)
    announced = max((one.images_in_acquisition or 0 for one in instances), default=0)
    whole = numbers == list(range(1, len(instances) + 1))
    if whole and announced <= len(instances):
        return ()
    text = "the image numbers do not rule out that a first or last slice is missing"
    return (Notice(code=Code.SLICES_UNVERIFIED, text=text),)
