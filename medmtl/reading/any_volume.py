"""From a path to volumes, whatever the files are."""

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

from medmtl.errors import Code, MedmtlError, StudyError
from medmtl.reading.archive import unpack
from medmtl.reading.case_input import CaseInput, InputKind
from medmtl.reading.channel_files import on_grid_of, read_files
from medmtl.reading.choice import Choice, Suits, Wanted, choose
from medmtl.reading.dicom_file import is_directory_file, looks_like_dicom
from medmtl.reading.dicom_series import Series
from medmtl.reading.discovery import discover, discover_all
from medmtl.reading.phases import Cine, PickPhases, phase_times_ms, picked
from medmtl.reading.study import read_series, series_of
from medmtl.volume import Volume

__all__ = [
    "CaseInput",
    "InputKind",
    "discover",
    "discover_all",
    "each_series",
    "list_series",
    "list_volumes",
    "read_case",
]


def read_case(
    case: CaseInput,
    *,
    modality_wanted: str | None = None,
    series_uid: str | None = None,
    channels: tuple[str, ...] = (),
    suits: Suits | None = None,
    pick: PickPhases | None = None,
) -> tuple[Volume, ...]:
    """The volumes of a case, one per channel, all on one grid; LPS mm.

    Channels come from several files or series and are resampled to the first, or are two phases of a cine: parts of a
    DICOM series, or volumes of a 4D NIfTI. A zip is unpacked to a temporary
    folder that stays for as long as the volume's `dicom` does, so that outputs can read the source files.

    Args:
        case: from `discover`.
        modality_wanted: "CT" or "MR", preferred where a study holds several readable series.
        series_uid: what to read, as `medmtl inspect` names it: a Series Instance UID (0020,000E), `UID:PART`, or
            several joined by commas, one per channel, also as `CHANNEL=UID`; overrides the case's own. Of a 4D NIfTI
            `frame=N`, from 1.
        channels: names of the model's channels; two or more are looked for in the descriptions of the series.
        suits: whether a model could answer for a grid and modality; such a series is preferred.
        pick: chooses end-diastole and end-systole from a cine; without it a cine is read only where phases are named.

    Raises:
        MedmtlError: nothing of the case can be read; its code says why.
    """
    if case.error is not None:
        raise case.error
    named = series_uid or case.series_uid
    parts = tuple(part.strip() for part in named.split(",")) if named else ()
    if case.kind is InputKind.NIFTI:
        return read_files(case.paths, channels, parts, pick)
    wanted = Wanted(modality=modality_wanted, series=parts, channels=channels, suits=suits)
    if not case.archive:
        return _read(series_of(case.paths, case.study_uid), wanted, pick)
    folder = Path(tempfile.mkdtemp(prefix="medmtl-"))
    try:
        volumes = _read(_unpacked(case, folder), wanted, pick)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(volumes[0].dicom, shutil.rmtree, folder, ignore_errors=True)
    return volumes


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


def _read(found: tuple[Series, ...], wanted: Wanted, pick: PickPhases | None) -> tuple[Volume, ...]:
    choice = choose(found, wanted)
    if choice.phases:
        return _of_cine(choice, pick)
    first = read_series(choice.taken[0], choice.notices)
    return (first, *(on_grid_of(first, read_series(series)) for series in choice.taken[1:]))


def _of_cine(choice: Choice, pick: PickPhases | None) -> tuple[Volume, ...]:
    if pick is None:
        what = f"the study holds a cine of {len(choice.phases)} phases and does not say which are to be read"
        raise StudyError(Code.CHANNEL_MISSING, what, "name two of its volumes with --series UID:N,UID:N")
    frames = tuple(read_series(series, choice.notices) for series in choice.phases)
    return picked(Cine(frames=frames, times_ms=phase_times_ms(choice.phases)), pick)


def _unpacked(case: CaseInput, folder: Path) -> tuple[Series, ...]:
    return series_of([path for path in unpack(case.paths[0], folder) if _may_be_dicom(path)], case.study_uid)


def _may_be_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(512)
    if looks_like_dicom(head):
        return not is_directory_file(head)
    return path.suffix in (".dcm", ".ima")
