"""Deliveries step by step, to a node in this process: what is sent, what waits, what an archive commits to."""

import gc
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from medmtl.pacs.courier import NO_SUCH_OBJECT, NOT_KEPT, Courier
from medmtl.pacs.dimse import kind_of
from medmtl.pacs.inbox import Inbox, hashed
from medmtl.pacs.queue import DeliveryState, Parcel, Queue, Received
from medmtl.pacs.settings import Delivery, Destination, Intake, Node, Peer, Settings
from tests.medmtl.pacs.test_receiver import Ear

WAITING, COMMITTING, SENT, FAILED = (DeliveryState(one) for one in ("waiting", "committing", "sent", "failed"))


class Desk:
    """A courier with two objects of a done job to deliver, and the node they go to."""

    def __init__(self, folder: Path, files: list[Path], **destination: Any) -> None:
        self.ear = Ear(
            folder / "there", Settings(accept=Intake(peers=(Peer(ae_title="US"),), min_free_mb=1), node=NODE)
        )
        self.queue, self.inbox = Queue(folder / "here"), Inbox(root=folder / "here")
        self.files = files
        address = {"ae_title": "MEDMTL", "host": "127.0.0.1", "port": self.ear.receiver.port, **destination}
        self.settings = Settings(
            accept=Intake(peers=(Peer(ae_title="MEDMTL"),)),
            node=Node(ae_title="US"),
            destinations={"pacs": Destination(**address)},
            delivery=Delivery(first_s=60.0, attempts=2),
            retention_days=None,
        )
        self.courier = Courier(self.settings, self.inbox, self.queue, lambda *_, **__: None)
        self.queue.receive(Received(study="s", series="s", instance="i", digest="d", calling="c"), "study-1")
        [(study, _, last)] = self.queue.quiet(time.time() + 1)
        self.queue.shut(study, last, [("rule", "content", 1)])
        job = self.queue.next_job()
        assert job is not None
        (self.inbox.job(job.id) / "result").mkdir(parents=True)
        for path in files:
            shutil.copy(path, self.inbox.job(job.id) / "result" / path.name)
        self.queue.done(job.id, [("pacs", path.name) for path in files])

    def deliver(self, after_s: float = 0.0) -> list[Parcel]:
        self.courier.deliver_next(time.time() + after_s)
        return list(self.queue.deliveries(1))

    def close(self) -> None:
        self.ear.close()
        self.queue.close()


NODE = Node(port=0)


@pytest.fixture
def slices(shared: Path) -> list[Path]:
    return sorted((shared / "dicom" / "hostile" / "control_ok").iterdir())[:2]


@pytest.fixture
def desk(tmp_path: Path, slices: list[Path]) -> Iterator[Desk]:
    with closing(Desk(tmp_path, slices)) as made:
        yield made


def test_what_is_due_is_sent_once(desk: Desk) -> None:
    assert [one.state for one in desk.deliver()] == [SENT, SENT]
    assert len(desk.ear.stored) == 2
    assert not desk.courier.deliver_next(time.time() + 1e6)


# pynetdicom leaves the sockets of refused connections to the garbage collector, with a warning
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_that_is_away_is_tried_again_and_not_for_ever(tmp_path: Path, slices: list[Path]) -> None:
    with closing(Desk(tmp_path, slices, port=9)) as desk:
        first = desk.deliver()
        assert {(one.state, one.attempts, one.code) for one in first} == {(WAITING, 1, "peer-unreachable")}
        assert all(50.0 < one.due - time.time() <= 60.0 for one in first)
        assert not desk.courier.deliver_next(time.time())
        assert {(one.state, one.attempts) for one in desk.deliver(after_s=61.0)} == {(FAILED, 2)}
    gc.collect()


def test_an_object_that_can_never_be_stored_does_not_hold_up_the_others(
    tmp_path: Path, slices: list[Path], shared: Path
) -> None:
    [seg] = (shared / "dicom" / "seg_ct3_liver" / "seg").iterdir()
    with closing(Desk(tmp_path, [seg, slices[0]])) as desk:
        assert [(one.state, one.code) for one in desk.deliver()] == [(FAILED, "peer-cannot-store"), (SENT, "")]


def test_a_destination_that_was_taken_out_of_the_settings_is_said(tmp_path: Path, slices: list[Path]) -> None:
    with closing(Desk(tmp_path, slices)) as desk:
        gone = Settings(accept=desk.settings.accept)
        desk.courier = Courier(gone, desk.inbox, desk.queue, lambda *_, **__: None)
        assert {(one.state, one.code) for one in desk.deliver()} == {(FAILED, "bad-settings")}


def test_an_archive_that_commits_ends_the_delivery(tmp_path: Path, slices: list[Path]) -> None:
    with closing(Desk(tmp_path, slices, commitment=True)) as desk:
        assert [one.state for one in desk.deliver()] == [COMMITTING, COMMITTING]
        [request] = desk.ear.asked
        uids = [kind_of(path)[2] for path in slices]
        assert [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence] == uids
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        report.ReferencedSOPSequence = [request.ReferencedSOPSequence[0]]
        report.FailedSOPSequence = [request.ReferencedSOPSequence[1]]
        desk.courier.reported(report)
        assert [(one.state, one.code) for one in desk.queue.deliveries(1)] == [(SENT, ""), (WAITING, "not-committed")]
        desk.courier.reported(report)  # once more, or of another node: it changes nothing
        assert [one.attempts for one in desk.queue.deliveries(1)] == [0, 1]


def test_an_archive_that_says_nothing_is_asked_again(tmp_path: Path, slices: list[Path]) -> None:
    with closing(Desk(tmp_path, slices, commitment=True)) as desk:
        desk.deliver()
        late = desk.deliver(after_s=301.0)
        assert {(one.state, one.code) for one in late} == {(WAITING, "not-committed")}


@pytest.mark.parametrize("retention_days", [None, 7.0])
def test_we_commit_only_to_what_we_hold_and_keep(desk: Desk, slices: list[Path], retention_days: float | None) -> None:
    held, other = (pydicom.dcmread(path) for path in slices)
    held_one = Received(
        study="s", series="s", instance=hashed(held.SOPInstanceUID), digest="d", calling="c"
    )  # fmt: skip
    desk.queue.receive(held_one, "study-1")
    request = Dataset()
    request.TransactionUID = "2.25.1"
    request.ReferencedSOPSequence = []
    for header in (held, other):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        request.ReferencedSOPSequence.append(item)
    settings = Settings(accept=desk.settings.accept, node=desk.settings.node, retention_days=retention_days)
    courier = Courier(settings, desk.inbox, desk.queue, lambda *_, **__: None)
    courier.asked(Peer(ae_title="MEDMTL", host="127.0.0.1", port=desk.ear.receiver.port), request)
    assert courier.answer_commitment()
    assert not courier.answer_commitment()
    [report] = desk.ear.asked
    lost = {item.ReferencedSOPInstanceUID: item.FailureReason for item in report.FailedSOPSequence}
    assert lost.pop(other.SOPInstanceUID) == NO_SUCH_OBJECT
    if retention_days is None:
        assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [held.SOPInstanceUID]
        assert lost == {}
    else:
        assert "ReferencedSOPSequence" not in report
        assert lost == {held.SOPInstanceUID: NOT_KEPT}


def test_what_is_removed_is_gone_and_nothing_else(tmp_path: Path) -> None:
    inbox = Inbox(root=tmp_path)
    inbox.prepare()
    images = [Received(study=s, series="x", instance="i", digest="d", calling="c") for s in ("a", "b")]
    for one in images:
        inbox.store(one, b"image")
    frozen = inbox.freeze(1, images[:1])
    inbox.store(images[0], b"another")
    assert [path.read_bytes() for path in frozen.iterdir()] == [b"image"]  # what a job reads does not change
    assert inbox.remove(["a"], [1, 2]) == 2
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["b"]
    assert list((tmp_path / "jobs").iterdir()) == []
