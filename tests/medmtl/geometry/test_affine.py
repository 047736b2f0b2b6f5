"""Affines survive the way there and back, and useless ones are told apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medmtl.geometry.affine import (
    affine_from_axes,
    apply,
    corner_distance_mm,
    corner_indices,
    is_usable,
    spacing_of,
    swap_ras_lps,
)
from medmtl.geometry.grid import Grid

NUMBERS = st.floats(-200, 200, allow_nan=False, width=32)
POINTS = arrays(np.float64, (5, 3), elements=NUMBERS)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Rotation times spacing (with or without a mirror), anywhere in the room."""
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    norm = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / norm if norm > 1e-3 else (1.0, 0.0, 0.0, 0.0)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    spacing = draw(st.tuples(*[st.floats(0.1, 20)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    columns = rotation * np.array(spacing) * np.array(signs)
    return affine_from_axes((columns[:, 0], columns[:, 1], columns[:, 2]), np.array(draw(st.tuples(*[NUMBERS] * 3))))


@given(affines(), POINTS)
def test_index_to_lps_and_back(affine: np.ndarray, index: np.ndarray) -> None:
    grid = Grid(shape=(4, 5, 6), affine=affine)
    assert grid.to_index(apply(affine, index)) == pytest.approx(index, abs=1e-6)


@given(affines(), POINTS)
def test_ras_and_lps_differ_in_the_sign_of_x_and_y_alone(affine: np.ndarray, index: np.ndarray) -> None:
    assert np.array_equal(swap_ras_lps(swap_ras_lps(affine)), affine)
    assert apply(swap_ras_lps(affine), index) == pytest.approx(apply(affine, index) * [-1, -1, 1], abs=1e-9)


@given(affines())
def test_spacing_is_the_distance_between_neighbours(affine: np.ndarray) -> None:
    steps = [np.linalg.norm(apply(affine, np.eye(3)[axis]) - apply(affine, np.zeros(3))) for axis in range(3)]
    assert spacing_of(affine) == pytest.approx(steps, abs=1e-4)
    assert is_usable(affine)


def test_corners_are_the_eight_outermost_voxels() -> None:
    corners = corner_indices((3, 1, 5))
    assert corners.shape == (8, 3)
    assert corners.min(axis=0).tolist() == [0, 0, 0]
    assert corners.max(axis=0).tolist() == [2, 0, 4]


def test_corner_distance_grows_with_the_shape() -> None:
    stretched = np.diag([1.01, 1.0, 1.0, 1.0])
    assert corner_distance_mm(np.eye(4), stretched, (101, 1, 1)) == pytest.approx(1.0)
    assert corner_distance_mm(np.eye(4), stretched, (11, 1, 1)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 0.0, 1.0, 1.0]),
        np.diag([1.0, np.nan, 1.0, 1.0]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        affine_from_axes((np.array([1.0, 0, 0]), np.array([1.0, 1e-5, 0]), np.array([0, 0, 1.0])), np.zeros(3)),
    ],
    ids=["zero", "flat", "nan", "projective", "collapsed"],
)
def test_useless_affines_are_told_apart(affine: np.ndarray) -> None:
    assert not is_usable(affine)
