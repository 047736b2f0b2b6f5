"""The series of a study, which of them is read, and the volume it becomes."""

from collections.abc import Sequence
from pathlib import Path

from medmtl.errors import Code, Notice, StudyError, UsageError
from medmtl.reading.dicom_header import Instance, read_instance
from medmtl.reading.dicom_pixels import read_pixels
from medmtl.reading.dicom_series import Series, judge
from medmtl.volume import DicomSource, Volume

MAX_VOLUME_BYTES = 8 << 30
_LAST = 1 << 31


def series_of(paths: Sequence[Path], study_uid: str | None = None) -> tuple[Series, ...]:
    """Every series of a study's files, in the order of Series Number (0020,0011), from headers alone.

    A file whose header cannot be read may be a slice of any series beside it, so those are refused with it.

    Args:
        paths: the DICOM files, and those that should be ones.
        study_uid: Study Instance UID (0020,000D) to keep; None keeps all.

    Raises:
        StudyError: no file could be read.
    """
    instances: list[Instance] = []
    damaged: dict[Path, StudyError] = {}
    for path in sorted(paths):
        try:
            instances.append(read_instance(path))
        except StudyError as error:
            damaged[path] = error
    if not instances:
        raise next(iter(damaged.values()), StudyError(Code.EMPTY_INPUT, "there is no DICOM file", "give a study"))
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(_key(instance), []).append(instance)
    kept = [group for group in groups.values() if study_uid is None or any(one.study_uid == study_uid for one in group)]
    found = [series for group in kept for series in judge(group)]
    found = [_bounded(_beside(series, damaged)) for series in found]
    return tuple(sorted(_one_patient(found), key=_number))


def choose(
    found: Sequence[Series], modality_wanted: str | None = None, series_uid: str | None = None
) -> tuple[Series, tuple[Notice, ...]]:
    """The one series to read, and a notice where there was a choice.

    Without `series_uid`: the modality wanted first, original before derived, then most slices, thinner slices,
    lower Series Number (0020,0011), lower UID.

    Raises:
        UsageError: `series_uid` is not in this study.
        StudyError: nothing can be read; the error is that of the largest series.
    """
    if series_uid is not None:
        named = [series for series in found if series.first.series_uid == series_uid]
        if not named:
            raise UsageError(Code.UNKNOWN_SERIES, "the study holds no such series", "list its series with inspect")
        found = named
    usable = [series for series in found if series.error is None]
    if not usable:
        raise _reason(found)
    wanted = [series for series in usable if series.first.modality == modality_wanted] or usable
    best = min(wanted, key=_rank)
    images = [s for s in found if s.error is None or s.error.code not in (Code.NOT_AN_IMAGE, Code.LOCALIZER)]
    if len(images) == 1 or series_uid is not None:
        return best, ()
    number = "without number" if best.first.series_number is None else str(best.first.series_number)
    text = f"series {number} was taken of {len(images)} ({len(usable)} readable): {why(best, found)}"
    return best, (Notice(code=Code.SERIES_CHOSEN, text=text),)


def why(best: Series, found: Sequence[Series]) -> str:
    """What set `best` apart from the other readable series, in a clause."""
    others = [series for series in found if series.error is None and series is not best]
    if not others:
        return "the only readable series"
    if all(other.derived and not best.derived for other in others):
        return "original images"
    if all(other.plane_count < best.plane_count for other in others):
        return "most slices"
    return "first by modality, original images, number of slices, thinner slices, series number"


def read_series(series: Series, notices: tuple[Notice, ...] = ()) -> Volume:
    """The volume of a series that is not refused; CT in Hounsfield units where the file says how.

    Args:
        series: from `series_of`.
        notices: to travel with the volume, before those of reading.

    Raises:
        StudyError: the series is refused, or its pixels cannot be read.
    """
    if series.error is not None or series.grid is None:
        raise series.error or _nothing()
    pixels = read_pixels(series.slices)
    first = series.first
    multi_frame = len({instance.path for instance, _ in series.slices}) < len(series.slices)
    instances = [instance for instance, _ in series.slices]
    if multi_frame:
        instances = list(dict.fromkeys(instances))
    return Volume(
        array=pixels.array,
        grid=series.grid,
        modality=first.modality,
        content_hash=pixels.content_hash,
        dicom=DicomSource(
            study_uid=first.study_uid,
            series_uid=first.series_uid,
            sop_class_uid=first.sop_class_uid,
            frame_of_reference_uid=first.frame_of_reference_uid,
            instances=tuple(str(instance.path) for instance in instances),
            instance_uids=tuple(instance.instance_uid for instance in instances),
            description=first.description,
            number=first.series_number,
        ),
        notices=(*notices, *series.notices, *pixels.notices),
    )


def _key(instance: Instance) -> str:
    # anonymisers empty the UID: what is left must then tell the series apart
    return instance.series_uid or f"{instance.study_uid}|{instance.series_number}|{instance.description}"


def _beside(series: Series, damaged: dict[Path, StudyError]) -> Series:
    folders = {instance.path.parent for instance in series.instances}
    for path, error in damaged.items():
        if path.parent in folders and series.error is None:
            what = f"{error.what}, and it may be a slice of this series"
            return series.refused(StudyError(error.code, what, error.todo))
    return series


def _bounded(series: Series) -> Series:
    if series.grid is None:
        return series
    i, j, k = series.grid.shape
    if i * j * k * 4 <= MAX_VOLUME_BYTES:
        return series
    return series.refused(StudyError(Code.TOO_LARGE, "the series is larger than 8 GiB", "give a part of it"))


def _one_patient(found: list[Series]) -> list[Series]:
    """Refused throughout where one study holds images of two patients."""
    nameless = {series.first.study_uid for series in found} == {""}
    stacked = [series for series in found if series.grid is not None]
    for series in stacked:
        twins = {other.first.patient for other in stacked if other.first.study_uid == series.first.study_uid}
        if len(twins) > 1 and not nameless:
            error = StudyError(Code.MIXED_PATIENTS, "the study holds images of two patients", "give each alone")
            found[found.index(series)] = series.refused(error)
    return found


def _number(series: Series) -> tuple[int, str, bool]:
    number = series.first.series_number
    return (_LAST if number is None else number, series.first.series_uid, series.error is not None)


def _rank(series: Series) -> tuple[bool, int, float, tuple[int, str, bool]]:
    spacing = series.grid.spacing[2] if series.grid is not None else 0.0
    return (series.derived, -series.plane_count, round(spacing, 3), _number(series))


def _reason(found: Sequence[Series]) -> StudyError:
    ranked = sorted(
        (series for series in found if series.error is not None),
        key=lambda series: (
            series.error is not None and series.error.code in (Code.NOT_AN_IMAGE, Code.LOCALIZER),
            -series.plane_count,
            _number(series),
        ),
    )
    return ranked[0].error or _nothing() if ranked else _nothing()


def _nothing() -> StudyError:
    return StudyError(Code.EMPTY_INPUT, "there is no series to read", "give a study with CT or MR images")
