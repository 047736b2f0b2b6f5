import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray

steps = st.floats(0.3, 12.0)
shears = st.floats(-0.4, 0.4)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Oblique, sheared, mirrored grids anywhere in the patient."""
    seed = draw(st.integers(0, 2**32 - 1))
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    shear = np.eye(3)
    shear[0, 2], shear[1, 2], shear[0, 1] = draw(shears), draw(shears), draw(shears)
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ np.diag([draw(steps), draw(steps), draw(steps)])
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return Grid(shape=tuple(draw(st.integers(1, 7)) for _ in range(3)), affine=affine)


def every_index(grid: Grid) -> FloatArray:
    return np.argwhere(np.ones(grid.shape)).astype(np.float64)


@given(grids())
def test_index_to_lps_and_back(grid: Grid) -> None:
    index = every_index(grid)
    assert np.allclose(grid.to_index(grid.to_lps(index)), index, atol=1e-6)
    one = grid.to_index(grid.to_lps(index[0]))
    assert one.shape == (3,)


@given(grids())
def test_the_parallelepiped_of_a_voxel_is_its_volume(grid: Grid) -> None:
    i, j, k = (grid.to_lps(np.eye(3)[axis]) - grid.to_lps(np.zeros(3)) for axis in range(3))
    assert grid.voxel_ml == pytest.approx(abs(float(np.cross(i, j) @ k)) / 1000, rel=1e-6)
    assert grid.spacing == pytest.approx([float(np.linalg.norm(v)) for v in (i, j, k)])


def test_a_tilted_gantry_keeps_its_millilitres_and_shows_its_angle() -> None:
    tilt = np.radians(20.0)
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    affine[1, 2] = 5.0 * np.tan(tilt)
    grid = Grid(shape=(4, 4, 4), affine=affine)
    assert grid.voxel_ml == pytest.approx(0.5 * 0.5 * 5.0 / 1000)  # the tilt moves slices, it adds no tissue
    assert grid.spacing[2] == pytest.approx(5.0 / np.cos(tilt))
    assert grid.shear_deg == pytest.approx(20.0)
    assert Grid(shape=(4, 4, 4), affine=np.diag([0.5, 0.5, 5.0, 1.0])).shear_deg == 0.0


@given(grids(), st.floats(-0.2, 0.2))
def test_same_grid_within_a_twentieth_of_a_millimetre_at_every_corner(grid: Grid, shift: float) -> None:
    affine = grid.affine.copy()
    affine[0, 3] += shift
    other = Grid(shape=grid.shape, affine=affine)
    if abs(abs(shift) - 0.05) > 1e-6:
        assert grid.same_as(other) == (abs(shift) < 0.05)
    bigger = (grid.shape[0] + 1, *grid.shape[1:])
    assert not grid.same_as(Grid(shape=bigger, affine=grid.affine))


def test_a_difference_that_grows_along_an_axis_counts_at_its_end() -> None:
    affine, longer = np.eye(4), np.diag([1.001, 1.0, 1.0, 1.0])
    assert Grid(shape=(20, 2, 2), affine=affine).same_as(Grid(shape=(20, 2, 2), affine=longer))
    assert not Grid(shape=(200, 2, 2), affine=affine).same_as(Grid(shape=(200, 2, 2), affine=longer))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((2, 2, 2), np.diag([1.0, 1.0, 0.0, 1.0])),
        ((2, 2, 2), np.diag([1.0, np.nan, 1.0, 1.0])),
        ((2, 2, 2), np.eye(3)),
        ((2, 0, 2), np.eye(4)),
        ((2, 2), np.eye(4)),
    ],
)
def test_no_grid_without_extent(shape: tuple[int, ...], affine: FloatArray) -> None:
    with pytest.raises(ValueError, match=r"affine|axes"):
        Grid(shape=shape, affine=affine)  # type: ignore[arg-type]


def test_a_grid_keeps_its_own_affine() -> None:
    affine = np.eye(4)
    grid = Grid(shape=(2, 2, 2), affine=affine)
    affine[0, 0] = 5.0
    assert grid.affine[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 5.0
