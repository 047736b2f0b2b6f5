"""Surfaces enclose what their masks hold, where it lies in the patient."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from medmtl.geometry.grid import Grid
from medmtl.shapes import Mask, VoxelArray
from medmtl_app.meshes import CELLS, Mesh, surface, write_mesh
from tests.medmtl_app.conftest import affine

KINDS = ("axial", "oblique", "sheared")


def levels_of(mask: Mask) -> VoxelArray:
    return np.where(mask, 255, 0).astype(np.uint8)


def ball(grid: Grid, radius_mm: float) -> Mask:
    """Voxels within `radius_mm` of the grid's middle."""
    centre = grid.to_lps((np.array(grid.shape) - 1) / 2)
    points = grid.to_lps(np.moveaxis(np.indices(grid.shape), 0, -1).astype(np.float64))
    return np.asarray(np.linalg.norm(points - centre, axis=-1) < radius_mm)


def edges(mesh: Mesh) -> Counter[tuple[int, int]]:
    """Directed edges of all triangles."""
    pairs = np.concatenate([mesh.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    return Counter((int(a), int(b)) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ball_keeps_its_volume_and_place(kind: str) -> None:
    grid = Grid(shape=(50, 48, 26), affine=affine(kind))
    mesh = surface(levels_of(ball(grid, 25.0)), (0, 0, 0), grid)
    assert mesh is not None
    assert mesh.volume_ml == pytest.approx(4 / 3 * np.pi * 25.0**3 / 1000, rel=0.04)
    centre = grid.to_lps((np.array(grid.shape) - 1) / 2)
    assert np.abs(mesh.vertices.mean(axis=0) - centre).max() < 0.5
    assert np.abs(np.linalg.norm(mesh.vertices - centre, axis=1) - 25.0).max() < 2.5


@settings(max_examples=30, deadline=None)
@given(some.integers(0, 10_000), some.integers(1, 60))
def test_surfaces_are_closed_and_turned_outwards(seed: int, percent: int) -> None:
    """Any mask, also one that touches the edge of the image: every edge is passed as often one way as the other."""
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 6, 5)) < percent / 100
    mesh = surface(levels_of(mask), (0, 0, 0), Grid(shape=mask.shape, affine=affine("sheared")))
    assert (mesh is None) == (not mask.any())
    if mesh is not None:
        found = edges(mesh)
        assert all(found[b, a] == count for (a, b), count in found.items())
        assert mesh.volume_ml > 0


def test_a_box_of_the_volume_lies_where_the_volume_has_it() -> None:
    grid = Grid(shape=(30, 30, 20), affine=affine("oblique"))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[8:20, 5:17, 6:14] = True
    whole = surface(levels_of(mask), (0, 0, 0), grid)
    cut = surface(levels_of(mask[6:22, 3:19, 4:16]), (6, 3, 4), grid)
    assert whole is not None
    assert cut is not None
    ends = [(mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)) for mesh in (whole, cut)]
    assert np.abs(np.array(ends[0]) - np.array(ends[1])).max() < 1.0


def test_thick_slices_join_by_slopes_not_steps() -> None:
    """A cone on slices of 10 mm: between two slices the radius goes through all values between theirs."""
    grid = Grid(shape=(60, 60, 5), affine=np.diag([1.0, 1.0, 10.0, 1.0]))
    x, y, z = np.indices(grid.shape)
    mask = np.hypot(x - 29.5, y - 29.5) < 24 - 5 * z
    mesh = surface(levels_of(mask), (0, 0, 0), grid)
    assert mesh is not None
    between = mesh.vertices[(mesh.vertices[:, 2] > 12) & (mesh.vertices[:, 2] < 18)]
    radii = np.hypot(between[:, 0] - 29.5, between[:, 1] - 29.5)
    assert radii.max() < 19.2
    assert radii.min() > 13.8
    assert np.ptp(radii) > 2


def test_large_structures_get_few_triangles() -> None:
    grid = Grid(shape=(150, 150, 150), affine=np.eye(4))
    mesh = surface(levels_of(ball(grid, 70.0)), (0, 0, 0), grid)
    assert mesh is not None
    assert len(mesh.triangles) < 12 * CELLS ** (2 / 3)
    assert mesh.volume_ml == pytest.approx(4 / 3 * np.pi * 70.0**3 / 1000, rel=0.02)


def test_one_voxel_still_has_a_surface(tmp_path: Path) -> None:
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[4, 4, 4] = True
    grid = Grid(shape=(9, 9, 9), affine=np.eye(4))
    row = write_mesh(tmp_path / "mesh-0.raw.gz", levels_of(mask), (0, 0, 0), grid)
    assert row is not None
    content = gzip.decompress((tmp_path / "mesh-0.raw.gz").read_bytes())
    assert len(content) == 12 * (row["vertices"] + row["triangles"])
    vertices = np.frombuffer(content, "<f4", 3 * row["vertices"]).reshape(-1, 3)
    assert np.abs(vertices - 4).max() < 1
    assert write_mesh(tmp_path / "none", levels_of(mask & False), (0, 0, 0), grid) is None
