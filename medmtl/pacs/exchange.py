"""Studies from and to other nodes on request, by DIMSE or DICOMweb behind one protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset

from medmtl.errors import Code, PeerError, StudyError, UsageError
from medmtl.outputs.dicom_source import IMPLEMENTATION_CLASS_UID
from medmtl.pacs import dimse, web
from medmtl.pacs.inbox import hashed
from medmtl.pacs.settings import Destination, Node

_DIMSE_NODE = re.compile(r"(?P<ae_title>[ -\[\]-~]{1,16})@(?P<host>[^@:]+):(?P<port>\d{1,5})")
_IMAGES = ("CT", "MR")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A series as a node lists it. Holds identities: never logged.

    Attributes:
        images: Number of Series Related Instances (0020,1209), None where the node does not say.
    """

    study_uid: str
    series_uid: str
    modality: str
    number: str
    description: str
    images: int | None


class Archive(Protocol):
    """A node that holds studies."""

    def studies(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Study Instance UIDs of the studies with these attributes."""

    def series(self, study_uid: str) -> tuple[Listed, ...]:
        """The series of a study."""

    def fetch(self, one: Listed, folder: Path) -> int:
        """Writes the objects of a series into `folder`; gives how many there were."""

    def send(self, files: Sequence[Path]) -> Mapping[Path, PeerError | None]:
        """Sends files; says of each what became of it."""


def node_of(text: str, more: Destination) -> Destination:
    """The node that `AET@host:port` or the address of a DICOMweb service names, with the TLS and token of `more`.

    Raises:
        UsageError: `bad-option`.
    """
    if text.startswith(("http://", "https://")):
        return Destination(url=text, tls=more.tls, token_file=more.token_file)
    match = _DIMSE_NODE.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise UsageError(Code.BAD_OPTION, "the node is neither AET@host:port nor an http address", "see docs/pacs.md")
    return Destination(ae_title=match["ae_title"], host=match["host"], port=int(match["port"]), tls=more.tls)


def archive(peer: Destination, our: Node, *, move: bool) -> Archive:
    """The node behind `peer`; `move` has it send to us as it knows us, by C-MOVE, in place of C-GET."""
    return WebArchive(peer) if peer.url else DimseArchive(peer, our, move=move)


def pull(source: Archive, wanted: Mapping[str, str], modalities: Sequence[str], out_dir: Path) -> dict[str, int]:
    """Fetches the CT and MR series of the studies with these attributes into `out_dir/STUDY/SERIES/`.

    Folders and files are named by hashes of their UIDs. What arrives is counted against what the node says it has.

    Returns:
        name of each study to the number of its images.

    Raises:
        PeerError: the node cannot be reached, or less arrived than it has.
        StudyError: it has no such study.
    """
    fetched: dict[str, int] = {}
    for one in listed(source, wanted, modalities or _IMAGES):
        study = f"study-{hashed(one.study_uid)[:8]}"
        folder = out_dir / study / f"series-{hashed(one.series_uid)[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        count = source.fetch(one, folder)
        if one.images is not None and count < one.images:
            what = f"{count} of {one.images} images of a series arrived"
            raise PeerError(Code.PEER_REFUSED, what, "pull again; look at the log of the node")
        fetched[study] = fetched.get(study, 0) + count
    return fetched


def listed(source: Archive, wanted: Mapping[str, str], modalities: Sequence[str]) -> tuple[Listed, ...]:
    """The series of these modalities in the studies with these attributes.

    Raises:
        PeerError: the node cannot be reached or refuses.
        StudyError: `empty-input`, it has none.
    """
    found = [one for uid in source.studies(wanted) for one in source.series(uid) if one.modality in modalities]
    if not found:
        raise StudyError(Code.EMPTY_INPUT, "the node lists no such CT or MR series", "check the query with --list")
    return tuple(found)


def sendable(source: Path, *, everything: bool) -> tuple[Path, ...]:
    """The DICOM files in `source`, a file or a folder: those that medmtl wrote, or all of them.

    Images are not sent back to an archive by mistake: without `everything` a file must name us as its implementation.
    """
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    return tuple(path for path in files if _is_sendable(path, everything=everything))


def _is_sendable(path: Path, *, everything: bool) -> bool:
    with path.open("rb") as file:
        head = file.read(1024)
    return head[128:132] == b"DICM" and (everything or IMPLEMENTATION_CLASS_UID.encode() in head)


class DimseArchive:
    """A node by C-FIND, C-GET or C-MOVE, and C-STORE."""

    def __init__(self, peer: Destination, our: Node, *, move: bool) -> None:
        self._peer, self._our, self._move = peer, our, move

    def studies(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """As `Archive`."""
        query = _query("STUDY", {"StudyInstanceUID": "", **wanted})
        return tuple(str(row.StudyInstanceUID) for row in dimse.find(self._our.ae_title, self._peer, query))

    def series(self, study_uid: str) -> tuple[Listed, ...]:
        """As `Archive`."""
        asked = dict.fromkeys(
            ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances"), ""
        )
        query = _query("SERIES", {"StudyInstanceUID": study_uid, **asked})
        return tuple(_listed(row, study_uid) for row in dimse.find(self._our.ae_title, self._peer, query))

    def fetch(self, one: Listed, folder: Path) -> int:
        """As `Archive`."""
        query = _query("SERIES", {"StudyInstanceUID": one.study_uid, "SeriesInstanceUID": one.series_uid})
        if self._move:
            return dimse.move(self._our, self._peer, query, folder)
        return dimse.get(self._our.ae_title, self._peer, query, folder)

    def send(self, files: Sequence[Path]) -> Mapping[Path, PeerError | None]:
        """As `Archive`."""
        return dimse.store(self._our.ae_title, self._peer, files)


class WebArchive:
    """A node by QIDO-RS, WADO-RS and STOW-RS."""

    def __init__(self, peer: Destination) -> None:
        self._peer = peer

    def studies(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """As `Archive`."""
        return tuple(str(row.StudyInstanceUID) for row in web.search(self._peer, "studies", wanted))

    def series(self, study_uid: str) -> tuple[Listed, ...]:
        """As `Archive`."""
        return tuple(_listed(row, study_uid) for row in web.search(self._peer, "series", {}, study_uid))

    def fetch(self, one: Listed, folder: Path) -> int:
        """As `Archive`."""
        return web.fetch(self._peer, one.study_uid, one.series_uid, folder)

    def send(self, files: Sequence[Path]) -> Mapping[Path, PeerError | None]:
        """As `Archive`."""
        return web.store(self._peer, files)


def _query(level: str, wanted: Mapping[str, str]) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in wanted.items():
        setattr(query, keyword, value)
    return query


def _listed(row: Dataset, study_uid: str) -> Listed:
    count = row.get("NumberOfSeriesRelatedInstances")
    return Listed(
        study_uid=study_uid,
        series_uid=str(row.get("SeriesInstanceUID") or ""),
        modality=str(row.get("Modality") or ""),
        number=str(row.get("SeriesNumber") or ""),
        description=str(row.get("SeriesDescription") or ""),
        images=int(count) if str(count or "").isdigit() else None,
    )
