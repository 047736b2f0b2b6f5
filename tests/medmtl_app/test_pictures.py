"""Pictures of the pages for the documentation: the shipped model on the sample heart, phantom-ct on an abdomen."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medmtl.bundle.catalogue import shipped_folder
from medmtl_app.sample import sample_path
from sample_data.dicom_study import StudyText, write_dicom_study
from sample_data.phantoms import phantom
from tests.medmtl_app.conftest import serving
from tests.medmtl_app.test_review_browser import drag, place

SIZE = {"width": 1440, "height": 900}
JOB_MS = 900_000
PHANTOM_CT = Path(__file__).resolve().parents[2] / "sample_data" / "models" / "phantom-ct"
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"


@pytest.mark.slow
def test_pictures_of_the_pages(browser: Any, tmp_path: Path) -> None:
    """`MEDMTL_PICTURES=docs/images` puts them there."""
    if not list(shipped_folder().glob("*/bundle.yaml")) or sample_path() is None or not PHANTOM_CT.is_dir():
        pytest.skip("no shipped model, no phantom-ct or no sample in this checkout")
    target = Path(os.environ.get("MEDMTL_PICTURES", tmp_path)).absolute()
    shutil.copytree(PHANTOM_CT, tmp_path / "models" / "phantom-ct")
    volume = phantom("abdomen", seed=10001, lesion=True, shape=(240, 240, 100), spacing=(1.6, 1.6, 3.0)).volume()
    text = StudyText(study="A-0042", description="Abdomen, phantom", body_part="ABDOMEN")
    abdomen = write_dicom_study(tmp_path / "abdomen.zip", volume, text)
    names = []

    def shoot(name: str, part: Any) -> None:
        page.mouse.move(720, 130)
        page.evaluate(SETTLED)
        part.screenshot(path=target / f"{name}.png")
        names.append(name)

    with serving(tmp_path / "workspace", tmp_path / "models") as url:
        page = browser.new_page(viewport=SIZE, locale="en-GB")
        page.set_default_timeout(JOB_MS)
        page.goto(url)
        page.get_by_test_id("sample").click(trial=True)
        shoot("viewer-welcome", page)
        page.get_by_test_id("sample").click()
        # a quick machine is through with the windows between two looks
        under_way = re.compile(r"[1-9]\d %|Reading|Preparing|Writing")
        page.locator('.row[data-state="running"] .row-state', has_text=under_way).wait_for()
        shoot("viewer-running", page)
        page.locator("[data-surface]").wait_for()
        page.get_by_test_id("trust").wait_for()
        shoot("viewer-reading", page)
        page.get_by_role("button", name="中文").click()
        page.get_by_text("复制为文本").wait_for()
        shoot("viewer-reading-zh", page)
        page.get_by_role("button", name="EN").click()
        correct_and_save(page, tmp_path / "workspace")
        shoot("viewer-review", page)
        page.keyboard.press("Escape")

        (tmp_path / "letter.txt").write_text("no image")
        page.get_by_test_id("file-input").set_input_files(tmp_path / "letter.txt")
        page.locator('.row[data-state="failed"]').wait_for()
        page.get_by_test_id("file-input").set_input_files(abdomen)
        page.get_by_test_id("run-phantom-ct").wait_for()
        page.locator(".series img[src]").wait_for()
        page.locator("[data-ready]").wait_for()
        shoot("viewer-worklist", page)
        page.get_by_test_id("run-phantom-ct").click()
        page.get_by_test_id("lesion-1").wait_for()
        page.locator("[data-surface]").wait_for()
        shoot("viewer-ct", page)
        page.locator('canvas[data-plane="surface"]').dblclick()
        shoot("viewer-surface", page)
        page.close()
        report = next((tmp_path / "workspace" / "studies").glob("*/result/*/report.html"))
        page = browser.new_page(viewport=SIZE)
        page.goto(report.as_uri())
        shoot("report", page)
        page.close()
    for name in names:
        with Image.open(target / f"{name}.png") as picture:
            assert min(picture.size) > 150
            assert len(picture.convert("L").getcolors() or ()) > 60, f"{name} is empty"


def correct_and_save(page: Any, workspace: Path) -> None:
    """Draws on lesion 1, accepts lesion 2 and rejects lesion 3 where the model found as many, saves version 1, unfolds
    what the class rests on."""
    [folder] = (workspace / "studies").iterdir()
    view = json.loads((folder / "view" / "view.json").read_text())
    canvas = page.locator('canvas[data-plane="axial"]')
    numbers = {lesion["id"] for lesion in view["lesions"]}
    if 2 in numbers:
        page.get_by_test_id("accept-2").click()
    if 3 in numbers:
        page.get_by_test_id("reject-3").click()
        page.get_by_test_id("comment-3").fill("Partial volume of the cavity")
        page.get_by_test_id("comment-3").blur()
    page.get_by_test_id("lesion-1").click()
    drag(page, canvas, "b", [])
    page.get_by_test_id("radius").fill("3")
    page.evaluate(SETTLED)
    x, y, scale = place(canvas, view, view["lesions"][0]["jump"])
    drag(page, canvas, "", [(x, y), (x - 2 * scale, y + 16 * scale)])
    page.get_by_test_id("unsaved").wait_for()
    page.get_by_test_id("save-review").click()
    page.get_by_test_id("reader").fill("Dr A")
    page.get_by_test_id("save-now").click()
    page.locator('[data-version="1"][data-ready]').wait_for()
    page.locator("[data-surface]").wait_for()
    page.get_by_test_id("rests-on").click()
    page.get_by_test_id("brush").wait_for()
    page.locator(".notice").wait_for(state="hidden")
