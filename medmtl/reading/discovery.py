"""What cases a path holds. Content decides, not the name; one bad entry never hides the others."""

import csv
import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import IO

from medmtl.errors import Code, MedmtlError, StudyError, UsageError
from medmtl.reading.archive import look_into, members
from medmtl.reading.case_input import CaseInput, InputKind
from medmtl.reading.channel_files import grouped, joined
from medmtl.reading.dicom_file import is_directory_file, looks_like_dicom
from medmtl.reading.dicom_header import Identity, file_identity, identity_of
from medmtl.reading.itk_image import SUFFIXES as ITK_SUFFIXES
from medmtl.reading.itk_image import looks_like_itk_image
from medmtl.reading.nifti import looks_like_nifti

_COMPANIONS = frozenset(
    {
        ".md", ".txt", ".csv", ".tsv", ".json", ".yaml", ".yml", ".xml", ".html", ".htm", ".pdf", ".png", ".jpg",
        ".jpeg", ".gif", ".svg", ".log", ".ini", ".docx", ".xlsx", ".npz", ".bval", ".bvec", ".exe", ".inf", ".py",
        ".sh",
    }
)  # fmt: skip
_DICOM_SUFFIXES = (".dcm", ".ima")


class _Content(Enum):
    NIFTI = 1  # or another format of one volume in one file: NRRD, MetaImage
    DICOM = 2
    ZIP = 3
    EMPTY = 4
    DAMAGED = 5  # a NIfTI by name whose first bytes cannot be had
    INDEX = 6
    OTHER = 7
    CLOSED = 8  # the system refuses to open it


def discover(path: Path, *, channels: int = 1, names: Sequence[str] = ()) -> tuple[CaseInput, ...]:
    """The cases of an image file, a DICOM folder, a zip, a folder of any of these, or a CSV (path, case).

    Files are looked at, not read. What cannot be a case (a text file named like an image, an empty folder) is an entry
    with its error. A study is one case, also where its series lie in sub-folders, unless two of them share a number:
    then they are different exports, each a case.

    Args:
        path: what the user named.
        channels: with more than one, NAME_0000, NAME_0001 ... are one case NAME.
        names: of the channels, where they are known: then NAME_ED, NAME_ES are a case, too.

    Raises:
        UsageError: there is nothing at `path`, or a CSV without the columns path and case.
    """
    if not path.exists():
        raise UsageError(Code.NOT_FOUND, "the input does not exist", "check the path")
    if path.is_dir():
        found = _of_folder(path, path.resolve())
    elif path.suffix.lower() == ".csv":
        return _of_csv(path, len(names) or channels)
    else:
        found = _of_file(path)
    return _named(grouped(found, len(names) or channels, names))


def discover_all(paths: Sequence[Path], *, channels: int = 1, names: Sequence[str] = ()) -> tuple[CaseInput, ...]:
    """The cases of several inputs; as many image files as a model has channels are one case, in this order.

    Raises:
        UsageError: as `discover`.
    """
    if len(paths) == 1:
        return discover(paths[0], channels=channels, names=names)
    wanted = len(names) or channels
    if len(paths) == wanted > 1 and all(path.is_file() for path in paths):
        files = [case for path in paths for case in _of_file(path)]
        if len(files) == wanted and all(case.kind is InputKind.NIFTI for case in files):
            return (joined(files, wanted),)
    return _named([case for path in paths for case in discover(path, channels=channels, names=names)])


def _of_file(path: Path) -> list[CaseInput]:
    content = _sniff(path)
    if content is _Content.DICOM:
        return [_dicom(path, [path], file_identity(path))]
    if content is _Content.ZIP:
        return _of_zip(path)
    return [_nifti(path, content)]


def _of_folder(folder: Path, root: Path) -> list[CaseInput]:
    found: list[CaseInput] = []
    units: list[tuple[Path, dict[str, list[Path]], dict[Path, Identity]]] = []
    for place in _folders(folder):
        files, leaving = _visible_files(place, root)
        found += [_bad(path, Code.UNREADABLE, "a link leads out of the folder", "copy the file") for path in leaving]
        contents = {path: _sniff(path) for path in files}
        dicom = [path for path, content in contents.items() if content is _Content.DICOM]
        if dicom:
            identities = {path: file_identity(path) for path in dicom}
            studies: dict[str, list[Path]] = {}
            home = _home_studies(list(identities.values()))
            for path in dicom:
                studies.setdefault(home[identities[path].study_uid], []).append(path)
            suspects = [path for path in files if _should_be_dicom(path, contents[path])]
            units.append((place, {uid: paths + suspects for uid, paths in studies.items()}, identities))
        found += _others(contents, beside_dicom=bool(dicom))
        if not files and not leaving and not any(child.is_dir() for child in _visible(place)):
            found.append(_bad(place, Code.EMPTY_INPUT, "the folder is empty", "give a folder with images"))
    found += _studies(units)
    if not found:
        found.append(_bad(folder, Code.EMPTY_INPUT, "the folder holds no image", "give a folder with images"))
    return sorted(found, key=lambda case: str(case.source))


def _others(contents: dict[Path, _Content], *, beside_dicom: bool) -> list[CaseInput]:
    found: list[CaseInput] = []
    for path, content in contents.items():
        if content is _Content.ZIP and path.suffix.lower() not in _COMPANIONS:
            found += _of_zip(path)
            continue
        foreign = (
            content in (_Content.OTHER, _Content.EMPTY, _Content.CLOSED)
            and not beside_dicom
            and not _is_companion(path)
        )
        named = _named_nifti(path) and content is not _Content.DICOM
        if content is _Content.NIFTI or named or foreign:
            found.append(_nifti(path, content))
    return found


def _studies(units: Sequence[tuple[Path, dict[str, list[Path]], dict[Path, Identity]]]) -> list[CaseInput]:
    """A case per study; folders of one study are put together where their series can be told apart."""
    by_study: dict[str, list[tuple[Path, list[Path], dict[Path, Identity]]]] = {}
    for place, studies, identities in units:
        for uid, paths in studies.items():
            by_study.setdefault(uid, []).append((place, paths, identities))
    found = []
    for uid, parts in by_study.items():
        numbers = [
            {(known[path].series_number, known[path].series_uid) for path in paths if path in known}
            for _, paths, known in parts
        ]
        flat = [number for part in numbers for number, _ in part]
        apart = bool(uid) and len(flat) == len(set(flat)) and None not in flat
        groups = [parts] if apart else [[part] for part in parts]
        for group in groups:
            paths = [path for _, some, _ in group for path in some]
            identity = min((known[p] for _, some, known in group for p in some if p in known), key=_instance_key)
            found.append(_dicom(group[0][0], paths, identity))
    return found


def _home_studies(identities: Sequence[Identity]) -> dict[str, str]:
    """Study to the study it is read with: one that shares a series is not read without it, and is then refused."""
    home = {identity.study_uid: identity.study_uid for identity in identities}
    by_series: dict[str, set[str]] = {}
    for identity in identities:
        if identity.series_uid:
            by_series.setdefault(identity.series_uid, set()).add(identity.study_uid)
    for shared in by_series.values():
        homes = {home[uid] for uid in shared}
        home = {uid: min(homes) if there in homes else there for uid, there in home.items()}
    return home


def _instance_key(identity: Identity) -> str:
    return identity.instance_key


def _of_zip(path: Path) -> list[CaseInput]:
    try:
        seen = look_into(path, members(path), _member_identity)
    except MedmtlError as error:
        return [_refused(path, error)]
    identities = [identity for identity in seen if identity is not None]
    home = _home_studies(identities)
    studies: dict[str, Identity] = {}
    for identity in identities:
        uid = home[identity.study_uid]
        studies[uid] = min(replace(identity, study_uid=uid), studies.get(uid, identity), key=_instance_key)
    if not studies:
        return [_bad(path, Code.NOT_AN_IMAGE, "the archive holds no DICOM file", "give a zip of a DICOM study")]
    return [replace(_dicom(path, [path], identity), archive=True) for identity in studies.values()]


def _member_identity(stream: IO[bytes]) -> Identity | None:
    head = stream.read(512)
    stream.seek(0)
    return identity_of(stream) if looks_like_dicom(head) and not is_directory_file(head) else None


def _of_csv(path: Path, channels: int) -> tuple[CaseInput, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as fault:
        raise UsageError(Code.BAD_OPTION, "the list is no CSV in UTF-8", "give columns path and case") from fault
    if not rows or "path" not in rows[0]:
        raise UsageError(Code.BAD_OPTION, "the list has no rows or no column path", "give columns path and case")
    named: dict[str, list[CaseInput]] = {}
    for number, row in enumerate(rows, start=1):
        case = _safe(row.get("case") or "")
        entry = path.parent / (row["path"] or "")
        if not (row["path"] and entry.exists()):
            missing = StudyError(Code.NOT_FOUND, f"row {number} names a path that does not exist", "correct the list")
            found: tuple[CaseInput, ...] = (replace(_refused(entry, missing), name=case or f"row-{number}"),)
        elif entry.suffix.lower() == ".csv":
            found = (_bad(entry, Code.NOT_AN_IMAGE, f"row {number} names another list", "name images only"),)
        else:
            found = discover(entry)
        for index, one in enumerate(found):
            name = (case if index == 0 else f"{case}-{index + 1}") if case else one.name
            key = name if case else f"row {number}: {name}"
            named.setdefault(key, []).append(replace(one, name=name))
    return _named([joined(cases, channels) for cases in named.values()])


def _named(found: list[CaseInput]) -> tuple[CaseInput, ...]:
    """Every name once: what shares one is numbered in the order found."""
    counts = Counter(case.name.casefold() for case in found)
    given: Counter[str] = Counter()
    named = []
    for case in found:
        key = case.name.casefold()
        given[key] += 1
        if counts[key] > 1:
            mark = "s" if case.kind is InputKind.DICOM else ""
            case = replace(case, name=f"{case.name}-{mark}{given[key]}")
        named.append(case)
    return tuple(named)


def _nifti(path: Path, content: _Content) -> CaseInput:
    name = stem(path) if _named_nifti(path) or content is _Content.NIFTI else _hashed("entry", path.name)
    error = None
    if content is _Content.EMPTY:
        error = StudyError(Code.EMPTY_INPUT, "the file is empty", "copy it again")
    elif content is _Content.DAMAGED:
        error = StudyError(Code.TRUNCATED, "the file ends before its voxels do", "copy it again")
    elif content is _Content.CLOSED:
        error = StudyError(Code.UNREADABLE, "the file cannot be opened", "check its permissions and the disk")
    elif content is not _Content.NIFTI:
        error = StudyError(Code.NOT_AN_IMAGE, "the file is neither NIfTI, NRRD, MHA nor DICOM nor zip", "give an image")
    return CaseInput(name=name, kind=InputKind.NIFTI, paths=(path,), source=path, error=error)


def _dicom(source: Path, paths: Sequence[Path], identity: Identity) -> CaseInput:
    # an anonymiser may have emptied the Study Instance UID
    name = _hashed("study", identity.study_uid or identity.instance_key)
    return CaseInput(name=name, kind=InputKind.DICOM, paths=tuple(paths), source=source, study_uid=identity.study_uid)


def _bad(path: Path, code: Code, what: str, todo: str) -> CaseInput:
    return _refused(path, StudyError(code, what, todo))


def _refused(path: Path, error: MedmtlError) -> CaseInput:
    return CaseInput(name=_hashed("entry", path.name), kind=InputKind.DICOM, paths=(), source=path, error=error)


def _hashed(word: str, identity: str) -> str:
    return f"{word}-{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def stem(path: Path) -> str:
    """Name of the case in a NIfTI, NRRD or MetaImage file: without its suffix, safe as a file name."""
    name = path.name
    for suffix in (".gz", ".nii", *ITK_SUFFIXES):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return _safe(name) or "case"


def _safe(name: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f/\\:*?\"<>|]", "_", name.strip()).lstrip(".")[:200]


def _named_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz", *ITK_SUFFIXES))


def _is_companion(path: Path) -> bool:
    return path.suffix.lower() in _COMPANIONS or path.stem.upper() in ("README", "LICENSE", "LICENCE", "VERSION")


def _should_be_dicom(path: Path, content: _Content) -> bool:
    return path.suffix.lower() in _DICOM_SUFFIXES and content in (_Content.OTHER, _Content.EMPTY, _Content.CLOSED)


def _folders(folder: Path) -> Iterator[Path]:
    yield folder
    for child in _visible(folder):
        if child.is_dir() and not child.is_symlink():
            yield from _folders(child)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))
    except OSError:
        return []  # reported as an empty folder


def _visible_files(folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Plain files, and links that leave `root`; links inside it would only repeat what is there."""
    children = _visible(folder)
    links = [child for child in children if child.is_symlink()]
    leaving = [link for link in links if not link.resolve().is_relative_to(root)]
    return [child for child in children if child.is_file() and not child.is_symlink()], leaving


def _sniff(path: Path) -> _Content:
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
            if head[:2] == b"\x1f\x8b":
                return _sniff_packed(stream, path)
    except OSError:
        return _Content.CLOSED
    if not head:
        return _Content.EMPTY
    if looks_like_nifti(head) or looks_like_itk_image(head):
        return _Content.NIFTI
    if looks_like_dicom(head):
        return _Content.INDEX if is_directory_file(head) else _Content.DICOM
    return _Content.ZIP if head[:4] == b"PK\x03\x04" else _Content.OTHER


def _sniff_packed(stream: IO[bytes], path: Path) -> _Content:
    stream.seek(0)
    try:
        with gzip.open(stream) as unpacked:
            head = unpacked.read(348)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return _Content.DAMAGED if _named_nifti(path) else _Content.OTHER
    return _Content.NIFTI if looks_like_nifti(head) else _Content.OTHER
