"""Routes of reviewing: a grant for each, limits on what is sent, and no reader signs for another."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.result import CaseResult
from medmtl_app.workspace import StudyState
from tests.medmtl_app.conftest import Answer, plant
from tests.medmtl_app.test_routes import Site, body

Ask = Callable[..., Answer]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "workspace")


@pytest.fixture
def grant(site: Site, answered: CaseResult, ask: Ask) -> str:
    """The grant of session one for an answered study."""
    study = site.workspace.add(site.workspace.new_upload(), title="heart")
    plant(site.workspace.folder(study.id), answered)
    site.workspace.change(study.id, {"state": StudyState.READY})
    return str(body(ask(site.app, "GET", f"/medmtl/studies/{study.id}", site.one))["grant"])


def folder_of(site: Site) -> Path:
    return site.workspace.folder(site.workspace.studies()[0].id)


def test_another_session_can_neither_draw_nor_save_nor_export(site: Site, grant: str, ask: Ask) -> None:
    calls = [("PUT", f"drawn/{grant}/lesions"), ("POST", f"islands/{grant}"), ("POST", f"reviews/{grant}"),
             ("GET", f"export/{grant}")]  # fmt: skip
    for verb, path in calls:
        answer = ask(site.app, verb, f"/medmtl/{path}", site.two, b"{}", "shape=1,1,1&least=0&formats=json")
        assert (answer.status, answer.body) == (404, b'{"error":"not-found"}')
    assert not (folder_of(site) / "drafts").exists()
    assert not (folder_of(site) / "reviews").exists()


@pytest.mark.parametrize("name", ["..%2f..%2fworklist", ".hidden", "a b", "a%2fb"])
def test_a_drawn_map_stays_where_drafts_lie(site: Site, grant: str, ask: Ask, name: str) -> None:
    assert ask(site.app, "PUT", f"/medmtl/drawn/{grant}/{name}", site.one, b"x").status == 404
    assert list(folder_of(site).rglob("*.raw.gz.partial")) == []
    assert not (folder_of(site) / "drafts").exists()


def test_a_drawn_map_has_a_limit(site: Site, grant: str, ask: Ask, answered: CaseResult) -> None:
    most = int(np.prod(answered.volume.array.shape)) + (1 << 16)
    path = f"/medmtl/drawn/{grant}/lesions"
    assert ask(site.app, "PUT", path, site.one, bytes(most)).status == 200
    assert ask(site.app, "PUT", path, site.one, bytes(most + 1)).status == 413


def test_islands_go_and_come_back_packed(site: Site, grant: str, ask: Ask) -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[0:3, 0:3, 0:2], mask[5, 4, 3] = 1, 1
    packed = gzip.compress(mask.tobytes(order="F"))
    answer = ask(site.app, "POST", f"/medmtl/islands/{grant}", site.one, packed, "shape=6,5,4&least=0")
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    kept = np.frombuffer(gzip.decompress(answer.body), np.uint8).reshape(mask.shape, order="F")
    assert (kept.sum(), kept[5, 4, 3]) == (18, 0)
    for query in (
        "shape=6,5&least=0",
        "shape=6,5,5&least=0",
        "shape=999,999,999&least=0",
        "least=0",
        "shape=6,5,4&least=-1",
    ):
        assert ask(site.app, "POST", f"/medmtl/islands/{grant}", site.one, packed, query).status == 400


@pytest.mark.parametrize("sent", [b"", b"[]", b"{", b'{"reader": "A"}', b"\xff"])
def test_what_is_no_review_is_refused(site: Site, grant: str, ask: Ask, sent: bytes) -> None:
    answer = ask(site.app, "POST", f"/medmtl/reviews/{grant}", site.one, sent)
    assert (answer.status, json.loads(answer.body)) == (400, {"error": "bad-option"})


def test_an_export_needs_formats_and_a_version_that_are_there(site: Site, grant: str, ask: Ask) -> None:
    path = f"/medmtl/export/{grant}"
    assert ask(site.app, "GET", path, site.one, b"", "formats=exe").status == 400
    assert ask(site.app, "GET", path, site.one, b"", "formats=").status == 400
    assert ask(site.app, "GET", path, site.one, b"", "formats=json&version=3").status == 404
    assert list(folder_of(site).glob(".export*")) == []


def test_who_signed_in_is_the_reader(site: Site, grant: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def job(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"lesions": 0}

    monkeypatch.setattr("medmtl_app.reviews.run_job", job)
    site.sessions.token("one", "Dr B")
    sent = json.dumps({"reader": "Dr A", "comment": "", "based_on": 0}).encode()
    assert body(ask(site.app, "POST", f"/medmtl/reviews/{grant}", site.one, sent)) == {"version": 1}
    assert [request["reader"] for request in asked] == ["Dr B"]
    assert site.workspace.studies()[0].state is StudyState.REVIEWED
