"""Results on their way: sent, tried again with growing pauses, and committed to where the settings ask for it."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from medmtl.errors import Code, MedmtlError, PeerError
from medmtl.pacs import dimse, web
from medmtl.pacs.inbox import Inbox, hashed
from medmtl.pacs.queue import DeliveryState, Parcel, Queue
from medmtl.pacs.settings import Destination, Peer, Settings

log = logging.getLogger(__name__)

NO_SUCH_OBJECT, NOT_KEPT = 0x0112, 0x0213  # failure reasons of PS3.3 C.14.1.1


class Courier:
    """Delivers what the queue says is due, and speaks for us in storage commitment.

    Args:
        settings: of the node.
        inbox: where results lie.
        queue: what is to be sent.
        tell: called with an event, for the log.
    """

    def __init__(self, settings: Settings, inbox: Inbox, queue: Queue, tell: Callable[..., None]) -> None:
        self._settings, self._inbox, self._queue, self._tell = settings, inbox, queue, tell
        self._asked: list[tuple[Peer, Dataset]] = []
        self._lock = threading.Lock()

    def deliver_next(self, now: float) -> bool:
        """Sends what is due of one job to one destination; False where nothing is."""
        parcels = self._queue.due(now)
        if not parcels:
            return False
        name = self._queue.job(parcels[0].job).name
        overdue = [parcel for parcel in parcels if parcel.state is DeliveryState.COMMITTING]
        if overdue:
            text = "the archive did not say in time that it keeps the objects; they are sent again"
            self._fail(overdue, PeerError(Code.NOT_COMMITTED, text, "look at its log"), name)
            return True
        to = self._settings.destinations.get(parcels[0].destination)
        if to is None:
            gone = PeerError(Code.BAD_SETTINGS, "the settings have this destination no more", "add it, then retry")
            self._queue.deliver(parcels, DeliveryState.FAILED, error=(gone.code, str(gone)))
            return True
        files = {parcel: self._file(parcel) for parcel in parcels}
        try:
            send = web.store(to, list(files.values())) if to.url else self._send(to, list(files.values()))
        except MedmtlError as error:
            self._fail(parcels, error, name)
            return True
        for parcel, path in files.items():
            refusal = send.get(path)
            if refusal is not None:
                self._fail([parcel], refusal, name)
        self._sent([parcel for parcel, path in files.items() if send.get(path) is None], to, name)
        return True

    def reported(self, report: Dataset) -> None:
        """Takes a report of storage commitment (PS3.4 J.3.3): what is kept is sent, what is not is sent again."""
        kept = {str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence", ())}
        parcels = self._queue.committing(str(report.get("TransactionUID", "")))
        known = {parcel: dimse.kind_of(self._file(parcel))[2] for parcel in parcels}
        done = [parcel for parcel, uid in known.items() if uid in kept]
        lost = [parcel for parcel, uid in known.items() if uid not in kept]
        self._queue.deliver(done, DeliveryState.SENT)
        if done:
            name = self._queue.job(done[0].job).name
            self._tell("committed", study=name, job=done[0].job, destination=done[0].destination, objects=len(done))
        if lost:
            error = PeerError(Code.NOT_COMMITTED, "the archive does not keep an object", "look at its log")
            self._fail(lost, error, self._queue.job(lost[0].job).name)

    def asked(self, peer: Peer, request: Dataset) -> None:
        """Notes a peer's request for commitment; it is answered on a connection of our own."""
        with self._lock:
            self._asked.append((peer, request))

    def answer_commitment(self) -> bool:
        """Answers one request for commitment; False where none waits.

        We commit to what we hold only where the settings let nothing expire: a peer may delete what we commit to.
        """
        with self._lock:
            if not self._asked:
                return False
            peer, request = self._asked.pop(0)
        report, kept, lost = Dataset(), [], []
        report.TransactionUID = request.get("TransactionUID", "")
        for item in request.get("ReferencedSOPSequence", ()):
            told = Dataset()
            told.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            told.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            held = self._queue.holds(hashed(str(item.ReferencedSOPInstanceUID)))
            if held and self._settings.retention_days is None:
                kept.append(told)
            else:
                told.FailureReason = NOT_KEPT if held else NO_SUCH_OBJECT
                lost.append(told)
        if kept:
            report.ReferencedSOPSequence = kept
        if lost:
            report.FailedSOPSequence = lost
        self._report(peer, report)
        return True

    def _report(self, peer: Peer, report: Dataset) -> None:
        if peer.host is None or peer.port is None:
            log.warning("a request for storage commitment is not answered: accept.peers says no host and port")
            return
        to = Destination(ae_title=peer.ae_title, host=peer.host, port=peer.port)
        try:
            dimse.report_commitment(self._settings.node.ae_title, to, report)
        except PeerError as error:
            log.error("%s", error.line("commitment"))

    def _send(self, to: Destination, files: Sequence[Path]) -> dict[Path, PeerError | None]:
        return dimse.store(self._settings.node.ae_title, to, files)

    def _sent(self, parcels: Sequence[Parcel], to: Destination, name: str) -> None:
        if not parcels:
            return
        told = {"study": name, "job": parcels[0].job, "destination": parcels[0].destination, "objects": len(parcels)}
        if not to.commitment:
            self._queue.deliver(parcels, DeliveryState.SENT)
            self._tell("sent", **told)
            return
        uid = f"2.25.{uuid.uuid4().int}"
        # noted before it is asked: the report may be here before the question's answer
        until = time.time() + self._settings.delivery.commitment_s
        self._queue.deliver(parcels, DeliveryState.COMMITTING, due=until, transaction_uid=uid)
        self._tell("sent", **told)
        try:
            dimse.ask_commitment(self._settings.node.ae_title, to, uid, [self._file(parcel) for parcel in parcels])
        except PeerError as error:
            self._fail(parcels, error, name)

    def _fail(self, parcels: Sequence[Parcel], error: MedmtlError, name: str) -> None:
        plan = self._settings.delivery
        for parcel in parcels:
            attempt = parcel.attempts + 1
            lasting = error.code == Code.PEER_CANNOT_STORE or attempt >= plan.attempts
            state = DeliveryState.FAILED if lasting else DeliveryState.WAITING
            due = time.time() + plan.wait_s(attempt)
            told = (str(error.code), str(error))
            self._queue.deliver([parcel], state, due=due, error=told, failed_once=True)
        log.warning("%s", error.line(name))
        self._tell("delayed", study=name, job=parcels[0].job, destination=parcels[0].destination, code=str(error.code))

    def _file(self, parcel: Parcel) -> Path:
        return self._inbox.job(parcel.job) / "result" / parcel.file
