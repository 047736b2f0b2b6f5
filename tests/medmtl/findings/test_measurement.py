import numpy as np
import pytest

from medmtl.findings.measurement import centroid_lps, plane_axes_mm, slice_range, volume_ml
from medmtl.geometry.grid import Grid


def grid_of(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-40.0, 15.0, 300.0]
    return Grid(shape=shape, affine=affine)


def ellipsoid(grid: Grid, radii: tuple[float, float, float]) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    middle = grid.to_lps((np.asarray(grid.shape) - 1) / 2)
    return (((grid.to_lps(index.astype(float)) - middle) / radii) ** 2).sum(axis=-1) <= 1.0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (2.0, 1.0, 3.0)])
def test_a_sphere(spacing: tuple[float, float, float]) -> None:
    radius = 30.0
    shape = tuple(int(70 / s) | 1 for s in spacing)
    grid = grid_of(shape, spacing)
    mask = ellipsoid(grid, (radius,) * 3)
    assert volume_ml(mask, grid) == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.02)
    assert centroid_lps(mask, grid) == pytest.approx(tuple(grid.to_lps((np.asarray(shape) - 1) / 2)))
    long_mm, short_mm = plane_axes_mm(mask, grid)
    assert long_mm == pytest.approx(2 * radius, abs=max(spacing[:2]))
    assert short_mm == pytest.approx(2 * radius, abs=2 * max(spacing[:2]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_ellipse_is_measured_in_its_slice_whichever_axis_the_slices_lie_on(axis: int) -> None:
    radii, spacing, shape = [12.0, 12.0, 12.0], [0.5, 0.5, 0.5], [61, 61, 61]
    radii[axis], spacing[axis], shape[axis] = 12.0, 4.0, 9  # flat cells across the slices
    radii[(axis + 1) % 3] = 6.0
    grid = grid_of((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]))
    mask = ellipsoid(grid, (radii[0], radii[1], radii[2]))
    assert plane_axes_mm(mask, grid, axis) == (pytest.approx(24.0, abs=0.6), pytest.approx(12.0, abs=0.6))


def test_axes_of_a_turned_bar_are_at_right_angles() -> None:
    i, j = np.meshgrid(np.arange(81), np.arange(81), indexing="ij")
    along, across = ((i - 40) + (j - 40)) / np.sqrt(2), ((i - 40) - (j - 40)) / np.sqrt(2)
    mask = np.zeros((81, 81, 3), bool)
    mask[:, :, 1] = (np.abs(along) <= 30) & (np.abs(across) <= 2)
    long_mm, short_mm = plane_axes_mm(mask, grid_of(mask.shape, (1.0, 1.0, 4.0)))
    assert long_mm == pytest.approx(np.hypot(60, 4), abs=1.5)
    assert short_mm == pytest.approx(2 * 60 * 4 / np.hypot(60, 4), abs=1.6)  # of a rectangle, across its diagonal


def test_one_voxel_and_none() -> None:
    grid = grid_of((3, 4, 5), (2.0, 3.0, 4.0))
    mask = np.zeros(grid.shape, bool)
    assert plane_axes_mm(mask, grid) == (0.0, 0.0)
    for measure in (lambda: centroid_lps(mask, grid), lambda: slice_range(mask)):
        with pytest.raises(ValueError, match="empty mask"):
            measure()
    mask[1, 2, 3] = True
    assert plane_axes_mm(mask, grid) == (pytest.approx(3.0), pytest.approx(2.0))
    assert slice_range(mask) == (3, 3)
    assert slice_range(mask, 1) == (2, 2)
    assert volume_ml(mask, grid) == pytest.approx(0.024)
    assert centroid_lps(mask, grid) == pytest.approx((-38.0, 21.0, 312.0))


def test_the_volume_of_a_sheared_grid_is_its_determinant() -> None:
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    affine[1, 2] = 2.0
    grid = Grid(shape=(4, 4, 4), affine=affine)
    assert volume_ml(np.ones(grid.shape, bool), grid) == pytest.approx(64 * 0.005)
