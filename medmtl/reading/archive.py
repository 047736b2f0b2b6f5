"""Zip archives, unpacked without trusting a word of them."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from medmtl.errors import Code, StudyError

MAX_MEMBERS = 50_000
MAX_TOTAL_BYTES = 32 << 30
MAX_RATIO = 100
FREE_RATIO_BYTES = 64 << 20  # below this an archive may pack as tightly as it likes
_CHUNK = 1 << 20
_Seen = TypeVar("_Seen")
_NESTED = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz")
_READ_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip that may be unpacked, by name; nested archives, folders and hidden files left out.

    Raises:
        StudyError: damaged, encrypted, or made to harm: names that leave the folder, links, more members or bytes
            than a study has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except _READ_FAULTS as fault:
        raise _damaged() from fault
    size = path.stat().st_size
    _check_sizes(infos, size)
    for info in infos:
        _check_member(info)
    files = [info for info in infos if not info.is_dir()]
    kept = [info for info in files if not _hidden(info) and not info.filename.lower().endswith(_NESTED)]
    if files and not kept:
        raise _unsafe("holds nothing but archives or hidden files")
    return sorted(kept, key=lambda info: (info.filename, info.header_offset))


def look_into(path: Path, infos: list[zipfile.ZipInfo], look: Callable[[IO[bytes]], _Seen]) -> list[_Seen]:
    """What `look` makes of each member, opened but not unpacked, one after the other.

    Raises:
        StudyError: a member is damaged as far as `look` read it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            seen = []
            for info in infos:
                with archive.open(info) as stream:
                    seen.append(look(stream))
            return seen
    except _READ_FAULTS as fault:
        raise _damaged() from fault


def unpack(path: Path, folder: Path) -> list[Path]:
    """The members of a zip as files under `folder`, which names of ours only enter.

    Names sort as in the archive, so that a study reads the same from a zip as from a folder. Memory is bounded by a
    chunk, disk by the declared sizes, which are held to.

    Raises:
        StudyError: as for `members`, or a member that is damaged or longer than declared.
    """
    infos = members(path)
    free = shutil.disk_usage(folder).free
    if sum(info.file_size for info in infos) > free:
        raise StudyError(Code.TOO_LARGE, "there is no room to unpack the archive", "free disk space")
    folders = {parent: index for index, parent in enumerate(sorted({_parent(info) for info in infos}))}
    unpacked = []
    try:
        with zipfile.ZipFile(path) as archive:
            for index, info in enumerate(infos):
                target = folder / f"{folders[_parent(info)]:06d}" / f"{index:06d}{_suffix(info)}"
                target.parent.mkdir(exist_ok=True)
                _copy(archive, info, target)
                unpacked.append(target)
    except _READ_FAULTS as fault:
        raise _damaged() from fault
    return unpacked


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    written = 0
    with archive.open(info) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > info.file_size:
                raise _unsafe("holds a member longer than it declares")
            sink.write(chunk)
    if written != info.file_size:
        raise _damaged()


def _check_sizes(infos: list[zipfile.ZipInfo], size: int) -> None:
    if len(infos) > MAX_MEMBERS:
        raise _unsafe(f"holds {len(infos)} members, more than {MAX_MEMBERS}")
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL_BYTES:
        raise _unsafe(f"unpacks to {total / 2**30:.0f} GiB, more than {MAX_TOTAL_BYTES >> 30}")
    if total > FREE_RATIO_BYTES and total > MAX_RATIO * size:
        raise _unsafe(f"unpacks to {total / max(size, 1):.0f} times its size, more than {MAX_RATIO}")


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.filename.replace("\\", "/")
    drive = len(name) > 1 and name[1] == ":"
    if name.startswith("/") or drive or ".." in name.split("/") or "\x00" in info.orig_filename:
        raise _unsafe("holds a member that would land outside the folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe("holds a link or device")
    if info.flag_bits & 1:
        raise StudyError(Code.UNREADABLE, "the archive is encrypted", "unpack it first")


def _parent(info: zipfile.ZipInfo) -> str:
    return str(PurePosixPath(info.filename).parent)


def _suffix(info: zipfile.ZipInfo) -> str:
    suffix = PurePosixPath(info.filename).suffix.lower()
    return suffix if suffix in (".dcm", ".ima") else ""


def _hidden(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _unsafe(what: str) -> StudyError:
    return StudyError(Code.UNSAFE_ARCHIVE, f"the archive {what}", "unpack it yourself and give the folder")


def _damaged() -> StudyError:
    return StudyError(Code.TRUNCATED, "the archive is cut short or damaged", "copy it again")
