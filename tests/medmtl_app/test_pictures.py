"""Pictures of the pages for the documentation, made by the shipped model on the sample that comes with the source."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medmtl.bundle.catalogue import shipped_folder
from medmtl_app.sample import sample_path
from tests.medmtl_app.conftest import serving

SIZE = {"width": 1440, "height": 900}
JOB_MS = 600_000


@pytest.mark.slow
def test_pictures_of_the_pages(browser: Any, tmp_path: Path) -> None:
    """`MEDMTL_PICTURES=docs/images` puts them there."""
    if not list(shipped_folder().glob("*/bundle.yaml")) or sample_path() is None:
        pytest.skip("no shipped model or no sample in this checkout")
    target = Path(os.environ.get("MEDMTL_PICTURES", tmp_path))
    with serving(tmp_path / "workspace", shipped_folder()) as url:
        page = browser.new_page(viewport=SIZE, locale="en-GB")
        page.set_default_timeout(JOB_MS)
        page.goto(url)
        page.get_by_test_id("sample").click(trial=True)
        page.screenshot(path=target / "viewer-welcome.png")
        page.get_by_test_id("sample").click()
        page.locator(".row-state", has_text=re.compile(r"[3-9]\d %")).wait_for()
        page.screenshot(path=target / "viewer-running.png")
        page.locator("[data-ready]").wait_for()
        page.get_by_test_id("trust").wait_for()
        page.mouse.move(700, 200)
        page.locator("canvas").first.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
        )
        page.screenshot(path=target / "viewer-reading.png")
        page.get_by_role("button", name="中文").click()
        page.get_by_text("复制为文本").wait_for()
        page.screenshot(path=target / "viewer-reading-zh.png")
        page.close()
    for name in ("welcome", "running", "reading", "reading-zh"):
        with Image.open(target / f"viewer-{name}.png") as picture:
            assert picture.size == (SIZE["width"], SIZE["height"])
            assert len(picture.convert("L").getcolors() or ()) > 60, f"{name} is empty"
