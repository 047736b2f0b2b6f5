"""Results pushed to a real PACS and studies pulled from it, by DIMSE and by DICOMweb."""

import gc
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner, Result

from medmtl.cli.main import medmtl
from medmtl.errors import PeerError
from medmtl.outputs.write_case import write_case
from medmtl.pacs import dimse, web
from medmtl.pacs.settings import Destination
from medmtl.result import CaseResult
from tests.medmtl.pacs.conftest import OUR_PORT, Orthanc, uid_of

DIMSE = "ORTHANC@127.0.0.1:14242"
WEB = "http://127.0.0.1:18042/dicom-web"
Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    return lambda *arguments: CliRunner().invoke(medmtl, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def results(answered: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    write_case(answered, out, frozenset({"seg", "sr", "rtstruct", "sc", "pdf", "json"}))
    return out


@pytest.mark.parametrize("node", [DIMSE, WEB])
def test_results_are_pushed_and_equal(
    empty_orthanc: Orthanc, call: Call, results: Path, node: str, tmp_path: Path
) -> None:
    done = call("push", results, node)
    assert done.exit_code == 0, done.output
    captures = len(list(results.rglob("sc/*.dcm")))
    assert empty_orthanc.counts() == {"SEG": 1, "SR": 1, "RTSTRUCT": 1, "OT": captures, "DOC": 1}
    written = {uid_of(path): path for path in results.rglob("*.dcm")}
    for modality in ("SEG", "SR", "RTSTRUCT", "OT", "DOC"):
        for fetched in empty_orthanc.files(modality, tmp_path):
            assert pydicom.dcmread(fetched) == pydicom.dcmread(written[uid_of(fetched)])


def test_images_are_not_pushed_by_mistake(empty_orthanc: Orthanc, call: Call, study: Path) -> None:
    assert call("push", study, DIMSE).exit_code == 2
    assert empty_orthanc.counts() == {}
    assert call("push", study, DIMSE, "--all").exit_code == 0
    assert empty_orthanc.counts() == {"MR": 6}


@pytest.mark.parametrize("how", [(DIMSE,), (DIMSE, "--move", "--port", str(OUR_PORT)), (WEB,)])
def test_studies_are_pulled_and_equal(
    empty_orthanc: Orthanc, call: Call, study: Path, results: Path, how: tuple[str, ...], tmp_path: Path
) -> None:
    for folder in (study, results):
        dimse.store("SENDER", empty_orthanc.dimse, sorted(folder.rglob("*.dcm")))
    uid = str(pydicom.dcmread(next(study.iterdir())).StudyInstanceUID)
    listed = call("pull", *how, "--study", uid, "--list")
    assert "MR  6 images" in listed.output
    assert "SEG" not in listed.output
    done = call("pull", *how, "--study", uid, "-o", tmp_path / "pulled")
    assert done.exit_code == 0, done.output
    assert uid not in done.output
    pulled = {uid_of(path): path for path in (tmp_path / "pulled").rglob("*.dcm")}
    assert len(pulled) == 6
    for path in study.iterdir():
        assert pydicom.dcmread(pulled[uid_of(path)]) == pydicom.dcmread(path)
    assert not [path for path in pulled.values() if uid in str(path)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_not_there_is_said_in_a_line(orthanc: Orthanc, call: Call, tmp_path: Path) -> None:
    for node in (DIMSE, WEB):
        done = call("pull", node, "--study", "1.2.3.4.5.99", "-o", tmp_path)
        assert done.exit_code == 2
        assert done.stderr.startswith("empty-input pull: ")
        assert "1.2.3.4.5.99" not in done.output
    for node in ("ORTHANC@127.0.0.1:9", "http://127.0.0.1:9/dicom-web"):
        done = call("pull", node, "--study", "1.2.3.4.5.99", "-o", tmp_path)
        assert done.stderr.startswith("peer-unreachable pull: ")
        assert len(done.stderr.splitlines()) == 1
        assert "1.2.3.4.5.99" not in done.output
    assert call("pull", "nowhere", "--study", "1").stderr.startswith("bad-option pull: ")
    assert call("pull", DIMSE, "-o", tmp_path).stderr.startswith("bad-option pull: nothing says which study")
    gc.collect()  # pynetdicom leaves the sockets of refused connections to it, with a warning


class Liar(BaseHTTPRequestHandler):
    """Takes everything, says yes, and stores nothing, as some servers do with objects they cannot read."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0)) if self.headers.get("Content-Length") else None
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.end_headers()
        self.wfile.write(b"{}")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


def test_a_yes_without_the_object_is_no(results: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        files = sorted(results.rglob("s[er]*.dcm"))
        outcome = web.store(Destination(url=f"http://127.0.0.1:{server.server_port}/dicom-web"), files)
    except PeerError as error:
        outcome = dict.fromkeys(files, error)
    finally:
        server.shutdown()
        server.server_close()
    assert len(outcome) == 2
    assert all(error is not None for error in outcome.values())
