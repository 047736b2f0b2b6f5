"""Tilted stacks on upright boxes: every voxel inside, planes kept, positions exact, and back again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmtl.geometry.affine import corner_indices
from medmtl.geometry.grid import Grid
from medmtl.geometry.resample import resample_labels_onto, resample_onto
from medmtl.geometry.upright import is_upright, upright


def tilted(degrees: float, shape: tuple[int, int, int] = (20, 24, 8)) -> Grid:
    """An axial stack whose gantry leant: rows along x, columns turned, steps along z."""
    turn = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, 0] = [0.9, 0, 0]
    affine[:3, 1] = [0, 0.9 * np.cos(turn), -0.9 * np.sin(turn)]
    affine[:3, 2] = [0, 0, 2.5]
    affine[:3, 3] = [-40, 12, 700]
    return Grid(shape=shape, affine=affine)


def test_an_upright_grid_stays_what_it_is() -> None:
    grid = Grid(shape=(4, 5, 6), affine=np.diag([0.7, 0.7, 5.0, 1.0]))
    assert is_upright(grid)
    assert upright(grid) is grid
    rounded = grid.affine.copy()
    rounded[0, 2] = 0.009  # 0.045 mm over the stack
    assert upright(Grid(shape=(4, 5, 6), affine=rounded)).affine[0, 2] == 0.009


@pytest.mark.parametrize("degrees", [18.5, -16.5])
def test_a_tilted_stack_keeps_its_planes(degrees: float) -> None:
    grid = tilted(degrees)
    box = upright(grid)
    assert not is_upright(grid)
    assert is_upright(box)
    assert box.shape[2] == grid.shape[2]
    assert np.array_equal(box.affine[:3, :2], grid.affine[:3, :2])
    assert box.spacing[2] == pytest.approx(2.5 * np.cos(np.radians(degrees)))
    for k in range(grid.shape[2]):  # slice k lies in plane k
        assert box.to_index(grid.to_lps(np.array([7.0, 3.0, k])))[2] == pytest.approx(k)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3),
    st.lists(st.floats(0.4, 6.0), min_size=3, max_size=3),
    st.permutations(range(3)),
)
def test_the_box_holds_every_voxel(shears: list[float], steps: list[float], order: list[int]) -> None:
    leaning = np.eye(3)
    leaning[0, 2], leaning[1, 2], leaning[0, 1] = shears
    affine = np.eye(4)
    affine[:3, :3] = (leaning @ np.diag(steps))[:, order]
    affine[:3, 3] = [5, -6, 7]
    grid = Grid(shape=(9, 11, 7), affine=affine)
    box = upright(grid)
    index = box.to_index(grid.to_lps(corner_indices(grid.shape)))
    assert index.min() > -0.01
    assert (index < np.array(box.shape) - 0.99).all()
    assert is_upright(box)
    volume = np.prod(box.spacing) / 1000
    assert volume == pytest.approx(grid.voxel_ml, rel=1e-6)


def test_a_marker_keeps_its_place_and_size() -> None:
    grid = tilted(18.5, (40, 44, 10))
    box = upright(grid)
    marker = np.zeros(grid.shape, np.uint8)
    marker[25:33, 10:20, 2:7] = 3
    moved = resample_labels_onto(marker, grid, box)
    here = grid.to_lps(np.argwhere(marker).astype(float)).mean(axis=0)
    there = box.to_lps(np.argwhere(moved).astype(float)).mean(axis=0)
    assert np.abs(here - there).max() < 0.45  # half a pixel
    assert set(np.unique(moved)) == {0, 3}
    assert moved.astype(bool).sum() == pytest.approx(marker.astype(bool).sum(), rel=0.02)
    back = resample_onto((moved == 3).astype(np.float32), box, grid, outside=0.0) >= 0.5
    assert (back != (marker == 3)).sum() <= 8 * 5 * 2  # at most a row at each end of a slice


def test_a_linear_field_is_resampled_exactly() -> None:
    grid = tilted(-16.5)
    box = upright(grid)
    field = grid.to_lps(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)) @ [0.3, -0.7, 0.2]
    moved = resample_onto(field.astype(np.float32), grid, box, outside=1e9)
    index = np.argwhere(moved < 1e8)
    assert len(index) > 0.9 * field.size
    expected = box.to_lps(index.astype(float)) @ [0.3, -0.7, 0.2]
    inside = ((grid.to_index(box.to_lps(index.astype(float))) >= 0).all(axis=1)) & (
        (grid.to_index(box.to_lps(index.astype(float))) <= np.array(grid.shape) - 1).all(axis=1)
    )
    assert np.abs(moved[tuple(index.T)] - expected)[inside].max() < 1e-3
