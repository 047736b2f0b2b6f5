"""The node's ear: who may send, what is taken, and when it counts as stored."""

import hashlib
import io
import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from medmtl.errors import Code, OutputError
from medmtl.pacs.association import entity, server_tls
from medmtl.pacs.inbox import Inbox, hashed
from medmtl.pacs.queue import Queue, Received
from medmtl.pacs.settings import Peer, Settings
from medmtl.pacs.sop_classes import COMMITMENT, IMAGES, SYNTAXES, UNCOMPRESSED, VERIFICATION
from medmtl.reading.dicom_values import PARSE_FAULTS
from medmtl.reading.quiet_pydicom import quiet_pydicom

log = logging.getLogger(__name__)

# PS3.4 B.2.3 (storage), PS3.7 C (general)
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, DOES_NOT_MATCH = 0x0000, 0xA700, 0xC000, 0xA900
NOT_AUTHORISED = 0x0124
_MB = 1 << 20
_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LAST = Tag("SeriesInstanceUID")
_HEAD_BYTES = 1 << 20


class Receiver:
    """A storage SCP that answers 0x0000 only when the image is on disk and in the queue.

    Args:
        settings: of the node.
        inbox: where images go.
        queue: where they are noted.
        stored: called with a study's name after each new image.
        committed: called with a commitment report (transaction UID, data set) that arrives for us.
        asked: called with a peer, a transaction UID and what the peer wants kept, when it asks for commitment.
    """

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        queue: Queue,
        *,
        stored: Callable[[str], None],
        committed: Callable[[Dataset], None],
        asked: Callable[[Peer, Dataset], None],
    ) -> None:
        self._settings, self._inbox, self._queue = settings, inbox, queue
        self._stored, self._committed, self._asked = stored, committed, asked
        self._pending: dict[Association, int] = {}
        self._lock = threading.Lock()
        self._server: ThreadedAssociationServer | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; the system's choice where the settings say 0."""
        return int(self._server.socket.getsockname()[1]) if self._server is not None else 0

    def start(self) -> None:
        """Listens from now on.

        Raises:
            OutputError: `cannot-write`, the port is taken or the address is not ours.
            UsageError: `bad-settings`, a certificate cannot be read.
        """
        node, intake = self._settings.node, self._settings.accept
        ae = entity(node.ae_title)
        ae.maximum_associations = intake.associations
        ae.require_called_aet = True
        ae.require_calling_aet = sorted({peer.ae_title for peer in intake.peers})
        ae.add_supported_context(VERIFICATION, list(UNCOMPRESSED))
        for sop_class in IMAGES:
            ae.add_supported_context(sop_class, list(SYNTAXES))
        # both roles: we answer requests for commitment, and take the reports on our own
        ae.add_supported_context(COMMITMENT, list(UNCOMPRESSED), scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_ACCEPTED, self._admit),
            (evt.EVT_DATA_RECV, self._weigh),
            (evt.EVT_CONN_CLOSE, self._part),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._asked_to_commit),
            (evt.EVT_N_EVENT_REPORT, self._report),
        ]
        tls = server_tls(node.tls) if node.tls is not None else None
        try:
            self._server = ae.start_server((node.host, node.port), block=False, ssl_context=tls, evt_handlers=handlers)
        except OSError as fault:
            what = f"port {node.port} cannot be listened on ({fault.strerror})"
            raise OutputError(Code.CANNOT_WRITE, what, "choose another node.port, or end what uses it") from fault

    def stop(self) -> None:
        """Aborts what is open and listens no more."""
        if self._server is not None:
            self._server.shutdown()

    def _peer(self, assoc: Association) -> Peer | None:
        title, host = assoc.requestor.ae_title, assoc.requestor.address
        for peer in self._settings.accept.peers:
            if peer.ae_title == title and peer.host in (None, host):
                return peer
        return None

    def _admit(self, event: evt.Event) -> None:
        if self._peer(event.assoc) is None:
            log.warning("an association was aborted: its address is not that of the peer it names")
            event.assoc.abort()

    def _weigh(self, event: evt.Event) -> None:
        """Bytes since the last object; pynetdicom bounds a PDU and not what many of them add up to."""
        with self._lock:
            total = self._pending[event.assoc] = self._pending.get(event.assoc, 0) + len(event.data)
        if total > self._settings.accept.max_object_mb * _MB:
            log.warning("an association was aborted: its object is larger than accept.max_object_mb")
            event.assoc.abort()

    def _part(self, event: evt.Event) -> None:
        with self._lock:
            self._pending.pop(event.assoc, None)

    def _echo(self, event: evt.Event) -> int:
        return SUCCESS if self._peer(event.assoc) is not None else NOT_AUTHORISED

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            self._pending[event.assoc] = 0
        if self._peer(event.assoc) is None:
            return NOT_AUTHORISED
        data = event.request.DataSet.getvalue()
        identity = _identity(data, event.context.transfer_syntax)
        if identity is None or not all(identity):
            return CANNOT_UNDERSTAND
        study, series, instance = identity
        if instance != event.request.AffectedSOPInstanceUID:
            return DOES_NOT_MATCH
        one = Received(
            study=hashed(study), series=hashed(series), instance=hashed(instance),
            digest=hashlib.sha256(data).hexdigest(), calling=event.assoc.requestor.ae_title,
        )  # fmt: skip
        return self._keep(one, event.encoded_dataset(), f"study-{hashlib.sha256(study.encode()).hexdigest()[:8]}")

    def _keep(self, one: Received, data: bytes, name: str) -> int:
        if self._inbox.free_bytes() - len(data) < self._settings.accept.min_free_mb * _MB:
            log.error("%s: an image was refused (0xA700): the disk is nearly full", name)
            return OUT_OF_RESOURCES
        try:
            self._inbox.store(one, data)
            new = self._queue.receive(one, name)
        except (OSError, sqlite3.OperationalError) as fault:  # the queue's file has no room to grow either
            log.error("%s: an image was refused (0xA700): %s", name, getattr(fault, "strerror", fault))
            self._inbox.discard(one, known=self._queue.holds(one.instance))
            return OUT_OF_RESOURCES
        if new:
            self._stored(name)
        return SUCCESS

    def _asked_to_commit(self, event: evt.Event) -> tuple[int, Dataset | None]:
        peer = self._peer(event.assoc)
        if peer is None:
            return NOT_AUTHORISED, None
        self._asked(peer, event.action_information)
        return SUCCESS, None

    def _report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        self._committed(event.event_information)
        return SUCCESS, None


def _identity(data: bytes, syntax: str) -> tuple[str, ...] | None:
    """Study, series and instance UID of an encoded data set; None where its header cannot be read."""
    uid = UID(syntax)
    try:
        if uid.is_deflated:  # what identifies an image stands at its start
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _HEAD_BYTES)
        with quiet_pydicom():
            header = read_dataset(io.BytesIO(data), uid.is_implicit_VR, uid.is_little_endian, stop_when=_is_past)
            return tuple(str(header.get(keyword) or "").strip() for keyword in _IDENTITY)
    except PARSE_FAULTS:
        return None


def _is_past(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag > _LAST
