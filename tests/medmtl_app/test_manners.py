"""Manners of the page: from 1280 x 720 to 4K, contrast (WCAG 2.2 AA), the keyboard, several readers at once."""

import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult
from medmtl_app.display import describe, write_view
from medmtl_app.workspace import StudyState, Workspace
from sample_data.dicom_study import StudyText, write_dicom_study
from sample_data.phantoms import phantom
from tests.medmtl_app.conftest import PAGE_MS, Viewer, marked_volume, serving
from tests.tiny import HEART_SPACING, write_bundle

READERS = 5
PROBES = Path(__file__).with_name("probes.js").read_text().split("\n", 1)[1].strip()
SIZES = [(1280, 720), (1440, 900), (3840, 2160)]


@pytest.fixture(scope="module")
def viewer(answered: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer with an answered study, one that no model fits, and one that failed."""
    root = tmp_path_factory.mktemp("manners")
    write_bundle(root / "models" / "tiny", synthetic=False)
    kept = Workspace(root / "workspace")
    study = kept.add(kept.new_upload(), title="heart")
    write_case(answered, kept.folder(study.id) / "result", frozenset({"nii", "json", "prob"}))
    write_view(kept.folder(study.id) / "view", answered.volume, answered)
    summary = describe(answered.volume, answered.findings)
    kept.change(study.id, {"state": StudyState.READY, "summary": summary, "started": 10.0, "finished": 14.0})
    other = kept.add(kept.new_upload(), title="plain")
    volume = marked_volume("axial", (24, 20, 12), (3, 4, 5))
    write_view(kept.folder(other.id) / "view", volume, None)
    about = {"state": StudyState.BLOCKED, "message": "no model reads such a study", "summary": describe(volume, None)}
    kept.change(other.id, about)
    failed = kept.add(kept.new_upload(), title="broken")
    kept.change(failed.id, {"state": StudyState.FAILED, "code": "missing-slices", "message": "two slices are missing"})
    kept.close()
    with serving(root / "workspace", root / "models") as url:
        yield Viewer(url, root / "workspace")


def visit(browser: Any, viewer: Viewer, size: tuple[int, int] = SIZES[0], locale: str = "en-GB") -> Any:
    """A page of its own session with the answered study open."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, locale=locale)
    page.set_default_timeout(PAGE_MS)
    page.goto(viewer.url)
    page.locator("[data-surface]").wait_for()
    return page


def probe(page: Any, name: str) -> Any:
    """What one of the probes finds in the page."""
    return page.evaluate(f"{PROBES}.{name}()")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_everything_has_its_place(browser: Any, viewer: Viewer, size: tuple[int, int], locale: str) -> None:
    page = visit(browser, viewer, size, locale)
    found = probe(page, "overflow")
    assert found["wrong"] == []
    assert found["text"] >= 13 * size[1] / 1440  # it grows with the screen
    page.close()


def test_text_has_the_contrast_of_wcag_aa(browser: Any, viewer: Viewer) -> None:
    page = visit(browser, viewer)
    found = probe(page, "contrast")
    assert found["count"] > 40
    assert found["low"] == []
    page.get_by_test_id("eye-myocardium").click()
    page.keyboard.press("?")
    assert probe(page, "contrast")["low"] == []
    page.keyboard.press("Escape")
    for title in ("plain", "broken"):
        page.locator(".row", has_text=title).click()
        page.locator('.row[aria-current="true"]', has_text=title).wait_for()
        assert probe(page, "contrast")["low"] == []
    page.close()


def test_every_control_is_reached_by_the_keyboard_and_has_a_name(browser: Any, viewer: Viewer) -> None:
    page = visit(browser, viewer)
    page.get_by_test_id("structure-myocardium").get_by_role("button").last.click()  # its settings, too
    reached: set[int] = set()
    pane = page.locator("canvas").first
    pane.focus()
    count = int(probe(page, "held")["count"])
    for _ in range(2 * count + 20):
        page.keyboard.press("Tab")
        at = probe(page, "held")
        if at["place"] < 0:
            continue
        assert at["seen"], f"focus is not seen on {at['tag']}"
        assert at["name"], f"no name: {at['tag']}"
        reached.add(at["place"])
        if len(reached) == count:
            break
    assert reached == set(range(count))
    page.close()


def test_all_shortcuts_are_listed(browser: Any, viewer: Viewer) -> None:
    page = visit(browser, viewer)
    page.keyboard.press("?")
    listed = page.locator("dialog.all-keys dt").all_inner_texts()
    keys = Path(__file__).resolve().parents[2] / "app" / "medmtl_app" / "component" / "keys.js"
    rows = re.findall(r"^  \{ name: \"\w+\", shown: \[(.+?)\], keys", keys.read_text(), re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        shown = "".join(json.loads(f"[{row}]"))
        assert any("".join(shown.split()) == "".join(text.split()) for text in listed), row
    page.close()


@pytest.mark.slow
def test_five_readers_at_once_do_not_mix(browser: Any, viewer: Viewer, tmp_path: Path) -> None:
    """Each uploads a study of its own size; each gets its own, and cannot fetch another's."""
    pages, shapes, urls = [], [], []
    for n in range(READERS):
        made = phantom("hearts", seed=n, lesion=True, shape=(32 + 2 * n, 32, 6), spacing=HEART_SPACING)
        volume = made.volume()
        source = write_dicom_study(
            tmp_path / f"reader-{n}.zip", volume, StudyText(study=f"r{n}", description=f"reader {n}", body_part="HEART")
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720}, locale="en-GB")
        page.set_default_timeout(10 * PAGE_MS)
        page.goto(viewer.url)
        page.get_by_test_id("medmtl").wait_for()
        asked: list[Any] = []
        page.on("request", lambda sent, asked=asked: asked.append(sent) if "volume.raw" in sent.url else None)
        with page.expect_response(lambda answer: answer.url.endswith("/finish")) as finished:
            page.get_by_test_id("file-input").set_input_files(source)
        pages.append((page, asked, finished.value.json()["study"]))
        shapes.append(volume.grid.shape)
    for n, (page, asked, study) in enumerate(pages):
        page.locator(f'[data-ready="{study}"]').wait_for()
        sent = asked[-1]
        urls.append((sent.url, sent.headers["x-medmtl-token"]))
        assert len(fetched(*urls[n])) == 2 * int(np.prod(shapes[n])), f"reader {n} holds another's volume"
    for n in range(READERS):
        for m in range(READERS):
            if n != m:
                assert fetched(urls[n][0], urls[m][1]) == b""
    for page, _, _ in pages:
        page.close()


def test_small_answers_come_at_once(viewer: Viewer) -> None:
    """On a connection that is kept: with Nagle's algorithm each waits 40 ms for a delayed acknowledgement."""
    connection = http.client.HTTPConnection(viewer.url.removeprefix("http://"))
    took = []
    for _ in range(31):
        begun = time.monotonic()
        connection.request("GET", "/medmtl/worklist")
        connection.getresponse().read()
        took.append(time.monotonic() - begun)
    connection.close()
    assert float(np.median(took)) < 0.03


def test_a_page_makes_the_server_load_no_table_library(browser: Any, viewer: Viewer) -> None:
    """Streamlit loads pandas and pyarrow, 66 MB, where a component is given more than text and numbers."""
    visit(browser, viewer).close()
    mapped = (server_folder(viewer) / "maps").read_text()
    assert "numpy" in mapped
    assert "pyarrow" not in mapped
    assert "pandas" not in mapped


@pytest.mark.slow
def test_memory_and_tokens_go_when_the_tabs_are_closed(browser: Any, viewer: Viewer) -> None:
    """Within 180 s, time after time."""
    visit(browser, viewer).close()
    before = resident_mb(viewer)
    for _ in range(3):
        tokens: list[str] = []
        pages = []
        for _ in range(READERS):
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.set_default_timeout(PAGE_MS)
            with page.expect_request(re.compile("/medmtl/worklist$")) as asked:
                page.goto(viewer.url)
            tokens.append(asked.value.headers["x-medmtl-token"])
            page.locator("[data-surface]").wait_for()
            pages.append(page)
        worklist = f"{viewer.url}/medmtl/worklist"
        assert all(fetched(worklist, token) for token in tokens)
        for page in pages:
            page.close()
        pause, ends = threading.Event(), time.monotonic() + 180
        while resident_mb(viewer) > before + 10 or any(fetched(worklist, token) for token in tokens):
            assert time.monotonic() < ends, f"{resident_mb(viewer) - before:.0f} MB more than before"
            pause.wait(2)


def resident_mb(viewer: Viewer) -> float:
    """Resident memory of the server of this workspace."""
    rows = (server_folder(viewer) / "status").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith("VmRSS"))) / 1000


def server_folder(viewer: Viewer) -> Path:
    """What the system says of the server of this workspace."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            called = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"app" in called and str(viewer.workspace).encode() in called:
            return folder
    pytest.skip("no /proc on this system")


def fetched(url: str, token: str) -> bytes:
    """The body, empty where it is refused."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"x-medmtl-token": token})) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return b"" if error.code == 404 else b"refused otherwise"
