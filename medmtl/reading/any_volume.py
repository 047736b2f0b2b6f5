"""From a path to volumes, whatever the files are."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medmtl.errors import Code, StudyError
from medmtl.reading.archive import unpack
from medmtl.reading.case_input import CaseInput, InputKind
from medmtl.reading.dicom_header import is_directory_file, looks_like_dicom
from medmtl.reading.dicom_series import Series
from medmtl.reading.discovery import discover
from medmtl.reading.nifti import read_nifti
from medmtl.reading.study import choose, read_series, series_of
from medmtl.volume import Volume

__all__ = ["CaseInput", "InputKind", "discover", "each_series", "list_series", "read_case"]


def read_case(
    case: CaseInput, *, modality_wanted: str | None = None, series_uid: str | None = None
) -> tuple[Volume, ...]:
    """The volumes of a case, one per channel, all on one grid; LPS mm.

    A zip is unpacked to a temporary folder that stays for as long as the volume's `dicom` does, so that outputs can
    read the source files.

    Args:
        case: from `discover`.
        modality_wanted: "CT" or "MR", preferred where a study holds several readable series.
        series_uid: Series Instance UID (0020,000E) to read; overrides the case's own.

    Raises:
        MedmtlError: nothing of the case can be read; its code says why.
    """
    if case.error is not None:
        raise case.error
    if case.kind is InputKind.NIFTI:
        volumes = tuple(read_nifti(path) for path in case.paths)
        if not all(volumes[0].grid.same_as(volume.grid) for volume in volumes):
            raise StudyError(Code.GRID_MISMATCH, "the channels lie on different grids", "resample them to the first")
        return volumes
    wanted_uid = series_uid or case.series_uid
    if not case.archive:
        return (_read(series_of(case.paths, case.study_uid), modality_wanted, wanted_uid),)
    folder = Path(tempfile.mkdtemp(prefix="medmtl-"))
    try:
        volume = _read(_unpacked(case, folder), modality_wanted, wanted_uid)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(volume.dicom, shutil.rmtree, folder, ignore_errors=True)
    return (volume,)


def list_series(case: CaseInput) -> tuple[Series, ...]:
    """Every series of a DICOM case, readable or refused, by Series Number (0020,0011).

    The files a zip was unpacked to are gone when this returns: pixels are read by `read_case`.

    Raises:
        MedmtlError: nothing of the case is a DICOM file that can be read.
    """
    if case.error is not None:
        raise case.error
    if not case.archive:
        return series_of(case.paths, case.study_uid)
    with tempfile.TemporaryDirectory(prefix="medmtl-") as folder:
        return _unpacked(case, Path(folder))


def each_series(case: CaseInput) -> tuple[CaseInput, ...]:
    """A case per readable series of a DICOM case, named by series number; other cases come back as they are."""
    if case.kind is InputKind.NIFTI or case.error is not None:
        return (case,)
    readable = [series.first for series in list_series(case) if series.error is None]
    if len(readable) < 2:
        return (case,)
    numbers = [first.series_number for first in readable]
    marks: Sequence[object] = numbers if len(set(numbers)) == len(numbers) and None not in numbers else ()
    return tuple(
        replace(case, name=f"{case.name}-s{marks[index] if marks else index + 1}", series_uid=first.series_uid)
        for index, first in enumerate(readable)
    )


def _read(found: tuple[Series, ...], modality_wanted: str | None, series_uid: str | None) -> Volume:
    series, notices = choose(found, modality_wanted, series_uid)
    return read_series(series, notices)


def _unpacked(case: CaseInput, folder: Path) -> tuple[Series, ...]:
    return series_of([path for path in unpack(case.paths[0], folder) if _may_be_dicom(path)], case.study_uid)


def _may_be_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(512)
    if looks_like_dicom(head):
        return not is_directory_file(head)
    return path.suffix in (".dcm", ".ima")
