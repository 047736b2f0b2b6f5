"""A study of several series: each can be read, and none is named by its UID."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medmtl.errors import Code, UsageError
from medmtl.reading.any_volume import discover, read_case
from medmtl_app.display import describe, write_view
from medmtl_app.other_series import key_of, listed, with_series
from medmtl_app.workspace import Workspace
from tests.medmtl_app.conftest import PAGE_MS, Viewer, serving

TILT, OTHER, LOCALIZER = 8, 4, 1
"""Images of the three series."""


@pytest.fixture(scope="module")
def study(shared: Path) -> Path:
    return shared / "dicom" / "study_ct_phantom"


def test_each_series_is_listed_and_can_be_named(study: Path) -> None:
    rows = listed({"upload": str(study), "number": 0})["series"]
    assert sorted(row["images"] for row in rows) == [LOCALIZER, OTHER, TILT]
    assert {bool(row["why"]) for row in rows if row["images"] > 1} == {False}
    [case] = discover(study)
    for row in rows:
        if not row["why"]:
            [volume] = read_case(with_series(case, row["key"]))
            assert volume.grid.shape[2] == row["images"]
            assert key_of(volume) == row["key"]
            assert volume.dicom is not None
            assert volume.dicom.series_uid not in json.dumps(row)
    with pytest.raises(UsageError) as caught:
        with_series(case, "0" * 16)
    assert caught.value.code is Code.UNKNOWN_SERIES


def test_uneven_slices_are_told_from_the_planes_between_them(shared: Path, tmp_path: Path) -> None:
    [volume] = read_case(discover(shared / "dicom" / "ct_tilt_varspacing_10")[0])
    write_view(tmp_path / "view", volume, None)
    view = json.loads((tmp_path / "view" / "view.json").read_text())
    assert len(view["acquired"]) == 10
    assert (view["acquired"][0], view["acquired"][-1]) == (0, view["shape"][2] - 1)
    assert "slices-resampled" in {row["code"] for row in view["notices"]}
    assert describe(volume, None)["slices"] == 10


@pytest.fixture(scope="module")
def viewer(study: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer without a model, with a study of three series and one of uneven slices."""
    root = tmp_path_factory.mktemp("series")
    kept = Workspace(root / "workspace")
    for source in (shared / "dicom" / "ct_tilt_varspacing_10", study):
        upload = kept.new_upload()
        for number, path in enumerate(path for path in sorted(source.rglob("*")) if path.is_file()):
            shutil.copyfile(path, kept.upload_folder(upload) / f"{number}.dcm")
        kept.add(upload, title=source.name)
    kept.close()
    with serving(root / "workspace", root / "models") as url:
        yield Viewer(url, root / "workspace")


@pytest.mark.slow
def test_another_series_opens_beside_the_first(browser: Any, viewer: Viewer) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
    page.set_default_timeout(PAGE_MS)
    page.goto(viewer.url)
    blocked = page.locator('.row[data-state="blocked"]')
    blocked.nth(1).wait_for()
    blocked.first.click()
    page.locator('.row[aria-current="true"]').wait_for()
    page.get_by_text("8 images").wait_for()
    page.get_by_test_id("other-series").click()
    page.get_by_test_id(re.compile("series-[0-9a-f]+")).filter(has_text="4 images").click()
    page.locator('.row[aria-current="true"][data-state="blocked"]', has_text=" · ").wait_for()
    shown = page.locator('canvas[data-plane="axial"][data-slice]')
    shown.wait_for()
    page.locator(".series[aria-current=true]").filter(has_text="4 images").wait_for()
    page.locator(".series:not([aria-current])").filter(has_text="8 images").wait_for()
    worklist = b"".join(path.read_bytes() for path in viewer.workspace.glob("worklist.sqlite*"))
    assert b"1.2.840" not in worklist
    assert b"1.3." not in worklist
    page.close()
