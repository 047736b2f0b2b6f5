"""How sure an answer is, on the page: intervals of volumes, confidence of lesions, and what a class rests on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medmtl.findings.calibration import Calibration, LesionCalibration, VolumeCalibration
from medmtl.outputs.numbers import amount, percent
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.model import load_model
from medmtl.result import CaseResult
from medmtl_app.display import describe
from medmtl_app.study_page import study_page
from medmtl_app.workspace import Study, StudyState, Workspace
from tests.medmtl_app.conftest import PAGE_MS, Viewer, plant, serving
from tests.tiny import heart_volume, write_bundle

MEASURED = ("lesions.infarct", "lesions.union", "organs.myocardium")
SIZE = {"width": 1280, "height": 720}
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> CaseResult:
    """A heart as answered by a model whose held-out errors are known, but not those of the left ventricle's cavity."""
    wide = VolumeCalibration(low=-0.3, high=0.2, cases=40)
    calibration = Calibration(
        volumes=dict.fromkeys(MEASURED, wide),
        lesions={"lesions": LesionCalibration(constant=0.5, log_odds=1.2, log_ml=0.4, lesions=90)},
    )
    bundle = write_bundle(tmp_path_factory.mktemp("measured") / "tiny", calibration=calibration)
    return diagnose("heart", (heart_volume(),), load_model(bundle, "cpu"), Request(keep_probabilities=True))


def planted(root: Path, result: CaseResult, title: str) -> tuple[Study, Path]:
    kept = Workspace(root)
    study = kept.add(kept.new_upload(), title=title)
    plant(kept.folder(study.id), result)
    values = {"summary": describe(result.volume, result.findings), "started": 10.0, "finished": 14.0}
    kept.change(study.id, {"state": StudyState.READY, **values})
    found = kept.study(study.id), kept.folder(study.id)
    kept.close()
    return found


def test_volumes_have_their_interval_where_it_was_measured(measured: CaseResult, tmp_path: Path) -> None:
    page = study_page(*planted(tmp_path, measured, "heart"))
    shown = {f"{row['task']}.{row['name']}": row["likely"] for row in page["view"]["structures"]}
    assert {name for name, likely in shown.items() if likely} == set(MEASURED) & shown.keys() != set()
    rows = [(measured.findings["lesions"]["totals"], page["findings"]["lesions"]["likely"])]
    rows += [(row, shown[f"organs.{row['name']}"]) for row in measured.findings["organs"] if row["ml_interval"]]
    for row, likely in rows:
        low, high = row["ml_interval"]
        assert low < row["ml"] < high
        assert (f"{likely['low']} mL", likely["high"]) == (amount(low, "mL"), amount(high, "mL"))


def test_confidence_is_said_only_where_it_was_measured(
    measured: CaseResult, answered: CaseResult, tmp_path: Path
) -> None:
    for place, (result, key) in enumerate(((measured, "confidence"), (answered, "mean_probability"))):
        lesions = study_page(*planted(tmp_path / str(place), result, "heart"))["findings"]["lesions"]
        items = result.findings["lesions"]["items"]
        assert lesions["sureness"] == key
        assert [row["sure"] for row in lesions["items"]] == [percent(item[key]) for item in items] != []
        assert (key == "confidence") is (percent(items[0]["confidence"]) != percent(items[0]["mean_probability"]))


@pytest.fixture(scope="module")
def viewer(measured: CaseResult, answered: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    root = tmp_path_factory.mktemp("sureness")
    planted(root / "workspace", answered, "not measured")
    planted(root / "workspace", measured, "measured")
    with serving(root / "workspace", root / "models") as url:
        yield Viewer(url, root / "workspace")


@pytest.fixture
def page(browser: Any, viewer: Viewer) -> Iterator[Any]:
    context = browser.new_context(viewport=SIZE, locale="en-GB")
    found = context.new_page()
    found.set_default_timeout(PAGE_MS)
    faults: list[str] = []
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.goto(viewer.url)
    yield found
    context.close()
    assert faults == []


def opened(page: Any, title: str) -> Any:
    page.locator(".row", has=page.get_by_text(title, exact=True)).click()
    page.locator(".row[aria-current=true]", has=page.get_by_text(title, exact=True)).wait_for()
    page.locator("[data-surface]").wait_for()
    return page


def slices(page: Any) -> list[int]:
    page.evaluate(SETTLED)
    return [
        int(page.locator(f'canvas[data-plane="{name}"]').get_attribute("data-slice"))
        for name in ("axial", "coronal", "sagittal")
    ]


def test_the_class_unfolds_to_what_it_rests_on(page: Any, measured: CaseResult) -> None:
    opened(page, "measured")
    chosen, rows = page.get_by_test_id("rests-on"), page.get_by_test_id("influence")
    assert chosen.get_attribute("aria-expanded") == "false"
    assert rows.count() == 0
    chosen.focus()
    page.keyboard.press("Enter")
    assert chosen.get_attribute("aria-expanded") == "true"
    said = measured.findings["diagnosis"]["influence"]
    assert [row.split("\n")[-1] for row in rows.locator(".influence").all_inner_texts()] == [
        f"{100 * row['change']:+.1f}".replace("-", "\N{MINUS SIGN}") for row in said
    ]
    places = []
    for row in said:
        page.get_by_test_id(f"influence-{row['structure']}").click()
        places.append(slices(page))
    assert len(set(map(tuple, places))) == len(said) > 1
    for row, place in zip(said, places, strict=True):
        name = row["structure"].split(".")[1]
        page.get_by_test_id(f"structure-{name}").locator(".name").click()
        assert slices(page) == place
    page.get_by_role("button", name="中文").click()
    rows.get_by_text("依据", exact=False).wait_for()
    page.get_by_test_id("rests-on").click()
    assert rows.count() == 0


def test_intervals_and_confidence_are_read_on_the_page(page: Any) -> None:
    opened(page, "measured")
    assert page.get_by_test_id("structure-myocardium").locator(".likely").inner_text().startswith("likely ")
    assert page.get_by_test_id("structure-lv_cavity").locator(".likely").count() == 0
    assert "confidence" in page.get_by_test_id("lesion-1").inner_text()
    opened(page, "not measured")
    assert page.locator(".likely").count() == 0
    assert "mean prob." in page.get_by_test_id("lesion-1").inner_text()
    assert "confidence" not in page.get_by_test_id("lesion-1").inner_text()
