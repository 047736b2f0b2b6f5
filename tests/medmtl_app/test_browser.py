"""The viewer in a browser: real clicks from upload to export, and pixels where the patient says they are."""

import json
import re
import sqlite3
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.outputs.sentences import report_sentences
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.medmtl_app.conftest import MARKER, MARKER_SHAPE, PAGE_MS, Viewer, affine
from tests.tiny import heart_volume

SIZE = {"width": 1280, "height": 720}


@pytest.fixture
def page(browser: Any, viewer: Viewer) -> Iterator[Any]:
    """A page of its own session; any fault or request to elsewhere fails the test."""
    context = browser.new_context(viewport=SIZE, accept_downloads=True, locale="en-GB")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    found = context.new_page()
    found.set_default_timeout(PAGE_MS)
    faults: list[str] = []
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("request", lambda sent: None if local(sent.url, viewer) else faults.append(f"foreign: {sent.url}"))
    found.goto(viewer.url)
    found.get_by_test_id("medmtl").wait_for()
    yield found
    context.close()
    assert faults == []


def local(url: str, viewer: Viewer) -> bool:
    own = viewer.url.removeprefix("http")
    return url.startswith((f"http{own}", f"ws{own}", "data:", "blob:"))


def open_study(page: Any, viewer: Viewer, title: str) -> None:
    page.locator(".row", has_text=title).click()
    study_id = next(row["id"] for row in rows(viewer) if row["title"] == title)
    page.locator(f'[data-ready="{study_id}"]').wait_for()


def rows(viewer: Viewer) -> list[sqlite3.Row]:
    with sqlite3.connect(viewer.workspace / "worklist.sqlite") as db:
        db.row_factory = sqlite3.Row
        return db.execute("SELECT * FROM studies").fetchall()


def pane(page: Any, plane: str) -> Any:
    return page.locator(f'canvas[data-plane="{plane}"]')


def drawn(page: Any, plane: str) -> str:
    """The pane's pixels, once the frame after the last change is drawn."""
    digest = """async (canvas) => {
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        return canvas.toDataURL();
    }"""
    return str(pane(page, plane).evaluate(digest))


def test_from_upload_to_export(page: Any, viewer: Viewer, tmp_path: Path) -> None:
    """A zip goes in; lesion 1 is jumped to, an organ is hidden, the text is copied, the result comes out."""
    text = StudyText(study="browser", description="heart phantom", body_part="HEART")
    source = write_dicom_study(tmp_path / "heart.zip", heart_volume(), text)
    page.get_by_test_id("file-input").set_input_files(source)
    page.get_by_test_id("lesion-1").wait_for()
    page.locator('.row[aria-current="true"][data-state="ready"]').wait_for()
    study = next(row for row in rows(viewer) if row["state"] == "ready")
    page.locator(f'[data-ready="{study["id"]}"]').wait_for()
    view = json.loads((viewer.workspace / "studies" / study["id"] / "view" / "view.json").read_text())
    jump = view["lesions"][0]["jump"]

    pane(page, "axial").click(position={"x": 60, "y": 60})
    page.keyboard.press("PageDown")
    assert slices(page) != [jump[2] + 1, jump[1] + 1, jump[0] + 1]
    page.get_by_test_id("lesion-1").click()
    drawn(page, "axial")
    assert slices(page) == [jump[2] + 1, jump[1] + 1, jump[0] + 1]

    before = drawn(page, "axial")
    page.get_by_test_id("eye-myocardium").click()
    hidden = drawn(page, "axial")
    assert hidden != before
    page.get_by_test_id("eye-myocardium").click()
    assert drawn(page, "axial") == before

    page.keyboard.down("h")
    own_look = drawn(page, "axial")
    assert not page.get_by_test_id("trust").is_visible()
    page.keyboard.up("h")
    assert drawn(page, "axial") == before
    assert own_look not in (before, hidden)

    page.get_by_test_id("copy").click()
    page.get_by_role("status").filter(has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as caught:
        page.get_by_test_id("export").click()
        page.get_by_test_id("export-now").click()
    caught.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        assert {"findings.json", "seg.dcm", "sr.dcm", "lesions.nii.gz", "organs.nii.gz", "report.html"} <= names
        case = archive.namelist()[0].split("/")[0]
        findings = json.loads(archive.read(f"{case}/findings.json"))
    assert copied == "\n".join(report_sentences(findings, "en"))
    page.get_by_role("button", name="中文").click()
    page.get_by_text("复制为文本").wait_for()


def slices(page: Any) -> list[int]:
    return [int(pane(page, plane).get_attribute("data-slice")) for plane in ("axial", "coronal", "sagittal")]


# what is right and what is down on the screen, and which index axis (after turning to LPS) goes through it
SCREEN = {"axial": (0, 1, 1, 2), "coronal": (0, 2, -1, 1), "sagittal": (1, 2, -1, 0)}


def expected_place(kind: str, plane: str) -> tuple[Any, Any, Any]:
    """Unit vectors right and down (LPS) and the marker's mm from the pane's middle, from the headers' affine alone."""
    columns, first = affine(kind)[:3, :3], affine(kind)[:3, 3]
    shown = [int(np.abs(columns[axis] / np.linalg.norm(columns, axis=0)).argmax()) for axis in range(3)]
    signs = [np.sign(columns[axis, shown[axis]]) for axis in range(3)]
    u, v, down_sign, w = SCREEN[plane]
    right = columns[:, shown[u]] * signs[u]
    right = right / np.linalg.norm(right)
    down = columns[:, shown[v]] * signs[v] * down_sign
    down = down - (down @ right) * right
    down = down / np.linalg.norm(down)
    middle = (np.array(MARKER_SHAPE) - 1) / 2
    middle[shown[w]] = MARKER[shown[w]]
    offset = (first + columns @ np.array(MARKER)) - (first + columns @ middle)
    return right, down, np.array([offset @ right, offset @ down])


def letters_of(direction: Any) -> str:
    order = np.argsort(-np.abs(direction))
    names = ("LR", "PA", "HF")
    kept = [axis for place, axis in enumerate(order[:2]) if place == 0 or abs(direction[axis]) > 0.26]
    return "".join(names[axis][0 if direction[axis] > 0 else 1] for axis in kept)


# the image is grey, texts and lines are a little blue
MARKER_PIXELS = """async (canvas) => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    let [x, y, count] = [0, 0, 0];
    for (let n = 0; n < width * height; n++) {
        const grey = data[4 * n];
        if (grey > 60 && grey === data[4 * n + 1] && grey === data[4 * n + 2]) {
            x += grey * ((n % width) + 0.5);
            y += grey * (Math.floor(n / width) + 0.5);
            count += grey;
        }
    }
    return { x: x / count, y: y / count, count, width, height };
}"""


@pytest.mark.parametrize("kind", ["axial", "sagittal", "oblique", "sheared"])
def test_a_marker_is_where_the_patient_says(page: Any, viewer: Viewer, kind: str) -> None:
    open_study(page, viewer, f"marker {kind}")
    page.keyboard.press("3")  # the full window: the marker alone is white
    page.keyboard.press("x")
    go_to_marker(page, kind)
    for plane in SCREEN:
        right, down, offset = expected_place(kind, plane)
        found = pane(page, plane).evaluate(MARKER_PIXELS)
        scale = float(pane(page, plane).get_attribute("data-scale"))
        assert found["count"] > 1000, plane
        place = np.array([found["x"] - found["width"] / 2, found["y"] - found["height"] / 2])
        assert np.abs(place - scale * offset).max() < 1.0, plane
        told = pane(page, plane).get_attribute("data-letters").split()
        assert told == [letters_of(direction) for direction in (-down, right, down, -right)], plane


def go_to_marker(page: Any, kind: str) -> None:
    """With the arrow keys, pane by pane, from the middle of the volume."""
    columns = affine(kind)[:3, :3]
    for plane, (_, _, _, w) in SCREEN.items():
        axis = int(np.abs(columns[w] / np.linalg.norm(columns, axis=0)).argmax())
        count = MARKER_SHAPE[axis]
        place = MARKER[axis] if columns[w, axis] > 0 else count - 1 - MARKER[axis]
        steps = place - (count - 1) // 2
        pane(page, plane).focus()
        for _ in range(abs(steps)):
            page.keyboard.press("ArrowUp" if steps > 0 else "ArrowDown")


OUTLINES = """async ([view, flat, levels]) => {
    const { Plane, PLANES } = await import(new URL("medmtl/ui/plane.js", document.baseURI).href);
    const { outline } = await import(new URL("medmtl/ui/contours.js", document.baseURI).href);
    const context = document.createElement("canvas").getContext("2d");
    const map = Uint8Array.from(flat);
    const inside = { map: 0, value: 1, low: [0, 0, 0], high: view.shape.map((count) => count - 1) };
    const graded = { ...inside, levels: Uint8Array.from(levels), field: { low: [0, 0, 0], shape: view.shape } };
    const wrong = { map: 0, field: 0, drawn: 0 };
    for (const name of Object.keys(PLANES)) {
        const plane = new Plane(name, view);
        for (let w = 0; w < plane.nw; w++) {
            const paths = { map: outline(plane, w, inside, [map]), field: outline(plane, w, graded, [map]) };
            for (let u = 0; u < plane.nu; u++) {
                for (let v = 0; v < plane.nv; v++) {
                    const index = [];
                    index[plane.u] = u;
                    index[plane.v] = plane.flip ? plane.nv - 1 - v : v;
                    index[plane.w] = w;
                    const held = map[index[0] + view.shape[0] * (index[1] + view.shape[1] * index[2])] === 1;
                    for (const [kind, path] of Object.entries(paths)) {
                        const drawn = path !== null && context.isPointInPath(path, u, v, "evenodd");
                        wrong[kind] += drawn !== held;
                        wrong.drawn += drawn;
                    }
                }
            }
        }
    }
    return wrong;
}"""


@pytest.mark.parametrize("kind", ["axial", "oblique", "sagittal"])
def test_contours_hold_the_centres_of_the_masks_voxels_and_no_others(page: Any, kind: str) -> None:
    """Any mask, holes and single voxels too, in every plane; thick slices (sagittal: 4 x 1.2 mm) are blocks."""
    rng = np.random.default_rng(len(kind))
    shape = (9, 8, 7)
    mask = rng.random(shape) < 0.4
    levels = np.where(mask, rng.integers(128, 256, shape), rng.integers(0, 128, shape))
    columns = affine(kind)
    if kind == "sagittal":
        columns = columns[:, [2, 0, 1, 3]] * np.array([1, 1, -1, 1])  # as the page has it: left, back, head
    view = {"shape": list(shape), "affine_lps": columns.tolist()}
    arrays = [part.ravel(order="F").astype(int).tolist() for part in (mask, levels)]
    found = page.evaluate(OUTLINES, [view, *arrays])
    assert (found["map"], found["field"]) == (0, 0)
    assert found["drawn"] == 2 * 3 * mask.sum()


def test_another_session_cannot_fetch_a_volume(browser: Any, page: Any, viewer: Viewer) -> None:
    with page.expect_request(re.compile("volume.raw")) as caught:
        page.locator(".row", has_text="marker axial").click()
    url, token = caught.value.url, caught.value.headers["x-medmtl-token"]
    assert status(url, token) == 200
    other = browser.new_context()
    second = other.new_page()
    with second.expect_request(re.compile("/medmtl/worklist$")) as own:
        second.goto(viewer.url)
    assert own.value.headers["x-medmtl-token"] != token
    assert status(url, own.value.headers["x-medmtl-token"]) == 404
    assert status(url, "") == 404
    other.close()
    worklist = f"{viewer.url}/medmtl/worklist"
    assert any(status(worklist, own.value.headers["x-medmtl-token"]) == 404 for _ in range(2000))


def test_a_page_of_another_name_is_refused(viewer: Viewer) -> None:
    """DNS rebinding: a foreign name that points at loopback."""
    assert status(f"{viewer.url}/medmtl/ui/app.js", "") == 200
    assert status(f"{viewer.url}/medmtl/ui/app.js", "", host="evil.example") == 403


def status(url: str, token: str, host: str = "") -> int:
    headers = {"x-medmtl-token": token, **({"Host": host} if host else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
