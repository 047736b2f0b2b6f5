"""The reading page: surfaces, maps of probability, measures, pictures, and what is kept back."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medmtl.result import CaseResult
from medmtl_app.display import describe
from medmtl_app.workspace import StudyState, Workspace
from tests.medmtl_app.conftest import CHROMIUM_FLAGS, PAGE_MS, Viewer, affine, plant, serving

NAME = "DOE JANE"
SIZE = {"width": 1280, "height": 720}


@pytest.fixture(scope="module")
def reading(answered: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer with two answered studies."""
    root = tmp_path_factory.mktemp("reading")
    kept = Workspace(root / "workspace")
    for title in ("second", "heart"):
        study = kept.add(kept.new_upload(), title=title)
        folder = kept.folder(study.id)
        plant(folder, answered)
        (folder / "view" / "person.json").write_text(json.dumps({"name": NAME, "patient_id": "ID-7"}))
        summary = describe(answered.volume, answered.findings)
        kept.change(study.id, {"state": StudyState.READY, "summary": summary, "started": 10.0, "finished": 14.0})
    kept.close()
    with serving(root / "workspace", root / "models") as url:
        yield Viewer(url, root / "workspace")


@contextmanager
def opened(browser: Any, viewer: Viewer, size: dict[str, int] = SIZE) -> Iterator[Any]:
    """A page of its own session with the study open; a fault in it fails the test."""
    context = browser.new_context(viewport=size, accept_downloads=True, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(PAGE_MS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(viewer.url)
    page.locator("[data-surface]").wait_for()
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def page(browser: Any, reading: Viewer) -> Iterator[Any]:
    with opened(browser, reading) as found:
        yield found


def pane(page: Any, name: str) -> Any:
    return page.locator(f'canvas[data-plane="{name}"]')


SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def pixels(page: Any, name: str) -> Any:
    """`(row, column, 3)` of a pane, once the frame after the last change is drawn."""
    page.evaluate(SETTLED)
    with Image.open(BytesIO(pane(page, name).screenshot())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)[4:-4, 4:-4]  # without the ring of the one in hand


def coloured(picture: Any) -> Any:
    """Where a picture is neither grey nor the blue of lines."""
    return (picture.max(axis=2) - picture.min(axis=2) > 24) & (picture[..., 2] < picture.max(axis=2))


def slices(page: Any) -> list[int]:
    page.evaluate(SETTLED)
    return [int(pane(page, plane).get_attribute("data-slice")) for plane in ("axial", "coronal", "sagittal")]


def look_at(page: Any) -> Any:
    """Turns and hides surfaces, brings the planes to one; the first picture."""
    surface = pane(page, "surface")
    page.keyboard.press("x")  # without the crosshair
    first = pixels(page, "surface")
    assert coloured(first).sum() > 2000
    page.get_by_test_id("eye-myocardium").click()
    hidden = pixels(page, "surface")
    assert (hidden != first).any(axis=2).sum() > 500
    page.get_by_test_id("eye-myocardium").click()
    assert (pixels(page, "surface") == first).all()
    before = slices(page)
    rows, columns = np.nonzero(coloured(first))
    middle = len(rows) // 2
    page.keyboard.press("PageUp")
    surface.click(position={"x": int(columns[middle]) + 4, "y": int(rows[middle]) + 4})
    assert slices(page) != before
    turned = surface.get_attribute("data-turn")
    page.keyboard.press("ArrowLeft")
    page.evaluate(SETTLED)
    assert surface.get_attribute("data-turn") != turned
    assert (pixels(page, "surface") != first).any()
    page.keyboard.press("0")
    page.keyboard.down("h")
    assert coloured(pixels(page, "surface")).sum() == 0
    page.keyboard.up("h")
    assert (pixels(page, "surface") == first).all()
    return first


def test_surfaces_keep_step_with_eyes_and_crosshair(page: Any) -> None:
    """There is WebGL here, in software; the page draws by itself, which is many times quicker."""
    assert pane(page, "surface").get_attribute("data-renderer") == "raster"
    look_at(page)


def test_surfaces_are_drawn_where_there_is_no_webgl(browser: Any, reading: Viewer) -> None:
    flags = [*CHROMIUM_FLAGS, "--disable-3d-apis"]
    bare = browser.browser_type.launch(executable_path=shutil.which("chromium"), args=flags)
    with opened(bare, reading) as page:
        assert page.evaluate("document.createElement('canvas').getContext('webgl2')") is None
        assert coloured(pixels(page, "surface")).sum() > 2000
    bare.close()


ALIKE = """async () => {
    const load = (name) => import(new URL(`medmtl/ui/${name}`, document.baseURI).href);
    const [{ makeShader }, { Raster }, { Camera }] = await Promise.all(["shader.js", "raster.js", "camera.js"].map(load));
    const ball = (key, x, radius, color, opacity) => {
        const [positions, normals, triangles] = [[], [], []];
        const [rows, columns] = [24, 48];
        for (let r = 0; r <= rows; r++) for (let c = 0; c < columns; c++) {
            const [a, b] = [(Math.PI * r) / rows, (2 * Math.PI * c) / columns];
            const n = [Math.sin(a) * Math.cos(b), Math.sin(a) * Math.sin(b), Math.cos(a)];
            normals.push(...n);
            positions.push(x + radius * n[0], radius * n[1], radius * n[2]);
            if (r === rows) continue;
            const [p, q] = [r * columns + c, r * columns + ((c + 1) % columns)];
            triangles.push(p, p + columns, q, q, p + columns, q + columns);
        }
        return { key, color, opacity, positions: Float32Array.from(positions), normals: Float32Array.from(normals), triangles: Uint32Array.from(triangles) };
    };
    const meshes = [ball("solid", 12, 10, [0.9, 0.3, 0.2], 1), ball("clear", -6, 18, [0.2, 0.8, 0.4], 0.4)];
    const view = { ...new Camera().axes(), centre: [0, 0, 0], radius: 30, scale: 4, x: 130, y: 110 };
    const read = (renderer) => {
        const copy = Object.assign(document.createElement("canvas"), { width: 260, height: 220 });
        const context = copy.getContext("2d");
        context.fillRect(0, 0, 260, 220);
        context.drawImage(renderer.render(meshes, view, 260, 220), 0, 0);
        return context.getImageData(0, 0, 260, 220).data;
    };
    const [one, two] = [read(makeShader(false)), read(new Raster())];
    let [both, either, off] = [0, 0, 0];
    for (let n = 0; n < one.length; n += 4) {
        const [p, q] = [one, two].map((data) => data[n] + data[n + 1] + data[n + 2] > 30);
        either += p || q;
        both += p && q;
        if (p && q) off += (Math.abs(one[n] - two[n]) + Math.abs(one[n + 1] - two[n + 1]) + Math.abs(one[n + 2] - two[n + 2])) / 3;
    }
    return { both, either, off: off / both };
}"""  # noqa: E501


def test_webgl_and_the_pages_own_drawing_look_alike(page: Any) -> None:
    """A solid ball that sticks out of a clear one, drawn by both."""
    found = page.evaluate(ALIKE)
    assert found["both"] > 0.97 * found["either"] > 10_000
    assert found["off"] < 15


def test_a_map_of_probability_lies_over_the_image(page: Any) -> None:
    page.keyboard.press("c")
    page.keyboard.press("f")
    plain = pixels(page, "axial")
    with page.expect_response(re.compile(r"heat-\d+\.raw\.gz")):
        page.keyboard.press("g")
    page.locator('canvas[data-plane="axial"][data-heat="infarct"]').wait_for()
    warm = pixels(page, "axial")
    assert (warm != plain).any(axis=2).sum() > 200
    page.keyboard.press("g")
    assert (pixels(page, "axial") == plain).all()


HEAT = """async ([view, low, shape, values]) => {
    const { Plane, PLANES } = await import(new URL("medmtl/ui/plane.js", document.baseURI).href);
    const { Heat } = await import(new URL("medmtl/ui/heatmap.js", document.baseURI).href);
    const heat = new Heat({ show: { answers: true }, changed() {} });
    const wrong = [];
    let seen = 0;
    heat.structure = { heat: { low, shape }, probability: Uint8Array.from(values) };
    const at = (index) => {
        const inside = index.map((value, axis) => value - low[axis]);
        if (inside.some((value, axis) => value < 0 || value >= shape[axis])) return 0;
        return values[inside[0] + shape[0] * (inside[1] + shape[1] * inside[2])];
    };
    for (const name of Object.keys(PLANES)) {
        const plane = new Plane(name, view);
        for (let w = 0; w < plane.nw; w++) {
            const canvas = heat.slice(plane, w);
            const data = canvas && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            for (let u = 0; u < plane.nu; u++) for (let v = 0; v < plane.nv; v++) {
                const index = [];
                index[plane.u] = u; index[plane.v] = plane.flip ? plane.nv - 1 - v : v; index[plane.w] = w;
                const x = u * plane.repeatU + plane.repeatU - 1, y = v * plane.repeatV;
                const alpha = data ? data[4 * (y * plane.nu * plane.repeatU + x) + 3] : 0;
                const expected = at(index) < 13 ? 0 : Math.floor(255 * (0.25 + 0.5 * at(index) / 255));
                seen += alpha > 0;
                if (alpha !== expected) wrong.push([name, index, alpha, expected]);
            }
        }
    }
    return { wrong: wrong.slice(0, 3), seen };
}"""


def test_every_voxel_has_the_colour_of_its_probability(page: Any) -> None:
    rng = np.random.default_rng(3)
    low, shape = [2, 1, 3], [5, 6, 3]
    for kind in ("axial", "oblique", "sagittal"):
        values = rng.integers(0, 256, shape)
        columns = affine(kind)
        if kind == "sagittal":  # as the page has it: left, back, head; 4 x 1.2 mm, shown as blocks
            columns = columns[:, [2, 0, 1, 3]] * np.array([1, 1, -1, 1])
        view = {"shape": [9, 8, 7], "affine_lps": columns.tolist()}
        found = page.evaluate(HEAT, [view, low, shape, values.ravel(order="F").astype(int).tolist()])
        assert found["wrong"] == [], kind
        assert found["seen"] == 3 * (values >= 13).sum()


DIAMETERS = """async ([view, name, slice, drags, kind]) => {
    const { Plane, toLps } = await import(new URL("medmtl/ui/plane.js", document.baseURI).href);
    const { Measures, lengths } = await import(new URL("medmtl/ui/measure.js", document.baseURI).href);
    const plane = new Plane(name, view);
    const pane = { plane, name, slice, placing: () => ({ scale: 7, x: 30, y: -20 }) };
    pane.indexAt = ([x, y]) => plane.index((x - 30) / 7, (y + 20) / 7, slice);
    const measures = new Measures({ changed() {} });
    for (const [from, to] of drags) {
        measures.begin(pane, from, kind);
        measures.drag(pane, to);
    }
    const inPatient = ([x, y]) => toLps(view, plane.index(x, y, slice));
    const { from, to } = measures.list[0];
    const [p, q] = [inPatient(from), inPatient(to)];
    const told = Math.hypot(from[0] - to[0], from[1] - to[1]);
    const off = Math.abs(Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]) - told);
    return { text: lengths(measures.list[0]), count: measures.list.length, off: off < 1e-6 ? 0 : off };
}"""


def test_two_diameters_are_millimetres_in_the_patient(page: Any) -> None:
    """The long axis as it was dragged; the short one at right angles, half as long until its ends are moved."""
    start, end = np.array([100.0, 80.0]), np.array([240.0, 185.0])
    long = 175.0 / 7
    aside = np.array([-105.0, 140.0]) / 175.0
    side = (start + end) / 2 + aside * 175.0 / 4
    moved = (start + end) / 2 + aside * 142.0 + np.array([14.0, 10.5])
    dragged = [[start.tolist(), end.tolist()], [side.tolist(), moved.tolist()]]
    for kind in ("axial", "oblique", "sheared"):
        view = {"shape": [60, 60, 40], "affine_lps": affine(kind).tolist()}
        for plane in ("axial", "coronal", "sagittal"):
            found = page.evaluate(DIAMETERS, [view, plane, 5, dragged[:1], "diameters"])
            assert found["text"] == f"{long:.1f} × {long / 2:.1f} mm", (kind, plane)
            found = page.evaluate(DIAMETERS, [view, plane, 5, dragged, "diameters"])
            assert found == {"text": f"{(142 + 43.75) / 7:.1f} × {long:.1f} mm", "count": 1, "off": 0}, (kind, plane)


def test_a_picture_of_the_panes_is_saved_without_a_name(page: Any, tmp_path: Path) -> None:
    with page.expect_download() as caught:
        page.keyboard.press("s")
    assert re.fullmatch(r"medmtl-\d{14}\.png", caught.value.suggested_filename)
    caught.value.save_as(tmp_path / "all.png")
    boxes = [pane(page, name).bounding_box() for name in ("axial", "coronal", "sagittal", "surface")]
    width = max(box["x"] + box["width"] for box in boxes) - min(box["x"] for box in boxes)
    with Image.open(tmp_path / "all.png") as picture:
        whole = np.asarray(picture.convert("RGB")).astype(int)
    assert abs(whole.shape[1] - width) <= 1
    assert coloured(whole).sum() > 2000
    with page.expect_download() as caught:
        page.keyboard.press("Shift+S")
    caught.value.save_as(tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size[1] < whole.shape[0]
        assert abs(picture.size[0] - boxes[0]["width"]) <= 1


def test_the_patients_name_comes_by_one_key_alone(page: Any, reading: Viewer) -> None:
    told: list[str] = []
    page.on("response", lambda answer: told.append(answer.url))
    page.locator(".row", has_text="second").click()
    page.locator('.row[aria-current="true"]', has_text="second").wait_for()
    assert NAME not in page.content()
    assert page.get_by_text(NAME).count() == 0
    page.keyboard.press("i")
    page.get_by_text(NAME).wait_for()
    assert [url for url in told if "/medmtl/person/" in url]
    page.keyboard.press("i")
    page.get_by_text(NAME).wait_for(state="detached")
    assert NAME.encode() not in (reading.workspace / "worklist.sqlite").read_bytes()


def test_the_readers_own_look_comes_first_where_it_is_wanted(page: Any) -> None:
    page.get_by_test_id("own-look-switch").check()
    assert page.get_by_test_id("trust").is_visible()  # of this study it has been seen already
    other = page.locator(".row", has_text="second")
    assert "lesion" not in other.inner_text()
    other.click()
    page.get_by_test_id("own-look").wait_for()
    page.locator("[data-surface]").wait_for()
    assert page.get_by_test_id("trust").count() == page.get_by_test_id("lesion-1").count() == 0
    assert coloured(pixels(page, "surface")).sum() == 0
    page.keyboard.press("h")
    assert page.get_by_test_id("own-look").is_visible()
    page.keyboard.press("o")
    page.get_by_test_id("trust").wait_for()
    assert coloured(pixels(page, "surface")).sum() > 2000
    assert "lesion" in other.inner_text()
    page.reload()
    page.get_by_test_id("own-look").wait_for()
    page.get_by_test_id("own-look-switch").uncheck()
    page.get_by_test_id("trust").wait_for()
