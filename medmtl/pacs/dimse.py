"""Calls to other nodes by DIMSE: verify, find, move, get, store, commit (PS3.4 A, B, C, J)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from medmtl.errors import Code, OutputError, PeerError, StudyError
from medmtl.pacs.association import MAX_CONTEXTS, associated, entity, server_tls, status_of
from medmtl.pacs.inbox import hashed
from medmtl.pacs.settings import Destination, Node
from medmtl.pacs.sop_classes import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    IMAGES,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    SYNTAXES,
    UNCOMPRESSED,
    VERIFICATION,
)  # fmt: skip
from medmtl.reading.quiet_pydicom import quiet_pydicom

_PENDING = (0xFF00, 0xFF01)
_WARNINGS = (0xB000, 0xB006, 0xB007)  # stored, with coercion or doubts, PS3.4 B.2.3
_CANNOT_STORE = (0x0122, *range(0xA900, 0xAA00), *range(0xC000, 0xD000))


def echo(our_title: str, peer: Destination) -> None:
    """Asks whether a node is there (C-ECHO).

    Raises:
        PeerError: it is not, or refuses.
    """
    with associated(our_title, peer, [(VERIFICATION, UNCOMPRESSED)]) as assoc:
        status = status_of(assoc.send_c_echo(), "C-ECHO") if assoc.accepted_contexts else 0x0122
    if status != 0:
        raise _refused(peer, "C-ECHO", status)


def store(our_title: str, peer: Destination, files: Sequence[Path]) -> dict[Path, PeerError | None]:
    """Sends files as they are encoded (C-STORE); says of each what became of it.

    Raises:
        PeerError: the node cannot be reached; nothing was sent.
        StudyError: a file is no DICOM file.
    """
    kinds = {path: kind_of(path) for path in files}
    contexts = sorted({(sop_class, syntax) for sop_class, syntax, _ in kinds.values()})
    outcome: dict[Path, PeerError | None] = {}
    for start in range(0, len(contexts), MAX_CONTEXTS):
        some = contexts[start : start + MAX_CONTEXTS]
        with associated(our_title, peer, [(sop_class, [syntax]) for sop_class, syntax in some]) as assoc:
            for path, kind in kinds.items():
                if kind[:2] in some:
                    outcome[path] = _stored(assoc, peer, path, kind)
    return outcome


def kind_of(path: Path) -> tuple[str, str, str]:
    """SOP class, transfer syntax and SOP Instance UID of a file, from its meta group.

    Raises:
        StudyError: `not-an-image`, it is no DICOM file or does not say what it is.
    """
    try:
        with quiet_pydicom():
            meta = pydicom.filereader.read_file_meta_info(path)
        found = (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID)
    except (InvalidDicomError, AttributeError, OSError) as fault:
        raise StudyError(Code.NOT_AN_IMAGE, "a file is no DICOM file that can be sent", "leave it out") from fault
    if not all(found):
        raise StudyError(Code.NOT_AN_IMAGE, "a file does not say which object it is", "leave it out")
    return str(found[0]), str(found[1]), str(found[2])


def find(our_title: str, peer: Destination, query: Dataset) -> tuple[Dataset, ...]:
    """What a node answers to a query of the Study Root model (C-FIND).

    Raises:
        PeerError: it cannot be reached or refuses.
    """
    with associated(our_title, peer, [(STUDY_FIND, UNCOMPRESSED)]) as assoc:
        if not assoc.accepted_contexts:
            raise _refused(peer, "C-FIND", 0x0122)
        found = []
        for reply, identifier in assoc.send_c_find(query, STUDY_FIND):
            status = status_of(reply, "C-FIND")
            if status in _PENDING and identifier is not None:
                found.append(identifier)
            elif status != 0:
                raise _refused(peer, "C-FIND", status)
    return tuple(found)


def move(our: Node, peer: Destination, query: Dataset, folder: Path) -> int:
    """Has a node send what matches to us, where it knows us, and keeps it in `folder` (C-MOVE); how many arrived.

    Raises:
        PeerError: it cannot be reached, refuses, or some objects failed.
        OutputError: `cannot-write`, our port is taken.
    """
    ae = entity(our.ae_title)
    ae.require_called_aet = True
    for sop_class in IMAGES:
        ae.add_supported_context(sop_class, list(SYNTAXES))
    tls = server_tls(our.tls) if our.tls is not None else None
    handlers = [(evt.EVT_C_STORE, _keep, [folder])]
    try:
        server = ae.start_server((our.host, our.port), block=False, ssl_context=tls, evt_handlers=handlers)
    except OSError as fault:
        what = f"port {our.port} cannot be listened on ({fault.strerror})"
        raise OutputError(Code.CANNOT_WRITE, what, "choose another --port, or end what uses it") from fault
    try:
        with associated(our.ae_title, peer, [(STUDY_MOVE, UNCOMPRESSED)]) as assoc:
            if not assoc.accepted_contexts:
                raise _refused(peer, "C-MOVE", 0x0122)
            return _last_count(assoc.send_c_move(query, our.ae_title, STUDY_MOVE), peer, "C-MOVE")
    finally:
        server.shutdown()


def get(our_title: str, peer: Destination, query: Dataset, folder: Path) -> int:
    """Fetches what matches into `folder` over the same connection (C-GET); gives how many objects arrived.

    Raises:
        PeerError: it cannot be reached, refuses, or some objects failed.
    """
    contexts = [(STUDY_GET, UNCOMPRESSED), *((sop_class, SYNTAXES) for sop_class in IMAGES)]
    roles = [build_role(sop_class, scp_role=True) for sop_class in IMAGES]
    with associated(
        our_title, peer, contexts, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, _keep, [folder])]
    ) as assoc:
        if not any(context.abstract_syntax == STUDY_GET for context in assoc.accepted_contexts):
            raise _refused(peer, "C-GET", 0x0122)
        return _last_count(assoc.send_c_get(query, STUDY_GET), peer, "C-GET")


def ask_commitment(our_title: str, peer: Destination, transaction_uid: str, files: Sequence[Path]) -> None:
    """Asks an archive to commit to keep objects (N-ACTION, PS3.4 J.3.2); its report comes later, to our listener.

    Raises:
        PeerError: it cannot be reached or refuses.
    """
    wanted = Dataset()
    wanted.TransactionUID = transaction_uid
    wanted.ReferencedSOPSequence = [_reference(*kind_of(path)) for path in files]
    with associated(our_title, peer, [(COMMITMENT, UNCOMPRESSED)]) as assoc:
        if not assoc.accepted_contexts:
            raise _refused(peer, "storage commitment", 0x0122)
        reply, _ = assoc.send_n_action(wanted, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        status = status_of(reply, "storage commitment")
    if status != 0:
        raise _refused(peer, "storage commitment", status)


def report_commitment(our_title: str, peer: Destination, report: Dataset) -> None:
    """Tells a node what of its request we keep (N-EVENT-REPORT, PS3.4 J.3.3): type 1 for all, 2 with failures.

    Raises:
        PeerError: it cannot be reached or refuses.
    """
    kind = 2 if "FailedSOPSequence" in report else 1
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    with associated(our_title, peer, [(COMMITMENT, UNCOMPRESSED)], ext_neg=[role]) as assoc:
        if not assoc.accepted_contexts:
            raise _refused(peer, "storage commitment", 0x0122)
        reply, _ = assoc.send_n_event_report(report, kind, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        status = status_of(reply, "storage commitment")
    if status != 0:
        raise _refused(peer, "storage commitment", status)


def _keep(event: evt.Event, folder: Path) -> int:
    try:
        (folder / f"{hashed(event.request.AffectedSOPInstanceUID)}.dcm").write_bytes(event.encoded_dataset())
    except OSError:
        return 0xA700  # out of resources, PS3.4 B.2.3
    return 0x0000


def _reference(sop_class: str, _: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return item


def _stored(assoc: object, peer: Destination, path: Path, kind: tuple[str, str, str]) -> PeerError | None:
    sop_class, syntax, _ = kind
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in assoc.accepted_contexts}  # type: ignore[attr-defined]
    if (sop_class, syntax) not in accepted:
        what = f"the node {peer.ae_title} takes no such object ({pydicom.uid.UID(sop_class).name})"
        return PeerError(Code.PEER_CANNOT_STORE, what, "send it by DICOMweb, or leave its format out")
    try:
        with quiet_pydicom():
            reply = assoc.send_c_store(pydicom.dcmread(path))  # type: ignore[attr-defined]
        status = status_of(reply, "C-STORE")
    except PeerError as error:
        return error
    except (RuntimeError, OSError) as fault:
        return PeerError(Code.PEER_UNREACHABLE, f"the connection broke ({type(fault).__name__})", "it is tried again")
    if status == 0 or status in _WARNINGS:
        return None
    if status in _CANNOT_STORE:
        what = f"the node {peer.ae_title} cannot store an object (0x{status:04X})"
        return PeerError(Code.PEER_CANNOT_STORE, what, "look at its log")
    return _refused(peer, "C-STORE", status)


def _last_count(replies: Iterator[tuple[Dataset, Dataset | None]], peer: Destination, what: str) -> int:
    completed = failed = 0
    for reply, _ in replies:
        status = status_of(reply, what)
        completed = int(reply.get("NumberOfCompletedSuboperations") or completed)
        failed = int(reply.get("NumberOfFailedSuboperations") or failed)
        if status not in (*_PENDING, 0, 0xB000):
            raise _refused(peer, what, status)
    if failed:
        raise PeerError(Code.PEER_REFUSED, f"{failed} objects could not be fetched", "look at the log of the node")
    return completed


def _refused(peer: Destination, what: str, status: int) -> PeerError:
    return PeerError(Code.PEER_REFUSED, f"the node {peer.ae_title} refused {what} (0x{status:04X})", "look at its log")
