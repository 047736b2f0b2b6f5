"""What the page draws agrees with the volume and the masks it came from."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.result import CaseResult
from medmtl.volume import Volume
from medmtl_app.display import describe, write_view
from tests.medmtl_app.conftest import affine

LEVEL = 128


def read_view(folder: Path) -> tuple[dict[str, Any], Any]:
    view = json.loads((folder / "view.json").read_text(encoding="utf-8"))
    stored = np.fromfile(folder / "volume.raw", dtype="<i2").reshape(view["shape"], order="F")
    return view, stored


def unpacked(path: Path, shape: list[int]) -> Any:
    return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8).reshape(shape, order="F")


@pytest.mark.parametrize("kind", ["axial", "sagittal", "oblique", "sheared"])
def test_every_voxel_keeps_its_place_in_the_patient(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    array = rng.permutation(6 * 7 * 5).reshape(6, 7, 5).astype(np.int16)
    volume = Volume(array=array, grid=Grid(shape=(6, 7, 5), affine=affine(kind)), modality="MR", content_hash="00")
    write_view(tmp_path / "view", volume, None)
    view, stored = read_view(tmp_path / "view")
    shown = Grid(shape=tuple(view["shape"]), affine=np.array(view["affine_lps"]))
    for index in [(0, 0, 0), (5, 6, 4), (2, 3, 1)]:
        there = np.rint(shown.to_index(volume.grid.to_lps(np.array(index, dtype=float)))).astype(int)
        assert stored[tuple(there)] == array[index]
    assert (np.diag(shown.affine[:3, :3]) > 0).all()


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(-3.5, 9000.25, 24, dtype=np.float32).reshape(2, 3, 4),
        np.linspace(0, 1e-6, 24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7,
        np.full((2, 3, 4), 5, dtype=np.int16),
    ],
)
def test_values_come_back(array: Any, tmp_path: Path) -> None:
    volume = Volume(array=array, grid=Grid(shape=(2, 3, 4), affine=np.eye(4)), modality=None, content_hash="00")
    write_view(tmp_path / "view", volume, None)
    view, stored = read_view(tmp_path / "view")
    span = float(array.max()) - float(array.min())
    [row] = view["channels"]
    assert np.abs(stored * row["slope"] + row["intercept"] - array).max() <= span / 50_000
    assert all(window["width"] > 0 for window in row["windows"])


def test_maps_and_fields_say_what_the_masks_say(answered: CaseResult, tmp_path: Path) -> None:
    write_view(tmp_path / "view", answered.volume, answered)
    view, _ = read_view(tmp_path / "view")
    found = {(row["task"], row["name"]): row for row in view["structures"]}
    expected = {
        (task.name, label.name)
        for task in answered.tasks
        if task.is_voxel
        for label in task.labels
        if answered.mask(task.name, label.name).any()
    }
    assert set(found) == expected
    assert len(expected) >= 3
    for (task, name), row in found.items():
        mask = answered.mask(task, name)  # the phantom's axes run to the left, back and head already
        drawn = unpacked(tmp_path / "view" / view["maps"][row["map"]]["file"], view["shape"]) == row["value"]
        assert (drawn == mask).all()
        assert mask[tuple(row["jump"])]
        where = np.argwhere(mask)
        assert (where.min(axis=0).tolist(), where.max(axis=0).tolist()) == (row["low"], row["high"])
        low, shape = row["field"]["low"], row["field"]["shape"]
        field = unpacked(tmp_path / "view" / row["field"]["file"], shape)
        part = tuple(slice(start, start + count) for start, count in zip(low, shape, strict=True))
        assert ((field >= LEVEL) == mask[part]).all()
        assert mask.sum() == mask[part].sum()
        assert len(np.unique(field)) > 10, "no graded probabilities, contours would be stair-steps"


def test_lesions_of_the_findings_can_be_jumped_to(answered: CaseResult, tmp_path: Path) -> None:
    write_view(tmp_path / "view", answered.volume, answered)
    view, _ = read_view(tmp_path / "view")
    items = answered.findings["lesions"]["items"]
    assert [row["id"] for row in view["lesions"]] == [item["id"] for item in items]
    assert items
    for row, item in zip(view["lesions"], items, strict=True):
        assert answered.masks["lesions"][tuple(row["jump"])] > 0
        assert [row["low"][2], row["high"][2]] == item["slice_range"]


def test_a_ct_opens_on_the_body_and_not_on_the_table(tmp_path: Path) -> None:
    array = np.full((96, 96, 4), -1000, dtype=np.int16)
    array[30:70, 20:60, :] = 40
    array[5:90, 80:83, :] = 100  # the table
    volume = Volume(array=array, grid=Grid(shape=array.shape, affine=np.eye(4)), modality="CT", content_hash="00")
    write_view(tmp_path / "view", volume, None)
    view, _ = read_view(tmp_path / "view")
    assert view["focus"]["low"][:2] == [30, 20]
    assert view["focus"]["high"][:2] == [70, 60]
    assert (view["unit"], view["channels"][0]["windows"][0]["name"]) == ("HU", "soft_tissue")


def test_the_worklist_hears_what_was_found(answered: CaseResult) -> None:
    told = describe(answered.volume, answered.findings)
    assert told["lesions"] == len(answered.findings["lesions"]["items"])
    assert told["trust"] == answered.findings["trust"]["level"]
    assert (told["modality"], told["slices"]) == ("MR", 6)
    assert "lesions" not in describe(answered.volume, None)
