"""The series of a study, and the volume that one of them becomes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from medmtl.errors import Code, Notice, StudyError
from medmtl.geometry.slices import even_planes
from medmtl.reading.choice import order_key, reason
from medmtl.reading.dicom_header import Instance, read_instance
from medmtl.reading.dicom_pixels import read_pixels
from medmtl.reading.dicom_series import Series, judge
from medmtl.volume import DicomSource, Volume

MAX_VOLUME_BYTES = 8 << 30


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
    return tuple(sorted(_one_patient(found), key=order_key))


def read_series(series: Series, notices: tuple[Notice, ...] = ()) -> Volume:
    """The volume of a series that is not refused; CT in Hounsfield units where the file says how.

    Args:
        series: from `series_of`.
        notices: to travel with the volume, before those of reading.

    Raises:
        StudyError: the series is refused, or its pixels cannot be read.
    """
    if series.error is not None or series.grid is None:
        raise reason([series])
    pixels = read_pixels(series.slices)
    array = even_planes(pixels.array, series.places, series.grid.shape[2]) if series.places else pixels.array
    first = series.first
    multi_frame = any(len(instance.planes) > 1 for instance, _ in series.slices)
    return Volume(
        array=array,
        grid=series.grid,
        modality=first.modality,
        content_hash=_hash_of(series, pixels.content_hash),
        dicom=DicomSource(
            study_uid=first.study_uid,
            series_uid=first.series_uid,
            sop_class_uid=first.sop_class_uid,
            frame_of_reference_uid=first.frame_of_reference_uid,
            instances=tuple(str(instance.path) for instance, _ in series.slices),
            instance_uids=tuple(instance.instance_uid for instance, _ in series.slices),
            frames=tuple(plane.frame + 1 for _, plane in series.slices) if multi_frame else (),
            description=first.description,
            number=first.series_number,
            part=series.part,
            places=series.places,
            mosaic=first.mosaic,
        ),
        notices=(*notices, *series.notices, *pixels.notices),
    )


def _hash_of(series: Series, files_hash: str) -> str:
    """Volumes that share files are told apart by their frames."""
    if series.part is None or all(len(instance.planes) == 1 for instance, _ in series.slices):
        return files_hash
    frames = ",".join(str(plane.frame) for _, plane in series.slices)
    return hashlib.sha256(f"{files_hash}|{frames}".encode()).hexdigest()


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
