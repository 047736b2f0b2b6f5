"""The node's ear, spoken to by our own caller: what is let in, what is kept, and what a full disk answers."""

import gc
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medmtl.errors import Code, PeerError
from medmtl.pacs import dimse
from medmtl.pacs.inbox import Inbox, hashed
from medmtl.pacs.queue import Queue
from medmtl.pacs.receiver import Receiver
from medmtl.pacs.settings import Destination, Intake, Node, Peer, Settings, Tls

SYNTAXES = ("explicit_le", "implicit_le", "big_endian", "deflated", "jpeg_ls", "j2k", "jpeg_lossless", "rle")
INTAKE = Intake(peers=(Peer(ae_title="CT1", host="127.0.0.1"), Peer(ae_title="AWAY", host="127.0.0.2")), min_free_mb=1)


class Ear:
    """A receiver and what it said."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.inbox = Inbox(root=folder)
        self.inbox.prepare()
        self.queue = Queue(folder)
        self.stored: list[str] = []
        self.asked: list[Any] = []
        self.receiver = Receiver(
            settings, self.inbox, self.queue,
            stored=self.stored.append, committed=self.asked.append, asked=lambda peer, told: self.asked.append(told),
        )  # fmt: skip
        self.receiver.start()
        self.address = Destination(ae_title="MEDMTL", host="127.0.0.1", port=self.receiver.port)

    def files(self) -> list[Path]:
        return sorted(path for path in (self.inbox.root / "incoming").rglob("*") if path.is_file())

    def close(self) -> None:
        self.receiver.stop()
        self.queue.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Callable[..., Ear]]:
    opened: list[Ear] = []

    def start(intake: Intake = INTAKE, **node: Any) -> Ear:
        opened.append(Ear(tmp_path / str(len(opened)), Settings(accept=intake, node=Node(port=0, **node))))
        return opened[-1]

    yield start
    for one in opened:
        with closing(one):
            pass


@pytest.fixture
def slices(shared: Path) -> list[Path]:
    return sorted((shared / "dicom" / "hostile" / "control_ok").iterdir())


def test_echo_is_answered_to_peers_alone(ear: Callable[..., Ear]) -> None:
    there = ear()
    dimse.echo("CT1", there.address)
    for title, address in (
        ("STRANGER", there.address),
        ("AWAY", there.address),  # a known title from another address
        ("CT1", replace(there.address, ae_title="OTHER")),
    ):
        with pytest.raises(PeerError) as refusal:
            dimse.echo(title, address)
        assert refusal.value.code in (Code.PEER_UNREACHABLE, Code.PEER_REFUSED)
    assert there.files() == []


def test_every_encoding_is_kept_as_it_came(ear: Callable[..., Ear], shared: Path) -> None:
    there = ear()
    for syntax in SYNTAXES:
        files = sorted((shared / "dicom" / "transfer_syntax" / syntax).iterdir())
        outcome = dimse.store("CT1", there.address, files)
        assert set(outcome.values()) == {None}, syntax
        for path in files:
            sent = pydicom.dcmread(path)
            kept = pydicom.dcmread(there.inbox.file(hashed(sent.StudyInstanceUID), hashed(sent.SOPInstanceUID)))
            assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
            assert kept == sent


def test_names_on_disk_say_nothing(ear: Callable[..., Ear], slices: list[Path]) -> None:
    there = ear()
    dimse.store("CT1", there.address, slices)
    assert len(there.files()) == len(there.stored) == 8
    told = pydicom.dcmread(slices[0])
    for path in there.files():
        assert str(told.StudyInstanceUID) not in str(path)
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0


def test_the_same_image_again_changes_nothing(ear: Callable[..., Ear], slices: list[Path]) -> None:
    there = ear()
    for _ in range(2):
        dimse.store("CT1", there.address, slices)
    assert len(there.stored) == len(there.files()) == 8


def test_a_full_disk_answers_a700(ear: Callable[..., Ear], slices: list[Path]) -> None:
    there = ear(replace(INTAKE, min_free_mb=1 << 40))
    for error in dimse.store("CT1", there.address, slices[:2]).values():
        assert error is not None
        assert error.code is Code.PEER_REFUSED  # and so it is sent again later
        assert "0xA700" in error.what
    assert there.files() == []
    assert there.queue.images(hashed(str(pydicom.dcmread(slices[0]).StudyInstanceUID))) == ()


def fill_and_store(folder: str, *files: str) -> None:
    """Stores files on a disk with room for one or two; says what was answered and how many were kept."""
    there = Ear(Path(folder), Settings(accept=replace(INTAKE, min_free_mb=0), node=Node(port=0)))
    (there.inbox.root / "filler").write_bytes(bytes(there.inbox.free_bytes() - 8192))
    answers = dimse.store("CT1", there.address, [Path(name) for name in files])
    sys.stdout.write(json.dumps([[error.what for error in answers.values() if error], len(there.files())]))
    there.close()


def test_a_disk_that_fills_up_while_writing_answers_a700(tmp_path: Path, slices: list[Path], root: Path) -> None:
    """The disk is a file system of half a megabyte, mounted where nothing else sees it."""
    code = "import sys; from tests.medmtl.pacs.test_receiver import fill_and_store; fill_and_store(*sys.argv[1:])"
    mount = 'mount -t tmpfs -o size=512k tmpfs "$1" || exit 77; exec "$0" -c "$2" "$1" "${@:3}"'
    command = ["unshare", "-m", "bash", "-c", mount, sys.executable, str(tmp_path), code, *map(str, slices)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode in (1, 77) and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip("a small disk can only be mounted by root on Linux")
    assert done.returncode == 0, done.stderr
    refused, kept = json.loads(done.stdout)
    assert refused
    assert all("0xA700" in what for what in refused)
    assert kept == len(slices) - len(refused)


def test_an_object_over_the_limit_ends_its_association(
    ear: Callable[..., Ear], slices: list[Path], tmp_path: Path
) -> None:
    there = ear(replace(INTAKE, max_object_mb=1))
    large = pydicom.dcmread(slices[0])
    large.Rows = large.Columns = 1024
    large.PixelData = bytes(2 << 20)
    large.save_as(tmp_path / "large.dcm")
    outcome = dimse.store("CT1", there.address, [tmp_path / "large.dcm"])
    assert outcome[tmp_path / "large.dcm"] is not None
    assert there.files() == []
    assert dimse.store("CT1", there.address, slices[:1])[slices[0]] is None


def test_objects_that_are_never_answered_are_not_taken(ear: Callable[..., Ear], shared: Path) -> None:
    there = ear()
    [seg] = (shared / "dicom" / "seg_ct3_liver" / "seg").iterdir()
    with pytest.raises(PeerError):  # no presentation context was accepted, so there is no association
        dimse.store("CT1", there.address, [seg])
    image = next((shared / "dicom" / "seg_ct3_liver" / "ct").iterdir())
    outcome = dimse.store("CT1", there.address, [seg, image])
    assert outcome[image] is None
    refusal = outcome[seg]
    assert refusal is not None
    assert refusal.code is Code.PEER_CANNOT_STORE  # for ever, so it is not sent again
    assert len(there.files()) == 1


def test_a_header_that_lies_about_its_object_is_refused(
    ear: Callable[..., Ear], slices: list[Path], tmp_path: Path
) -> None:
    there = ear()
    lying = pydicom.dcmread(slices[0])
    lying.StudyInstanceUID = ""
    lying.save_as(tmp_path / "lying.dcm")
    error = dimse.store("CT1", there.address, [tmp_path / "lying.dcm"])[tmp_path / "lying.dcm"]
    assert error is not None
    assert error.code is Code.PEER_CANNOT_STORE
    assert there.files() == []


def test_planted_identities_are_in_no_log(
    ear: Callable[..., Ear], shared: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    planted = shared / "dicom" / "hostile" / "phi" / "phi.dcm"
    there = ear()
    assert dimse.store("CT1", there.address, [planted]) == {planted: None}
    there.receiver._settings = replace(there.receiver._settings, accept=replace(INTAKE, min_free_mb=1 << 40))
    assert dimse.store("CT1", there.address, [planted])[planted] is not None
    said = caplog.text + "".join(capfd.readouterr()) + "".join(there.stored)
    assert "0xA700" in said
    for text in ("PHI", "19990909", "1.2.826"):
        assert text not in said


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for 127.0.0.1 that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    done = subprocess.run(
        [*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("needs openssl to make a certificate")
    return Tls(certificate=folder / "cert.pem", key=folder / "key.pem", authority=folder / "cert.pem")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_is_spoken_both_ways(ear: Callable[..., Ear], slices: list[Path], certificates: Tls) -> None:
    there = ear(tls=certificates)
    outcome = dimse.store("CT1", replace(there.address, tls=certificates), slices)
    assert set(outcome.values()) == {None}
    without = (
        None,
        Tls(authority=certificates.authority),
        Tls(certificate=certificates.certificate, key=certificates.key),
    )
    for tls in without:  # no TLS, no certificate of ours, no trust in theirs
        with pytest.raises(PeerError):
            dimse.echo("CT1", replace(there.address, tls=tls))
    assert len(there.files()) == 8
    gc.collect()  # pynetdicom leaves the sockets of failed handshakes to it, with a warning
