"""Workspaces with studies whose answers are known, a running viewer and a headless browser."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, Notice
from medmtl.findings.calibration import Calibration
from medmtl.geometry.grid import Grid
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.model import load_model
from medmtl.pipeline.stored import Rules
from medmtl.result import CaseResult
from medmtl.volume import Volume
from tests.tiny import heart_volume, write_bundle

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_S = 60
MARKER_SHAPE, MARKER = (40, 36, 20), (25, 12, 11)
PAGE_MS = 60_000
UNVERIFIED = ssl._create_unverified_context()  # certificates of tests are their own


def affine(kind: str) -> Any:
    """Voxel index to LPS mm of a series: axial, sagittal, oblique, or axial with a tilted gantry (shear)."""
    steps = {
        "axial": np.diag([1.5, 1.5, 3.0]),
        "sagittal": np.array([[0.0, 0.0, 4.0], [1.2, 0.0, 0.0], [0.0, -1.2, 0.0]]),
        "sheared": np.array([[1.5, 0.0, 0.0], [0.0, 1.5, 0.8], [0.0, 0.0, 3.0]]),
    }
    if kind == "oblique":
        a, b = np.radians(25), np.radians(-30)
        about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
        steps["oblique"] = about_z @ about_x @ np.diag([1.5, 1.5, 3.0])
    found = np.eye(4)
    found[:3, :3] = steps[kind]
    found[:3, 3] = (-40.0, 12.5, 77.0)
    return found


def marked_volume(kind: str, shape: tuple[int, int, int], marker: tuple[int, int, int]) -> Volume:
    """Black but for a bright voxel, and half-bright corners that span the whole grid."""
    array = np.zeros(shape, dtype=np.int16)
    array[0, 0, 0] = array[-1, -1, -1] = 400
    array[marker] = 1000
    return Volume(array=array, grid=Grid(shape=shape, affine=affine(kind)), modality="MR", content_hash="ab" * 32)


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory) -> CaseResult:
    """A heart phantom as an untrained network answers it."""
    bundle = write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    notice = Notice(code=Code.SLICES_UNVERIFIED, text="Whether slices are missing cannot be seen.")
    request = Request(keep_probabilities=True, notices=(notice,))
    return diagnose("heart", (heart_volume(),), load_model(bundle, "cpu"), request)


def plant(folder: Path, result: CaseResult) -> None:
    """Leaves a result in a study's folder as its job would."""
    from medmtl_app.display import write_view
    from medmtl_app.stored_study import write_rules

    rules = Rules(
        tasks=result.tasks, slice_axis=2, planned_stack=True, minimum_lesion_ml=0.5, calibration=Calibration()
    )  # fmt: skip
    write_case(result, folder / "result", frozenset({"nii", "json", "prob"}))
    write_rules(folder, rules, result.channels, ("image",))
    write_view(folder / "view", result.volume, result)


@dataclass(frozen=True)
class Answer:
    """What a route answered."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def ask() -> Callable[..., Answer]:
    """Sends a request to an ASGI app without a server."""

    def send(app: Any, method: str, path: str, token: str = "", body: bytes = b"", query: str = "") -> Answer:
        return asyncio.run(_send(app, method, path, {"x-medmtl-token": token}, body, query))

    return send


async def _send(app: Any, method: str, path: str, headers: dict[str, str], body: bytes, query: str) -> Answer:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    pieces = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Answer(start["status"], {k.decode().lower(): v.decode() for k, v in start["headers"]}, content)


@dataclass(frozen=True)
class Viewer:
    """A running viewer."""

    url: str
    workspace: Path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a screen; its event loop must not outlast the tests that need it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield found
        found.close()


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """`medmtl app` on a free port, with one model and studies that hold a marker."""
    from medmtl_app.display import describe, write_view
    from medmtl_app.workspace import StudyState, Workspace

    root = tmp_path_factory.mktemp("viewer")
    write_bundle(root / "models" / "tiny", synthetic=False)
    kept = Workspace(root / "workspace")
    for kind in ("axial", "sagittal", "oblique", "sheared"):
        study = kept.add(kept.new_upload(), title=f"marker {kind}")
        volume = marked_volume(kind, MARKER_SHAPE, MARKER)
        write_view(kept.folder(study.id) / "view", volume, None)
        summary = describe(volume, None)
        kept.change(study.id, {"state": StudyState.BLOCKED, "message": "planted", "summary": summary})
    kept.close()
    with serving(root / "workspace", root / "models") as url:
        yield Viewer(url, root / "workspace")


@contextmanager
def serving(workspace: Path, models: Path, port: int = 0, *options: str) -> Iterator[str]:
    """The address of `medmtl app` on a free port, until the block ends; it runs in the workspace's parent."""
    port = port or free_port()
    command = [sys.executable, "-m", "medmtl.cli.main", "app", "--no-browser", "--port", str(port), *options]
    env = {**os.environ, "MEDMTL_MODELS": str(models), "OMP_NUM_THREADS": "1"}
    log = workspace.parent / "server.log"
    with log.open("w") as sink:
        command += ["--workspace", str(workspace)]
        process = subprocess.Popen(
            command, env=env, stdout=sink, stderr=sink, start_new_session=True, cwd=workspace.parent
        )
    address = f"https://localhost:{port}" if "--tls-key" in options else f"http://127.0.0.1:{port}"
    try:
        _await_server(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(START_S)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    pause = threading.Event()
    for _ in range(START_S * 5):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", context=UNVERIFIED) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pause.wait(0.2)
    pytest.fail("the viewer did not start:\n" + log.read_text())
