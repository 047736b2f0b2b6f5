import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medmtl.geometry.grid import Grid
from medmtl.geometry.resample import resample, resample_labels, respaced

shapes = st.tuples(*[st.integers(1, 12)] * 3)


def ramp(shape: tuple[int, int, int], slopes: tuple[float, float, float]) -> np.ndarray:
    """Values that rise with the relative place along each axis, so that they do not depend on the number of voxels."""
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    return slopes[0] * i + slopes[1] * j + slopes[2] * k


@pytest.mark.parametrize("shape", [(18, 7, 10), (9, 14, 5), (5, 11, 23)])
@pytest.mark.parametrize("cubic", [False, True])
def test_a_ramp_stays_a_ramp_with_a_slope_of_its_own_along_each_axis(shape: tuple[int, int, int], cubic: bool) -> None:
    source = ramp((9, 14, 10), (900.0, 30.0, -7.0))
    out = resample(source, shape, cubic=cubic)
    wanted = ramp(shape, (900.0, 30.0, -7.0))
    # within half a source voxel of the edge values are continued; inside they are exact
    places = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij"))
    margin = (2.0 if cubic else 0.5) / np.array([9, 14, 10])[:, None, None, None]
    inside = ((places >= margin) & (places <= 1 - margin)).all(axis=0)
    assert inside.any()
    assert np.abs(out - wanted)[inside].max() < (3.0 if cubic else 1e-3)
    assert out.dtype == np.float32


@settings(max_examples=40)
@given(shapes, shapes, st.booleans())
def test_values_stay_within_their_range_for_any_shape(
    have: tuple[int, int, int], want: tuple[int, int, int], cubic: bool
) -> None:
    source = np.random.default_rng(1).normal(size=have).astype(np.float32)
    out = resample(source, want, cubic=cubic)
    assert out.shape == want
    assert out.min() >= source.min() - 1e-6
    assert out.max() <= source.max() + 1e-6


@settings(max_examples=40)
@given(shapes, st.tuples(*[st.one_of(st.none(), st.floats(0.4, 9.0))] * 3), st.integers(0, 99))
def test_the_outer_edges_of_a_grid_stay(
    shape: tuple[int, int, int], spacing: tuple[float | None, float | None, float | None], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rng.normal(size=(3, 3)) + 3 * np.eye(3)  # sheared
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    grid = Grid(shape=shape, affine=affine)
    new = respaced(grid, spacing)
    for one in np.argwhere(np.ones((2, 2, 2))):
        old_corner = grid.to_lps(one * np.asarray(grid.shape) - 0.5)
        assert np.allclose(new.to_lps(one * np.asarray(new.shape) - 0.5), old_corner, atol=1e-6)
    for axis, wanted in enumerate(spacing):
        if wanted is None:
            assert new.shape[axis] == grid.shape[axis]
        else:
            extent = grid.shape[axis] * grid.spacing[axis]
            assert abs(new.shape[axis] - extent / wanted) <= 0.5 or new.shape[axis] == 1


@settings(max_examples=30)
@given(shapes, shapes, st.integers(0, 99))
def test_no_label_is_invented(have: tuple[int, int, int], want: tuple[int, int, int], seed: int) -> None:
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 2, 9, 255], np.uint8), size=have)
    out = resample_labels(labels, want)
    assert out.dtype == np.uint8
    assert out.shape == want
    assert set(np.unique(out)) <= set(np.unique(labels))


def test_label_set_is_kept_and_nothing_moves() -> None:
    shape, labels = (24, 30, 12), np.zeros((24, 30, 12), np.uint8)
    labels[3:11, 4:12, 2:6] = 1
    labels[14:20, 20:28, 6:11] = 200
    for want in ((48, 30, 12), (31, 47, 17), (17, 21, 9)):
        out = resample_labels(labels, want)
        assert set(np.unique(out)) == {0, 1, 200}
        factor = np.asarray(want) / np.asarray(shape)
        for value in (1, 200):
            before = (np.asarray(ndimage.center_of_mass(labels == value)) + 0.5) * factor - 0.5
            after = np.asarray(ndimage.center_of_mass(out == value))
            assert np.abs(after - before).max() < 0.5
    twice = resample_labels(labels, (48, 60, 24))
    for value in (1, 200):  # but for the corners of a box
        assert int((twice == value).sum()) == pytest.approx(8 * int((labels == value).sum()), rel=0.01)


def test_one_shape_changes_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint8)
    assert np.array_equal(resample_labels(labels, (4, 5, 6)), labels)
    image = labels.astype(np.int16)
    assert np.array_equal(resample(image, (4, 5, 6)), image)


def test_two_slices_are_read_from_the_image_alone() -> None:
    source = np.random.default_rng(1).normal(size=(2, 3, 9)).astype(np.float32)
    first = resample(source, (8, 7, 7), cubic=True)
    for junk in (np.nan, np.inf, 1e30, -1e30):
        np.full(200_000, junk, dtype=np.float32)  # what memory held before must not matter
        assert np.array_equal(resample(source, (8, 7, 7), cubic=True), first)
    # seen from the other side it is the same image
    mirrored = resample(np.ascontiguousarray(source[::-1]), (8, 7, 7), cubic=True)
    assert np.allclose(mirrored[::-1], first, atol=1e-4)
