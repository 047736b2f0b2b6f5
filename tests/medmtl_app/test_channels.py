"""Two channels: each mask on the channel that its task is drawn on, on the page and in what is stored of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.outputs.write_case import write_case
from medmtl.pipeline.stored import rules_of
from medmtl.result import CaseResult
from medmtl_app.corrections import pack
from medmtl_app.display import describe, write_view
from medmtl_app.review_job import save
from medmtl_app.stored_study import open_study, view_of, write_rules
from medmtl_app.workspace import StudyState, Workspace
from tests.medmtl_app.conftest import Viewer, serving
from tests.medmtl_app.test_reading import coloured, opened, pixels
from tests.two_phases import CENTRES, RADIUS_MM, SHAPE, SPACING, two_channel_bundle, two_phases


@pytest.fixture(scope="module")
def phases() -> CaseResult:
    return two_phases()


def plant_phases(folder: Path, result: CaseResult) -> None:
    """Leaves the result in a study's folder as its job would."""
    rules = rules_of(two_channel_bundle(result.tasks), result.volume.grid)
    write_case(result, folder / "result", frozenset({"nii", "json"}))
    write_rules(folder, rules, result.channels, result.channel_names)
    write_view(folder / "view", result.volume, result)


@pytest.fixture(scope="module")
def viewer(phases: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer with the heart at two phases."""
    root = tmp_path_factory.mktemp("phases")
    kept = Workspace(root / "workspace")
    study = kept.add(kept.new_upload(), title="phases")
    plant_phases(kept.folder(study.id), phases)
    summary = describe(phases.volume, phases.findings)
    kept.change(study.id, {"state": StudyState.READY, "summary": summary, "started": 10.0, "finished": 14.0})
    kept.close()
    with serving(root / "workspace", root / "models") as url:
        yield Viewer(url, root / "workspace")


@pytest.fixture
def page(browser: Any, viewer: Viewer) -> Iterator[Any]:
    with opened(browser, viewer) as found:
        yield found


def test_every_channel_is_stored_and_read_back(phases: CaseResult, tmp_path: Path) -> None:
    plant_phases(tmp_path, phases)
    view = json.loads((tmp_path / "view" / "view.json").read_text())
    assert [row["name"] for row in view["channels"]] == ["ED", "ES"]
    assert {row["task"]: row["channel"] for row in view["structures"]} == {"organs": 0, "organs_es": 1}
    again = open_study(tmp_path, Path(), 0)
    assert again.model.channel_names == ("ED", "ES")
    for stored, volume in zip(again.model.channels, phases.channels, strict=True):
        assert (stored.array == volume.array).all()
        assert stored.content_hash == volume.content_hash


def test_a_view_of_one_channel_from_before_is_still_read(answered: CaseResult, tmp_path: Path) -> None:
    write_view(tmp_path / "view", answered.volume, answered)
    path = tmp_path / "view" / "view.json"
    now = json.loads(path.read_text())
    [row] = now["channels"]
    former = {key: value for key, value in now.items() if key not in ("channels", "notices", "acquired")}
    former |= {key: row[key] for key in ("slope", "intercept", "windows")}
    former["structures"] = [{k: v for k, v in one.items() if k != "channel"} for one in now["structures"]]
    path.write_text(json.dumps(former))
    found = view_of(tmp_path, 0)
    assert found["channels"] == [{**row, "name": ""}]
    assert found["structures"] == now["structures"]


def test_a_review_keeps_every_channel_and_what_is_drawn_on_it(phases: CaseResult, tmp_path: Path) -> None:
    """The reader draws on the second phase and rejects the structure of the first."""
    plant_phases(tmp_path / "study", phases)
    drawn = phases.masks["organs_es"].copy()
    drawn[:4, :4, 2] = 1  # the phantom's axes run to the left, back and head already
    draft = tmp_path / "draft.raw.gz"
    draft.write_bytes(pack(drawn))
    word = {"decision": "rejected", "comment": ""}
    request = {
        "study": str(tmp_path / "study"), "upload": str(tmp_path), "number": 0, "version": 1, "based_on": 0,
        "reader": "A", "time": "2026-01-01T00:00:00+00:00", "comment": "", "lesions": {}, "classes": {},
        "structures": {"organs.lv_cavity": word}, "drafts": {"organs_es": str(draft)},
    }  # fmt: skip
    save(request)
    view = view_of(tmp_path / "study", 1)
    assert [row["name"] for row in view["channels"]] == ["ED", "ES"]
    assert {row["task"]: (row["channel"], row.get("edited", False)) for row in view["structures"]} == {
        "organs": (0, False),
        "organs_es": (1, True),
    }
    version = open_study(tmp_path / "study", tmp_path, 0).result(1)
    assert version.channel_names == ("ED", "ES")
    assert version.masks["organs"].sum() == 0
    assert (version.masks["organs_es"] == drawn).all()
    said = json.loads((tmp_path / "study" / "reviews" / "1" / "two-phases" / "review.json").read_text())
    assert said["image"]["channels"] == 2


def from_ball(page: Any, chosen: Any, name: str) -> Any:
    """Mm in the axial plane from the middle of a phase's ball to the chosen pixels of its picture."""
    scale = float(page.locator('canvas[data-plane="axial"]').get_attribute("data-scale"))
    middle = (np.array(SHAPE) - 1)[:2] / 2  # the whole image is in focus
    offset = (np.array(CENTRES[name])[:2] - middle) * np.array(SPACING[:2])
    height, width = chosen.shape
    rows, columns = np.nonzero(chosen)
    return np.hypot((columns - width / 2) / scale - offset[0], (rows - height / 2) / scale - offset[1])


def test_a_mask_lies_on_the_channel_it_is_drawn_on(page: Any) -> None:
    """The line in a structure's colour is round the bright ball of the channel that is shown, and no other is drawn."""
    page.keyboard.press("x")
    page.keyboard.press("f")
    for name, radius in RADIUS_MM.items():
        page.locator(f'canvas[data-plane="axial"][data-channel="{name}"]').wait_for()
        picture = pixels(page, "axial")
        line = from_ball(page, coloured(picture), name)
        assert len(line) > 200, name
        assert abs(float(np.median(line)) - radius) < 1.5, name
        assert (line < radius + 3).mean() > 0.95, f"{name}: a mask of the other channel is drawn"
        bright = from_ball(page, picture.min(axis=2) > 150, name)
        assert (bright < radius).mean() > 0.7, f"{name}: another channel is shown"
        page.keyboard.press("v")
    assert page.locator('canvas[data-plane="axial"]').get_attribute("data-channel") == "ED"


def test_masks_of_other_channels_are_faint_and_on_request(page: Any) -> None:
    page.keyboard.press("x")
    alone = coloured(pixels(page, "axial")).sum()
    solid = pixels(page, "surface")
    page.keyboard.press("Shift+V")
    both = pixels(page, "axial")
    assert (pixels(page, "surface") != solid).any()
    page.keyboard.press("Shift+V")
    again = pixels(page, "axial")
    assert (both != again).any(axis=2).sum() > 100
    assert coloured(again).sum() == alone
    assert (pixels(page, "surface") == solid).all()


def test_jumps_windows_and_brush_keep_to_a_structures_channel(page: Any) -> None:
    axial = page.locator('canvas[data-plane="axial"]')
    assert page.get_by_test_id("channel-ED").get_attribute("aria-pressed") == "true"
    page.locator(".findings .structure .name").nth(1).click()
    page.locator('canvas[data-plane="axial"][data-channel="ES"]').wait_for()
    assert page.get_by_test_id("channel-ES").get_attribute("aria-pressed") == "true"
    before = pixels(page, "axial")
    page.keyboard.press("2")  # the window of this channel alone
    page.keyboard.press("v")
    page.locator('canvas[data-plane="axial"][data-channel="ED"]').wait_for()
    page.keyboard.press("v")
    page.locator('canvas[data-plane="axial"][data-channel="ES"]').wait_for()
    assert (pixels(page, "axial") != before).any()
    page.keyboard.press("1")
    assert (pixels(page, "axial") == before).all()
    page.keyboard.press("b")
    chosen = page.get_by_test_id("target")
    assert chosen.locator("option:checked").inner_text() == "Left ventricular cavity · ES"
    chosen.select_option("0")
    page.locator('canvas[data-plane="axial"][data-channel="ED"]').wait_for()
    axial.focus()
    page.keyboard.press("v")
    assert chosen.locator("option:checked").inner_text() == "Left ventricular cavity · ES"
    assert "End-systole" in page.locator(".findings").inner_text()
