from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn, slices_last, to_lps

TURNS = [
    AxisTurn(order=order, flipped=flips) for order in permutations(range(3)) for flips in product((0, 1), repeat=3)
]  # type: ignore[arg-type]


def sheared_grid(seed: int, shape: tuple[int, int, int] = (3, 4, 5)) -> Grid:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shear = np.eye(3) + np.triu(rng.uniform(-0.3, 0.3, (3, 3)), 1)
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ np.diag(rng.uniform(0.5, 8.0, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return Grid(shape=shape, affine=affine)


def positions(grid: Grid) -> np.ndarray:
    """`(3, i, j, k)` LPS of every voxel."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return np.moveaxis(grid.to_lps(index.astype(np.float64)), -1, 0)


@pytest.mark.parametrize("turn", TURNS)
def test_every_voxel_keeps_its_place_under_all_48_turns(turn: AxisTurn) -> None:
    grid = sheared_grid(7)
    # the position of a voxel is carried as its value: after the turn the new grid must say the same
    turned = turn.apply(positions(grid))
    assert np.allclose(turned, positions(turn.grid(grid)), atol=1e-9)
    assert np.array_equal(turn.undo(turned), positions(grid))


def test_there_are_48_turns_and_each_is_another() -> None:
    marks = np.arange(60).reshape(3, 4, 5)
    assert len({(turn.apply(marks).shape, turn.apply(marks).tobytes()) for turn in TURNS}) == 48


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_lps_axes_run_to_the_left_the_back_and_the_head(seed: int) -> None:
    grid = sheared_grid(seed)
    turned = to_lps(grid).grid(grid)
    direction = turned.affine[:3, :3] / np.asarray(turned.spacing)
    # no other turn of the 48 has its axes nearer to the patient's
    best = max(float(np.trace(t.grid(grid).affine[:3, :3] / np.asarray(t.grid(grid).spacing))) for t in TURNS)
    assert float(np.trace(direction)) == pytest.approx(best)


def test_ras_becomes_lps() -> None:
    grid = Grid(shape=(3, 4, 5), affine=np.diag([-1.0, -2.0, 3.0, 1.0]))
    turn = to_lps(grid)
    assert (turn.order, turn.flipped) == ((0, 1, 2), (True, True, False))
    turned = turn.grid(grid)
    assert np.allclose(turned.affine, [[1, 0, 0, -2], [0, 2, 0, -6], [0, 0, 3, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_axis_goes_last_and_nothing_is_flipped(axis: int) -> None:
    spacing = [1.5, 1.5, 1.5]
    spacing[axis] = 10.0
    turn = slices_last(Grid(shape=(3, 4, 5), affine=np.diag([*spacing, 1.0])))
    assert turn.order[2] == axis
    assert turn.order[:2] == tuple(n for n in range(3) if n != axis)
    assert turn.flipped == (False, False, False)


def test_even_voxels_stay_as_scanned() -> None:
    turn = slices_last(Grid(shape=(3, 4, 5), affine=np.diag([1.4, 1.0, 1.0, 1.0])))
    assert turn.order == (0, 1, 2)
