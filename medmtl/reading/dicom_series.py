"""A series: instances judged, put in order, and either a grid or the reason why there is none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import file_digest

import numpy as np

from medmtl.errors import Code, Notice, StudyError
from medmtl.geometry.grid import Grid
from medmtl.reading.dicom_geometry import Planes, check_planes, places, stack
from medmtl.reading.dicom_header import Instance, Plane
from medmtl.reading.dicom_pixels import stored_values

Placed = tuple[Instance, Plane]


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One series of a study, readable or refused. Holds UIDs: never logged.

    Attributes:
        instances: every file of it, also those that were dropped.
        slices: instance and plane of each slice, in the order of axis k; empty where refused.
        grid: where the voxels lie, LPS mm; None where refused.
        error: why it is refused, None where it can be read.
        notices: repairs and warnings so far.
        deviation_mm: largest distance of a slice corner from its header position.
    """

    instances: tuple[Instance, ...]
    slices: tuple[Placed, ...] = ()
    grid: Grid | None = None
    error: StudyError | None = None
    notices: tuple[Notice, ...] = ()
    deviation_mm: float = 0.0

    @property
    def first(self) -> Instance:
        """An instance to ask for what all share."""
        return self.slices[0][0] if self.slices else self.instances[0]

    @property
    def state(self) -> str:
        """ok, repaired or refused."""
        if self.error is not None:
            return "refused"
        repairs = (Code.DUPLICATE_DROPPED, Code.LOCALIZER)
        return "repaired" if any(notice.code in repairs for notice in self.notices) else "ok"

    @property
    def derived(self) -> bool:
        """Whether the images were computed from others: Image Type (0008,0008) value 1."""
        return bool(self.first.image_type) and self.first.image_type[0] == "DERIVED"

    @cached_property
    def plane_count(self) -> int:
        """Images in the series."""
        return len(self.slices) or sum(max(1, len(instance.planes)) for instance in self.instances)

    def refused(self, error: StudyError) -> "Series":
        """The same series, refused for `error`."""
        return replace(self, slices=(), grid=None, error=error)


def judge(instances: Sequence[Instance]) -> list[Series]:
    """The series made of instances that share a Series Instance UID; localizers become a series of their own."""
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
            found.insert(0, _stacked(series))
        except StudyError as error:
            found.insert(0, series.refused(error))
    return found


def _stacked(series: Series) -> Series:
    for instance in series.instances:
        if instance.fault is not None:
            raise _numbered(instance.fault, series, instance)
    _check_alike(series.instances)
    instances, notices = _without_copies(series)
    placed = [(instance, plane) for instance in instances for plane in instance.planes]
    planes = _planes(placed)
    check_planes(planes)
    kept, more = _one_at_each_place(placed, places(planes))
    placed = [placed[index] for index in kept]
    found = stack(_planes(placed))
    slices = tuple(placed[index] for index in found.order)
    shape = (planes.columns, planes.rows, len(slices))
    return replace(
        series,
        slices=slices,
        grid=Grid(shape=shape, affine=found.affine),
        notices=(*series.notices, *notices, *more, *_value_notices(slices), *_count_notices(slices)),
        deviation_mm=found.deviation_mm,
    )


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
        (Code.MIXED_MATRIX, "rows or columns", {(i.rows, i.columns) for i in instances}),
    )
    for code, what, values in checks:
        if len(values) > 1:
            raise StudyError(code, f"the images of one series differ in {what}", "give each part alone")


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
    for keyword in ("position", "orientation", "pixel_spacing"):
        lacking = sum(getattr(plane, keyword) is None for _, plane in placed)
        if lacking:
            what = keyword.replace("_", " ")
            raise StudyError(
                Code.MISSING_GEOMETRY,
                f"{lacking} of {len(placed)} images have no {what}",
                "export the series with its geometry",
            )
    return Planes(
        positions=np.array([plane.position for _, plane in placed], dtype=np.float64),
        orientations=np.array([plane.orientation for _, plane in placed], dtype=np.float64),
        pixel_spacings=np.array([plane.pixel_spacing for _, plane in placed], dtype=np.float64),
        rows=placed[0][0].rows,
        columns=placed[0][0].columns,
    )


def _one_at_each_place(
    placed: Sequence[Placed], groups: tuple[tuple[int, ...], ...]
) -> tuple[list[int], tuple[Notice, ...]]:
    crowded = [group for group in groups if len(group) > 1]
    if crowded and len(crowded) * 2 > len(groups):
        raise StudyError(
            Code.FOUR_DIMENSIONAL,
            f"{len(placed)} images lie at {len(groups)} positions: phases, echoes or time points in one series",
            "give one of them alone",
        )
    for group in crowded:
        first = placed[group[0]]
        if not all(_same_image(first, placed[index]) for index in group[1:]):
            raise StudyError(
                Code.DOUBLED_SLICE, "two different images lie at one position", "remove the one that does not belong"
            )
    dropped = len(placed) - len(groups)
    return [group[0] for group in groups], ((_dropped(dropped),) if dropped else ())


def _same_image(first: Placed, second: Placed) -> bool:
    if (first[1].slope, first[1].intercept) != (second[1].slope, second[1].intercept):
        return False
    return all(
        np.array_equal(one, other) for one, other in zip(stored_values([first]), stored_values([second]), strict=True)
    )


def _value_notices(slices: Sequence[Placed]) -> tuple[Notice, ...]:
    first = slices[0][0]
    notices = []
    if first.photometric == "MONOCHROME1":
        notices.append(
            Notice(
                code=Code.INVERTED_DISPLAY, text="MONOCHROME1: the values are used as stored, the display is inverted"
            )
        )
    if first.modality == "CT":
        foreign = any(one.rescale_unit not in ("", "HU") for one, _ in slices)
        if not all(one.rescaled for one, _ in slices):
            notices.append(
                Notice(code=Code.NO_RESCALE, text="no rescale slope: the values may not be Hounsfield units")
            )
        elif foreign:
            notices.append(
                Notice(code=Code.NO_RESCALE, text="the rescale type is not HU: the values may not be Hounsfield units")
            )
    return tuple(notices)


def _count_notices(slices: Sequence[Placed]) -> tuple[Notice, ...]:
    """A missing first or last slice leaves no gap: only counts can tell."""
    instances = [instance for instance, _ in slices]
    if any(len(instance.planes) > 1 for instance in instances):
        return ()
    numbers = sorted(one.instance_number for one in instances if one.instance_number is not None)
    announced = max((one.images_in_acquisition or 0 for one in instances), default=0)
    whole = numbers == list(range(1, len(instances) + 1))
    if whole and announced <= len(instances):
        return ()
    text = "the image numbers do not rule out that a first or last slice is missing"
    return (Notice(code=Code.SLICES_UNVERIFIED, text=text),)
