"""A reader's way in a browser, from upload to a SEG that another program reads; and what the brush does to voxels."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmtl.bundle.catalogue import shipped_folder
from medmtl.findings.components import components
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import to_lps
from medmtl.reading.nifti import read_label_map
from medmtl_app.sample import sample_path
from sample_data.dicom_study import StudyText, write_dicom_study
from sample_data.phantoms import phantom
from tests.medmtl_app.conftest import MARKER_SHAPE, PAGE_MS, Viewer, affine, serving

SIZE = {"width": 1440, "height": 900}
JOB_MS = 600_000
CT_SHAPE, CT_SPACING = (128, 96, 300), (3.0, 3.0, 1.1)
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

BRUSH = """async ([view, plane, erase]) => {
    const get = (name) => import(new URL(`medmtl/ui/${name}.js`, document.baseURI).href);
    const names = ["scene", "pane", "brush", "contours"];
    const [{ Scene }, { Pane }, { Brush }, { outline }] = await Promise.all(names.map(get));
    const scene = new Scene(view);
    const count = view.shape.reduce((product, n) => product * n, 1);
    scene.voxels = new Int16Array(count);
    const map = Uint8Array.from({ length: count }, (_, n) => [1, 1, 2, 2, 0][((n * 2654435761) >>> 0) % 5]);
    scene.maps.push(map);
    const former = map.slice();
    const pane = new Pane(scene, plane, { tool: () => "brush", brush: () => null, t: () => (key) => key });
    Object.defineProperty(pane.canvas, "clientWidth", { value: 400 });
    Object.defineProperty(pane.canvas, "clientHeight", { value: 300 });
    const brush = new Brush(scene);
    brush.radius = 9;
    const points = [[180, 140], [215, 160]];
    brush.begin(pane, points[0], erase ? "eraser" : "brush");
    brush.drag(pane, points[1]);
    brush.end();
    const drawn = map.slice();
    const context = document.createElement("canvas").getContext("2d");
    const row = scene.structures[0];
    let wrong = 0;
    const { u, v, w, nu, nv, flip } = pane.plane;
    const path = outline(pane.plane, pane.slice, row, scene.maps);
    for (let y = 0; y < nv; y++) {
        for (let x = 0; x < nu; x++) {
            const index = [];
            index[u] = x;
            index[v] = flip ? nv - 1 - y : y;
            index[w] = pane.slice;
            const held = map[index[0] + view.shape[0] * (index[1] + view.shape[1] * index[2])] === 1;
            wrong += (path !== null && context.isPointInPath(path, x, y, "evenodd")) !== held;
        }
    }
    brush.undo();
    const undone = map.every((value, n) => value === former[n]) && !brush.dirty;
    brush.redo();
    const redone = map.every((value, n) => value === drawn[n]);
    const ends = points.map((point) => scene.lps(pane.indexAt(point)));
    const arrays = { former: [...former], drawn: [...drawn] };
    return { ...arrays, ends, slice: pane.slice, axis: w, wrong, undone, redone, delta: row.delta };
}"""


@pytest.fixture(scope="module")
def blank(browser: Any, viewer: Viewer) -> Iterator[Any]:
    page = browser.new_page()
    page.set_default_timeout(PAGE_MS)
    page.goto(viewer.url)
    page.get_by_test_id("medmtl").wait_for()
    yield page
    page.close()


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("kind", ["axial", "oblique", "sheared"])
def test_a_stroke_is_a_disc_in_mm_in_its_slice(blank: Any, kind: str, plane: str, erase: bool) -> None:
    """Every voxel whose centre the disc passes over and no other; the eraser spares other structures."""
    columns = affine(kind)
    row = {"task": "organs", "name": "one", "color": "#ff0000", "channel": 0, "map": 0, "value": 1}
    box = {"low": [0, 0, 0], "high": [n - 1 for n in MARKER_SHAPE]}
    view = {
        "shape": list(MARKER_SHAPE), "affine_lps": columns.tolist(), "slice_axis": 2, "focus": box, "lesions": [],
        "channels": [{"windows": [{"width": 1, "level": 0}], "slope": 1, "intercept": 0}], "maps": [],
        "structures": [{**row, **box}],
    }  # fmt: skip
    found = blank.evaluate(BRUSH, [view, plane, erase])
    former, drawn = (np.array(found[key]).reshape(MARKER_SHAPE, order="F") for key in ("former", "drawn"))
    index = np.indices(MARKER_SHAPE).reshape(3, -1).T
    at = Grid(shape=MARKER_SHAPE, affine=columns).to_lps(index.astype(float))
    start, end = (np.array(point) for point in found["ends"])
    share = np.clip((at - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    far = np.linalg.norm(at - start - share[:, None] * (end - start), axis=1).reshape(MARKER_SHAPE)
    reached = (np.indices(MARKER_SHAPE)[found["axis"]] == found["slice"]) & (far <= 9.0)
    changed = drawn != former
    spare = former != 1 if erase else former == 1  # what a stroke leaves as it is
    assert not (changed & ~reached).any()
    assert changed.sum() > 5
    missed = reached & ~spare & ~changed
    assert missed.sum() == 0 or far[missed].min() > 8.5, "between two dabs the edge of the stroke waves a little"
    assert set(drawn[changed]) == {0 if erase else 1}
    assert (found["wrong"], found["undone"], found["redone"]) == (0, True, True)
    assert found["delta"] == (drawn == 1).sum() - (former == 1).sum()


@dataclass(frozen=True)
class Journey:
    """A study that was reviewed and corrected in a browser, and what came out."""

    folder: Path
    centre: list[int]
    radius: float
    exported: Path


@contextmanager
def reading(browser: Any, workspace: Path, models: Path) -> Iterator[Any]:
    """A page of a viewer with these models; a fault in it fails the test."""
    with serving(workspace, models) as url:
        context = browser.new_context(viewport=SIZE, accept_downloads=True, locale="en-GB")
        page = context.new_page()
        page.set_default_timeout(JOB_MS)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        page.get_by_test_id("medmtl").wait_for()
        yield page
        context.close()
        assert faults == []


def review(page: Any, workspace: Path, target: Path, organ: str) -> Journey:
    """Jumps to lesion 1, hides an organ, measures, rejects lesion 2 (the organ where there is none), draws on lesion 1,
    saves and exports."""
    [folder] = (workspace / "studies").iterdir()
    view = json.loads((folder / "view" / "view.json").read_text())
    axis = view["slice_axis"]
    name = {2: "axial", 1: "coronal", 0: "sagittal"}[axis]
    canvas = page.locator(f'canvas[data-plane="{name}"]')
    jump = view["lesions"][0]["jump"]
    page.get_by_test_id("lesion-1").click()
    page.evaluate(SETTLED)
    number = view["shape"][axis] - jump[axis] if view["slice_counts_down"] else jump[axis] + 1
    assert int(canvas.get_attribute("data-slice")) == number
    page.keyboard.press("x")
    before = picture(page, canvas)
    page.get_by_test_id(f"eye-{organ}").click()
    assert picture(page, canvas) != before
    page.get_by_test_id(f"eye-{organ}").click()
    assert picture(page, canvas) == before
    x, y, scale = place(canvas, view, jump)
    drag(page, canvas, "m", [(x, y), (x + 40 * scale, y)])
    assert picture(page, canvas) != before
    page.keyboard.press("Delete")
    assert picture(page, canvas) == before

    several = len(view["lesions"]) > 1
    key, row = ("2", "lesion-row-2") if several else (f"organs.{organ}", f"structure-{organ}")
    page.get_by_test_id(f"reject-{key}").click()
    page.get_by_test_id(f"comment-{key}").fill("an artefact")
    page.get_by_test_id(f"comment-{key}").blur()
    assert "rejected" in page.get_by_test_id(row).get_attribute("class")
    page.get_by_test_id("not-saved").wait_for()

    radius = 12.0
    drag(page, canvas, "b", [])
    page.get_by_test_id("radius").fill(str(radius))
    page.evaluate(SETTLED)
    x, y, _ = place(canvas, view, jump)  # the bar of the brush has made the pane smaller
    drag(page, canvas, "", [(x, y), (x, y)])
    page.get_by_test_id("unsaved").wait_for()
    assert picture(page, canvas) != before
    page.get_by_test_id("save-review").click()
    page.get_by_test_id("reader").fill("Dr A")
    page.get_by_test_id("save-now").click()
    page.locator('[data-version="1"][data-ready]').wait_for()
    page.locator('.row[data-state="reviewed"]').wait_for()
    page.keyboard.press("Escape")
    exported = export(page, target, "seg")
    return Journey(folder, jump, radius, exported)


def picture(page: Any, canvas: Any) -> str:
    page.mouse.move(5, 5)
    page.evaluate(SETTLED)
    return str(canvas.evaluate("(canvas) => canvas.toDataURL()"))


def place(canvas: Any, view: dict[str, Any], index: list[int]) -> tuple[float, float, float]:
    """CSS pixels of a voxel's centre in an unzoomed pane, and pixels per mm, from view.json and the pane's size."""
    size = canvas.bounding_box()
    w = view["slice_axis"]
    u, v = {2: (0, 1), 1: (0, 2), 0: (1, 2)}[w]
    steps = np.linalg.norm(np.array(view["affine_lps"])[:3, :3], axis=0)
    flip = v == 2
    low, high = (np.array(view["focus"][key], dtype=float) for key in ("low", "high"))
    middle, extent = (low + high) / 2, (high - low + 1) * steps
    scale = min(size["width"] / extent[u], size["height"] / extent[v])
    x = size["width"] / 2 + scale * steps[u] * (index[u] - middle[u])
    y = size["height"] / 2 + scale * steps[v] * (index[v] - middle[v]) * (-1 if flip else 1)
    return x, y, scale


def drag(page: Any, canvas: Any, key: str, points: list[tuple[float, float]]) -> None:
    if key:
        page.keyboard.press(key)
    if points:
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + points[0][0], box["y"] + points[0][1])
        page.mouse.down()
        for x, y in points[1:]:
            page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
        page.mouse.up()


def export(page: Any, target: Path, *formats: str) -> Path:
    page.get_by_test_id("export").click()
    for box in page.locator(".formats input:enabled").all():
        box.set_checked(box.get_attribute("name") in formats)
    with page.expect_download() as caught:
        page.get_by_test_id("export-now").click()
    caught.value.save_as(target / "export.zip")
    with zipfile.ZipFile(target / "export.zip") as archive:
        archive.extractall(target / "export")
    return next((target / "export").iterdir())


def check(journey: Journey, target: Path) -> None:
    """What the page saved, what the SEG holds for dcmqi, and what was drawn and rejected are the same voxels."""
    [case] = [path.parent for path in (journey.folder / "reviews" / "1").glob("*/review.json")]
    saved = json.loads((case / "review.json").read_text())
    model, grid = read_label_map(journey.folder / "result" / case.name / "lesions.nii.gz")
    lesions, _ = read_label_map(case / "lesions.nii.gz")
    pieces, _ = components(model > 0)
    words = {row["id"]: row["decision"] for row in saved["lesions"]}
    gone = [path for path, row in saved["structures"].items() if row["decision"] == "rejected"]
    assert list(words.values()).count("rejected") + len(gone) == 1
    assert "corrected" in words.values()
    for path in gone:
        array, value = structures(case, saved, grid)[title_of(saved, path)]
        assert not (array == value).any(), "the rejected structure is still in it"
    turn = to_lps(grid)
    shown, was, now = turn.grid(grid), turn.apply(pieces), turn.apply(lesions) > 0
    at = shown.to_lps(np.indices(shown.shape).reshape(3, -1).T.astype(float))
    far = np.linalg.norm(at - shown.to_lps(np.array(journey.centre, dtype=float)), axis=1).reshape(shown.shape)
    axis = json.loads((journey.folder / "view" / "view.json").read_text())["slice_axis"]
    in_slice = np.indices(shown.shape)[axis] == journey.centre[axis]
    disc = in_slice & (far <= journey.radius - 1.0)
    assert now[disc].all(), "the brush's disc is not in the saved mask"
    outside = ~(in_slice & (far <= journey.radius + 1.0))
    assert not (now & outside & (was == 2)).any(), "the rejected lesion is still in it"
    assert (now[outside & (was != 2)] == (was > 0)[outside & (was != 2)]).all()
    findings = json.loads((journey.exported / "findings.json").read_text())
    assert 2 not in [row["id"] for row in findings["lesions"]["items"] if words[row["id"]] == "rejected"]
    assert findings["lesions"]["totals"]["ml"] == pytest.approx(int(now.sum()) * grid.voxel_ml, rel=0.02)
    assert findings["review"]["reader"] == "Dr A"
    assert dcmqi_voxels(journey.exported / "seg.dcm", grid, target) == {
        key: int((array == value).sum())
        for key, (array, value) in structures(case, saved, grid).items()
        if (array == value).any()
    }
    held = dcmqi_mask(target, grid, [row["name"] for row in saved["tasks"]["lesions"]["labels"]], saved)
    assert np.array_equal(held, lesions > 0), "dcmqi reads other lesion voxels than were saved"


def title_of(saved: dict[str, Any], path: str) -> str:
    task, name = path.split(".")
    return str(next(row["title"]["en"] for row in saved["tasks"][task]["labels"] if row["name"] == name))


def structures(case: Path, saved: dict[str, Any], grid: Grid) -> dict[str, tuple[Any, int]]:
    """Title to map and value of every structure of the version."""
    found = {}
    for task, body in saved["tasks"].items():
        if body["kind"] == "segmentation":
            labels, _ = read_label_map(case / f"{task}.nii.gz")
            found |= {row["title"]["en"][:64]: (labels, row["value"]) for row in body["labels"]}
    return found


def dcmqi_voxels(seg: Path, grid: Grid, target: Path) -> dict[str, int]:
    """Segment label to its number of voxels, as dcmqi reads the SEG."""
    reader = Path(sys.executable).parent / "segimage2itkimage"
    if not reader.exists():
        pytest.skip("dcmqi is not installed")
    call = [reader, "--inputDICOM", seg, "--outputDirectory", target, "--prefix", "s", "-t", "nii"]
    subprocess.run([str(part) for part in call], check=True, capture_output=True, env={**os.environ})
    return {name: int((np.asarray(image.dataobj) > 0).sum()) for name, image in segments(target).items()}


def segments(target: Path) -> dict[str, Any]:
    """What dcmqi wrote: segment label to its image."""
    told = json.loads((target / "s-meta.json").read_text())
    rows = [row for group in told["segmentAttributes"] for row in group]
    return {row["SegmentLabel"]: nib.load(target / f"s-{row['labelID']}.nii.gz") for row in rows}


def dcmqi_mask(target: Path, grid: Grid, names: list[str], saved: dict[str, Any]) -> Any:
    """The lesions that dcmqi read, brought to the study's voxels by their place in the patient."""
    titles = {row["name"]: row["title"]["en"] for row in saved["tasks"]["lesions"]["labels"]}
    mask = np.zeros(grid.shape, dtype=bool)
    found = segments(target)
    for name in names:
        if titles[name] in found:
            image = found[titles[name]]
            where = np.argwhere(np.asarray(image.dataobj) > 0)
            ras = nib.affines.apply_affine(image.affine, where)
            index = np.rint(grid.to_index(ras * np.array([-1.0, -1.0, 1.0]))).astype(int)
            mask[tuple(index.T)] = True
    return mask


@pytest.mark.slow
def test_a_ct_of_300_slices_from_upload_to_a_corrected_seg(browser: Any, root: Path, tmp_path: Path) -> None:
    volume = phantom("abdomen", seed=8, lesion=True, shape=CT_SHAPE, spacing=CT_SPACING).volume()
    text = StudyText(study="ct300", description="abdomen phantom", body_part="ABDOMEN")
    source = write_dicom_study(tmp_path / "ct.zip", volume, text)
    with reading(browser, tmp_path / "workspace", root / "sample_data" / "models") as page:
        page.get_by_test_id("file-input").set_input_files(source)
        page.get_by_test_id("run-phantom-ct").click()  # a test model is never chosen by itself
        page.get_by_test_id("lesion-1").wait_for()
        page.locator("[data-surface]").wait_for()
        journey = review(page, tmp_path / "workspace", tmp_path, "liver")
    check(journey, tmp_path)


@pytest.mark.slow
def test_the_sample_heart_from_a_click_to_a_corrected_seg(browser: Any, tmp_path: Path) -> None:
    if not list(shipped_folder().glob("*/bundle.yaml")) or sample_path() is None:
        pytest.skip("no shipped model or no sample in this checkout")
    with reading(browser, tmp_path / "workspace", tmp_path / "none") as page:
        page.get_by_test_id("sample").click()
        page.get_by_test_id("lesion-1").wait_for()
        page.locator("[data-surface]").wait_for()
        journey = review(page, tmp_path / "workspace", tmp_path, "myocardium")
    check(journey, tmp_path)


@pytest.mark.slow
def test_the_real_chest_ct_reads_well_without_a_model(browser: Any, shared: Path, tmp_path: Path) -> None:
    """64 slices of 5 mm: opens by itself on the body, in every window, and offers nothing that needs a model."""
    with reading(browser, tmp_path / "workspace", tmp_path / "none") as page:
        page.get_by_test_id("file-input").set_input_files(shared / "data" / "chest_ct" / "chest_ct.zip")
        page.get_by_test_id("no-model").wait_for()
        page.locator("[data-ready]").wait_for()
        assert page.locator('.row[data-state="blocked"]').count() == 1
        canvas = page.locator('canvas[data-plane="axial"]')
        windows = []
        for number in "1234":
            page.keyboard.press(number)
            windows.append(picture(page, canvas))
        assert len(set(windows)) == 4
        page.keyboard.press("2")
        page.evaluate(SETTLED)
        grey = canvas.evaluate(GREY)
        assert grey["black"] < 0.6
        assert grey["levels"] > 200, "the lung window shows few shades"
        page.keyboard.press("b")
        assert page.get_by_test_id("target").count() == 0
        assert page.get_by_test_id("save-review").count() == page.get_by_test_id("export").count() == 0
        [folder] = (tmp_path / "workspace" / "studies").iterdir()
        view = json.loads((folder / "view" / "view.json").read_text())
        assert (view["shape"][2], view["unit"]) == (64, "HU")
        if target := os.environ.get("MEDMTL_PICTURES"):
            page.screenshot(path=Path(target) / "viewer-chest.png")


GREY = """(canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const counts = new Array(256).fill(0);
    for (let n = 0; n < data.length; n += 4) counts[data[n]]++;
    return { black: counts[0] / (data.length / 4), levels: counts.filter((count) => count > 5).length };
}"""
