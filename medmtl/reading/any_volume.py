"""From a path to volumes, whatever the files are."""

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

from medmtl.errors import Code, MedmtlError, Notice, StudyError
from medmtl.geometry.resample import resample_onto
from medmtl.reading.archive import unpack
from medmtl.reading.case_input import CaseInput, InputKind
from medmtl.reading.choice import Choice, Suits, Wanted, choose
from medmtl.reading.dicom_header import is_directory_file, looks_like_dicom
from medmtl.reading.dicom_series import Series
from medmtl.reading.discovery import discover
from medmtl.reading.itk_image import is_itk_image, read_itk_image
from medmtl.reading.nifti import read_nifti
from medmtl.reading.study import read_series, series_of
from medmtl.volume import Volume

__all__ = ["CaseInput", "InputKind", "discover", "each_series", "list_series", "list_volumes", "read_case"]


def read_case(
    case: CaseInput,
    *,
    modality_wanted: str | None = None,
    series_uid: str | None = None,
    channels: tuple[str, ...] = (),
    suits: Suits | None = None,
) -> tuple[Volume, ...]:
    """The volumes of a case, one per channel, all on one grid; LPS mm.

    Channels of a DICOM study come from several series and are resampled to the first. A zip is unpacked to a temporary
    folder that stays for as long as the volume's `dicom` does, so that outputs can read the source files.

    Args:
        case: from `discover`.
        modality_wanted: "CT" or "MR", preferred where a study holds several readable series.
        series_uid: what to read, as `medmtl inspect` names it: a Series Instance UID (0020,000E), `UID:PART`, or
            several joined by commas, one per channel; overrides the case's own.
        channels: names of the model's channels; two or more are looked for in the descriptions of the series.
        suits: whether a model could answer for a grid and modality; such a series is preferred.

    Raises:
        MedmtlError: nothing of the case can be read; its code says why.
    """
    if case.error is not None:
        raise case.error
    if case.kind is InputKind.NIFTI:
        volumes = tuple(_read_file(path) for path in case.paths)
        if not all(volumes[0].grid.same_as(volume.grid) for volume in volumes):
            raise StudyError(Code.GRID_MISMATCH, "the channels lie on different grids", "resample them to the first")
        return volumes
    named = series_uid or case.series_uid
    wanted = Wanted(
        modality=modality_wanted,
        series=tuple(part.strip() for part in named.split(",")) if named else (),
        channels=channels,
        suits=suits,
    )
    if not case.archive:
        return _read(series_of(case.paths, case.study_uid), wanted)
    folder = Path(tempfile.mkdtemp(prefix="medmtl-"))
    try:
        volumes = _read(_unpacked(case, folder), wanted)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(volumes[0].dicom, shutil.rmtree, folder, ignore_errors=True)
    return volumes


def _read_file(path: Path) -> Volume:
    return read_itk_image(path) if is_itk_image(path) else read_nifti(path)


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


def list_volumes(
    case: CaseInput, wanted: Wanted | None = None
) -> tuple[tuple[Series, ...], Choice | None, MedmtlError | None]:
    """What `list_series` gives, what would be taken of it, and why nothing can be.

    Raises:
        MedmtlError: nothing of the case is a DICOM file that can be read.
    """
    if case.error is not None:
        raise case.error
    with tempfile.TemporaryDirectory(prefix="medmtl-") as folder:
        found = _unpacked(case, Path(folder)) if case.archive else series_of(case.paths, case.study_uid)
        try:
            return found, choose(found, wanted), None
        except MedmtlError as error:
            return found, None, error


def each_series(case: CaseInput) -> tuple[CaseInput, ...]:
    """A case per readable volume of a DICOM case, named by series number and part; others come back as they are."""
    if case.kind is InputKind.NIFTI or case.error is not None:
        return (case,)
    readable = [series for series in list_series(case) if series.error is None]
    if len(readable) < 2:
        return (case,)
    numbers = [(series.first.series_number, series.part) for series in readable]
    told = len(set(numbers)) == len(numbers) and all(number is not None for number, _ in numbers)
    cases = []
    for index, series in enumerate(readable, start=1):
        mark = f"{series.first.series_number}" + (f"-{series.part}" if series.part else "") if told else f"{index}"
        cases.append(replace(case, name=f"{case.name}-s{mark}", series_uid=series.selector))
    return tuple(cases)


def _read(found: tuple[Series, ...], wanted: Wanted) -> tuple[Volume, ...]:
    choice = choose(found, wanted)
    first = read_series(choice.taken[0], choice.notices)
    return (first, *(_on_grid_of(first, read_series(series)) for series in choice.taken[1:]))


def _on_grid_of(first: Volume, other: Volume) -> Volume:
    """A further channel on the voxels of the first, its own lowest value beside it."""
    if other.grid.same_as(first.grid):
        return replace(other, grid=first.grid)
    array = resample_onto(other.array, other.grid, first.grid, outside=float(other.array.min()))
    notice = Notice(code=Code.CHANNEL_RESAMPLED, text="a further channel was resampled to the voxels of the first")
    return replace(other, array=array, grid=first.grid, notices=(*other.notices, notice))


def _unpacked(case: CaseInput, folder: Path) -> tuple[Series, ...]:
    return series_of([path for path in unpack(case.paths[0], folder) if _may_be_dicom(path)], case.study_uid)


def _may_be_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(512)
    if looks_like_dicom(head):
        return not is_directory_file(head)
    return path.suffix in (".dcm", ".ima")
