"""What the page draws of a structure beside its mask: probability, surface; and how much of it is kept."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.result import CaseResult
from medmtl_app import drawn
from medmtl_app.display import write_view
from medmtl_app.drawn import HEAT_FROM


def view_of(folder: Path, answered: CaseResult) -> dict[str, Any]:
    write_view(folder / "view", answered.volume, answered)
    found: dict[str, Any] = json.loads((folder / "view" / "view.json").read_text())
    return found


def test_maps_of_probability_are_the_models(answered: CaseResult, tmp_path: Path) -> None:
    rows = view_of(tmp_path, answered)["structures"]
    assert len(rows) >= 3
    for row in rows:
        task = next(task for task in answered.tasks if task.name == row["task"])
        channel = 1 + [label.name for label in task.labels].index(row["name"])
        own = answered.probabilities[task.name][channel]  # the phantom's axes run to the left, back and head already
        low, shape = np.array(row["heat"]["low"]), row["heat"]["shape"]
        near = tuple(slice(start, start + count) for start, count in zip(low, shape, strict=True))
        content = gzip.decompress((tmp_path / "view" / row["heat"]["file"]).read_bytes())
        held = np.frombuffer(content, np.uint8).reshape(shape, order="F")
        assert np.abs(held - 255.0 * own[near]).max() <= 0.5 + 1e-3
        outside = np.ones(own.shape, dtype=bool)
        outside[near] = False
        assert not (own[outside] >= HEAT_FROM).any()


def test_every_structure_has_a_surface_around_it(answered: CaseResult, tmp_path: Path) -> None:
    grid = answered.volume.grid
    for row in view_of(tmp_path, answered)["structures"]:
        content = gzip.decompress((tmp_path / "view" / row["mesh"]["file"]).read_bytes())
        vertices = np.frombuffer(content, "<f4", 3 * row["mesh"]["vertices"]).reshape(-1, 3)
        triangles = np.frombuffer(content, "<u4", offset=12 * row["mesh"]["vertices"]).reshape(-1, 3)
        assert len(triangles) == row["mesh"]["triangles"]
        assert triangles.max() == len(vertices) - 1
        index = grid.to_index(vertices.astype(np.float64))
        assert (index.min(axis=0) > np.array(row["low"]) - 1.1).all()
        assert (index.max(axis=0) < np.array(row["high"]) + 1.1).all()


def test_fields_stop_where_a_browser_would_be_full(
    answered: CaseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = view_of(tmp_path, answered)["structures"]
    sizes = [int(np.prod(row["field"]["shape"])) for row in whole]
    monkeypatch.setattr(drawn, "MAX_FIELD_BYTES", sum(sizes) - 1)
    kept = view_of(tmp_path, answered)["structures"]
    assert [("field" in row) for row in kept] == [True] * (len(sizes) - 1) + [False]
    assert all("mesh" in row and "heat" in row for row in kept)
