"""The viewer beside a PACS: a study comes from it, and what was found goes back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medmtl.errors import MedmtlError, UsageError
from medmtl.pacs.exchange import DimseArchive
from medmtl.pacs.settings import Node
from medmtl_app.jobs import Jobs
from medmtl_app.pacs_job import names
from medmtl_app.routes import Api
from medmtl_app.sessions import Sessions
from medmtl_app.workspace import Workspace
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.medmtl.pacs.conftest import DICOM_PORT, Orthanc, orthanc  # noqa: F401 - a fixture
from tests.medmtl_app.conftest import PAGE_MS, serving
from tests.tiny import heart_volume, write_bundle

NODE = f"ORTHANC@127.0.0.1:{DICOM_PORT}"
SETTINGS = """
accept: {peers: [{ae_title: ANY}]}
destinations: {archive: {ae_title: ORTHANC, host: 127.0.0.1, port: 4242}, cloud: {url: "https://pacs.example/dicom-web"}}
rules: []
"""


def test_nodes_are_named_on_the_command_line_or_in_the_settings(tmp_path: Path) -> None:
    assert names({"pacs": NODE}) == {"names": [NODE]}
    settings = tmp_path / "listen.yaml"
    settings.write_text(SETTINGS)
    assert names({"pacs": str(settings)}) == {"names": ["archive", "cloud"]}
    with pytest.raises(UsageError):
        names({"pacs": "nobody"})


@dataclass
class Site:
    """A workspace's routes with a session that is signed on."""

    app: Any
    token: str


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    from starlette.applications import Starlette

    kept = Workspace(tmp_path / "workspace")
    sessions = Sessions(lambda _: True)
    api = Api(kept, Jobs(kept), sessions, NODE)
    yield Site(Starlette(routes=list(api.routes())), sessions.token("one"))
    kept.close()


def test_what_a_session_did_not_find_it_cannot_fetch(site: Site, ask: Any) -> None:
    def post(path: str, body: Any) -> int:
        return int(ask(site.app, "POST", path, site.token, json.dumps(body).encode()).status)

    assert json.loads(ask(site.app, "GET", "/medmtl/worklist", site.token).body)["pacs"] == [NODE]
    assert post("/medmtl/pacs/fetch", {"key": "0" * 32}) == 404
    assert post("/medmtl/pacs/find", {"node": "OTHER@127.0.0.1:1", "accession": "1"}) == 404
    assert post("/medmtl/pacs/find", {"node": NODE}) == 400
    assert ask(site.app, "POST", "/medmtl/pacs/find", "", b"{}").status == 404


def test_a_node_that_is_no_node_is_refused_at_the_start(tmp_path: Path) -> None:
    kept = Workspace(tmp_path / "workspace")
    with pytest.raises(MedmtlError):
        Api(kept, Jobs(kept), Sessions(lambda _: True), "nobody")
    kept.close()


@pytest.mark.slow
def test_from_the_pacs_and_back(orthanc: Orthanc, browser: Any, tmp_path: Path) -> None:  # noqa: F811
    """Found by its accession number, fetched, answered, and SEG and SR sent into the same study."""
    orthanc.empty()
    text = StudyText(study="pacs", description="heart phantom", body_part="HEART")
    folder = write_dicom_study(tmp_path / "study", heart_volume(), text)
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.AccessionNumber = "A-77"
        image.save_as(path)
    sent = DimseArchive(orthanc.dimse, Node(), move=False).send(sorted(folder.iterdir()))
    assert set(sent.values()) == {None}
    write_bundle(tmp_path / "models" / "tiny", synthetic=False)
    with serving(tmp_path / "workspace", tmp_path / "models", 0, "--pacs", NODE) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 720}, locale="en-GB")
        page.set_default_timeout(PAGE_MS)
        page.goto(url)
        page.get_by_test_id("from-pacs").click()
        page.get_by_test_id("pacs-accession").fill("A-78")
        page.get_by_test_id("pacs-search").click()
        page.get_by_text("lists no such").wait_for()
        page.get_by_test_id("pacs-accession").fill("A-77")
        page.get_by_test_id("pacs-search").click()
        page.get_by_test_id("pacs-fetch").click()
        page.get_by_test_id("lesion-1").wait_for()
        page.get_by_test_id("export").click()
        page.get_by_test_id("pacs-send").click()
        page.get_by_text("took 2 of 2 objects").wait_for()
        page.close()
    [study] = orthanc.ask("/studies")
    series = [orthanc.ask(f"/series/{one}") for one in orthanc.ask(f"/studies/{study}")["Series"]]
    found = {one["MainDicomTags"]["Modality"] for one in series}
    assert found == {"MR", "SEG", "SR"}
