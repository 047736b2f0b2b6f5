"""A real Orthanc on a loopback of its own, a node of ours beside it, and studies to exchange."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
import yaml

from medmtl.bundle.bundle import Bundle
from medmtl.pacs.settings import Destination
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.model import load_model
from medmtl.reading.any_volume import discover, read_case
from medmtl.result import CaseResult
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.tiny import heart_volume, write_bundle

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
DICOM_PORT, HTTP_PORT, OUR_PORT = 14242, 18042, 11112
CLONE_NEWNET = 0x40000000
START_S, PATIENCE_S = 60.0, 240.0


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of untrained weights: what it finds is nonsense, and always the same."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A heart phantom of six MR slices as a DICOM study."""
    return make_study(tmp_path_factory.mktemp("study"), "pacs", seed=1)


def make_study(folder: Path, name: str, *, seed: int) -> Path:
    """A further study, of another patient as it were."""
    text = StudyText(study=name, description="LGE short axis", body_part="")
    return write_dicom_study(folder, heart_volume(seed), text)


@pytest.fixture(scope="session")
def answered(study: Path, bundle: Bundle) -> CaseResult:
    """The study as the untrained model answers it."""
    [case] = discover(study)
    return diagnose(case.name, read_case(case), load_model(bundle, "cpu"), Request())


@contextmanager
def own_loopback() -> Iterator[None]:
    """This thread and what it starts see a loopback that nothing else sees: Orthanc 1.10 listens on all addresses."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            pytest.skip("Orthanc cannot be kept off the network here: that needs root on Linux")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


@dataclass
class Orthanc:
    """A running Orthanc."""

    root: str = f"http://127.0.0.1:{HTTP_PORT}"
    dimse: Destination = field(
        default_factory=lambda: Destination(ae_title="ORTHANC", host="127.0.0.1", port=DICOM_PORT)
    )

    @property
    def web(self) -> Destination:
        return Destination(url=f"{self.root}/dicom-web")

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """What its REST interface answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.root}{path}", data=data, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as reply:
            text = reply.read()
            return json.loads(text) if text else None

    def counts(self) -> dict[str, int]:
        """Instances by modality, from QIDO-RS."""
        found: dict[str, int] = {}
        for row in self.ask("/dicom-web/series?includefield=00201209") or []:
            modality = row["00080060"]["Value"][0]
            found[modality] = found.get(modality, 0) + int(row["00201209"]["Value"][0])
        return found

    def files(self, modality: str, folder: Path) -> list[Path]:
        """The objects of a modality, fetched as they are."""
        kept = []
        for instance in self.ask("/instances"):
            if self.ask(f"/instances/{instance}/simplified-tags")["Modality"] != modality:
                continue
            with urllib.request.urlopen(f"{self.root}/instances/{instance}/file", timeout=60) as reply:
                path = folder / f"{instance}.dcm"
                path.write_bytes(reply.read())
                kept.append(path)
        return kept

    def empty(self) -> None:
        """Removes every patient."""
        for patient in self.ask("/patients"):
            self.ask(f"/patients/{patient}", method="DELETE")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with DICOMweb and storage commitment."""
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("needs Orthanc with DICOMweb (apt packages orthanc, orthanc-dicomweb)")
    folder = tmp_path_factory.mktemp("orthanc")
    settings = {
        "Name": "test", "StorageDirectory": "db", "IndexDirectory": "db", "Plugins": [str(PLUGIN)],
        "HttpPort": HTTP_PORT, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC", "DicomPort": DICOM_PORT, "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True, "OverwriteInstances": True, "SynchronousCMove": True,
        "DicomModalities": {"medmtl": ["MEDMTL", "127.0.0.1", OUR_PORT]},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with own_loopback(), (folder / "log").open("w") as log:
        process = subprocess.Popen(["Orthanc", "orthanc.json"], cwd=folder, stdout=log, stderr=log)
        try:
            wait_for_port(HTTP_PORT, process)
            wait_for_port(DICOM_PORT, process)
            yield Orthanc()
        finally:
            process.terminate()
            process.wait(START_S)


@pytest.fixture
def empty_orthanc(orthanc: Orthanc) -> Orthanc:
    orthanc.empty()
    return orthanc


def wait_for_port(port: int, process: "subprocess.Popen[Any]") -> None:
    """Until a connection is taken."""
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            os.sched_yield()


@dataclass
class OurNode:
    """`medmtl listen` as a process."""

    process: "subprocess.Popen[str]"
    events: list[dict[str, Any]] = field(default_factory=list)

    def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """Reads what the node says until it has said `event` so many times more."""
        while True:
            line = self.process.stdout.readline() if self.process.stdout else ""
            assert line, f"the node ended before it said {event}: {self.events}"
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                count -= 1
                if count == 0:
                    return self.events[-1]

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait(START_S)


def settings_for(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """Settings of a node that answers everything at once and stores the results in Orthanc."""
    rule = {"name": "hearts", "modality": "MR", "model": str(bundle.folder), "send_to": ["pacs"]}
    return {
        "node": {"ae_title": "MEDMTL", "port": OUR_PORT},
        "accept": {"peers": [{"ae_title": "ORTHANC", "host": "127.0.0.1", "port": DICOM_PORT}], "quiet_s": 0.3,
                   "min_free_mb": 1},
        "destinations": {"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": DICOM_PORT}},
        "delivery": {"first_s": 0.2},
        "rules": [rule],
        "device": "cpu",
        **changes,
    }  # fmt: skip


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], OurNode]]:
    """Starts nodes in one workspace; they end with the test."""
    started: list[OurNode] = []
    watchdogs: list[threading.Timer] = []

    def start(settings: dict[str, Any]) -> OurNode:
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "medmtl.cli.main", "listen", "-s", str(path), "--json", "--debug"]
        command += ["--workspace", str(tmp_path / "workspace")]
        with (tmp_path / "node.log").open("a") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        node = OurNode(process)
        started.append(node)
        watchdog = threading.Timer(PATIENCE_S, process.kill)  # a node that hangs fails the test that waits for it
        watchdog.daemon = True
        watchdog.start()
        watchdogs.append(watchdog)
        node.until("listening")
        return node

    yield start
    for watchdog in watchdogs:
        watchdog.cancel()
    for node in started:
        if node.process.poll() is None:
            node.process.send_signal(signal.SIGTERM)
            assert node.process.wait(START_S) == 0
        if node.process.stdout is not None:
            node.process.stdout.close()


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
