"""Routes: nothing without a token, nothing of another session, nothing outside the workspace."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from medmtl_app.display import write_view
from medmtl_app.jobs import Jobs
from medmtl_app.routes import Api
from medmtl_app.sessions import Sessions
from medmtl_app.workspace import StudyState, Workspace
from tests.medmtl_app.conftest import Answer, marked_volume

Ask = Callable[..., Answer]


class Site:
    """An app without a server, and two sessions."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.alive = {"one", "two"}
        self.sessions = Sessions(self.alive.__contains__)
        self.api = Api(self.workspace, Jobs(self.workspace), self.sessions)
        self.app = Starlette(routes=self.api.routes())
        self.one, self.two = self.sessions.token("one"), self.sessions.token("two")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "workspace")


@pytest.fixture
def study(site: Site) -> str:
    added = site.workspace.add(site.workspace.new_upload(), title="planted")
    write_view(site.workspace.folder(added.id) / "view", marked_volume("axial", (8, 7, 6), (1, 2, 3)), None)
    site.workspace.change(added.id, {"state": StudyState.BLOCKED})
    return added.id


def body(answer: Answer) -> Any:
    assert answer.status == 200
    return json.loads(answer.body)


def guarded(api: Api) -> list[tuple[str, str]]:
    found = []
    for route in api.routes():
        if "/ui/" not in route.path:
            path = route.path.replace("{study}", "x").replace("{grant}", "x").replace("{upload}", "x")
            found += [(verb, path.replace("{name}", "volume.raw")) for verb in route.methods or () if verb != "HEAD"]
    return found


def test_nothing_is_answered_without_a_token(site: Site, ask: Ask) -> None:
    calls = guarded(site.api)
    assert len(calls) >= 13
    for verb, path in calls:
        for token in ("", "guess"):
            answer = ask(site.app, verb, path, token)
            assert (answer.status, answer.body) == (404, b'{"error":"not-found"}')
    assert list(site.workspace.root.glob("uploads/*")) == []


def test_a_session_gets_the_voxels_of_what_it_opened(site: Site, study: str, ask: Ask) -> None:
    opened = body(ask(site.app, "GET", f"/medmtl/studies/{study}", site.one))
    answer = ask(site.app, "GET", f"/medmtl/voxels/{opened['grant']}/volume.raw", site.one)
    assert (answer.status, len(answer.body)) == (200, 8 * 7 * 6 * 2)
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-encoding"] == "identity"


def test_another_session_cannot_fetch_a_volume(site: Site, study: str, ask: Ask) -> None:
    grant = body(ask(site.app, "GET", f"/medmtl/studies/{study}", site.one))["grant"]
    path = f"/medmtl/voxels/{grant}/volume.raw"
    assert ask(site.app, "GET", path, site.two).status == 404
    own = body(ask(site.app, "GET", f"/medmtl/studies/{study}", site.two))["grant"]
    assert own != grant
    assert ask(site.app, "GET", path, site.two).status == 404
    site.alive.remove("one")
    assert ask(site.app, "GET", path, site.one).status == 404


def test_voxels_are_files_of_the_view_alone(site: Site, study: str, ask: Ask) -> None:
    grant = body(ask(site.app, "GET", f"/medmtl/studies/{study}", site.one))["grant"]
    for name in ("view.json", "..%2fjob.log", "../../../worklist.sqlite", "nothing.raw"):
        assert ask(site.app, "GET", f"/medmtl/voxels/{grant}/{name}", site.one).status == 404
    assert ask(site.app, "GET", f"/medmtl/export/{grant}", site.one).status == 404  # no answers to export


def test_an_upload_is_written_as_it_comes_and_waits(site: Site, ask: Ask) -> None:
    upload = body(ask(site.app, "POST", "/medmtl/uploads", site.one))["upload"]
    path = f"/medmtl/uploads/{upload}/files"
    body(ask(site.app, "PUT", path, site.one, b"first file", "path=a/IM1"))
    body(ask(site.app, "PUT", path, site.one, b"second", "path=../../a/IM1"))
    assert ask(site.app, "PUT", path, site.two, b"foreign", "path=b").status == 404
    study = body(ask(site.app, "POST", f"/medmtl/uploads/{upload}/finish", site.one))["study"]
    folder = site.workspace.upload_folder(upload)
    held = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert held == {"a/IM1": b"first file", "a/2-IM1": b"second"}
    assert site.workspace.study(study).state is StudyState.WAITING
    assert ask(site.app, "PUT", path, site.one, b"late", "path=c").status == 404


def test_an_upload_has_a_limit(site: Site, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmtl_app.uploads.MAX_BYTES", 10)
    upload = body(ask(site.app, "POST", "/medmtl/uploads", site.one))["upload"]
    answer = ask(site.app, "PUT", f"/medmtl/uploads/{upload}/files", site.one, b"x" * 11, "path=big")
    assert (answer.status, json.loads(answer.body)) == (413, {"error": "too-large"})
    assert [p for p in site.workspace.upload_folder(upload).rglob("*") if p.is_file()] == []


def test_a_study_is_run_again_only_with_a_model_that_is_there(site: Site, study: str, ask: Ask) -> None:
    path = f"/medmtl/studies/{study}/run"
    assert ask(site.app, "POST", path, site.one, b'{"model": "../../evil"}').status == 400
    assert ask(site.app, "POST", path, site.one, b"[1]").status == 200
    assert site.workspace.study(study).state is StudyState.WAITING
    assert ask(site.app, "POST", path, site.one, b"{}").status == 409


def test_the_sample_comes_once(site: Site, ask: Ask) -> None:
    first = body(ask(site.app, "POST", "/medmtl/sample", site.one))["study"]
    assert body(ask(site.app, "POST", "/medmtl/sample", site.two))["study"] == first
    [row] = body(ask(site.app, "GET", "/medmtl/worklist", site.one))["studies"]
    assert (row["id"], row["sample"], row["state"]) == (first, True, "waiting")
    assert ask(site.app, "DELETE", f"/medmtl/studies/{first}", site.one).status == 200
    assert site.workspace.studies() == ()


def test_the_page_gets_its_own_code_and_nothing_beside_it(site: Site, ask: Ask) -> None:
    answer = ask(site.app, "GET", "/medmtl/ui/app.js")
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/javascript")
    for name in ("strings.json", "..%2fserver.py", "../server.py"):
        assert ask(site.app, "GET", f"/medmtl/ui/{name}").status == 404
