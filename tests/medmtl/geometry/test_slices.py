"""Slices at uneven distances: places, millilitres and the planes between them."""

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.geometry.slices import SliceGrid, even_planes, nearest_planes

PLACES = (0.0, 1.0, 3.5, 4.5)
AFFINE = np.array([[2.0, 0, 0, 5], [0, 3, 0.4, 6], [0, 0, 1.5, 7], [0, 0, 0, 1]])
SLICES = SliceGrid(shape=(4, 5, 4), affine=AFFINE, places=PLACES)
EVEN = Grid(shape=(4, 5, 6), affine=AFFINE)


def test_a_slice_lies_at_its_place_and_is_found_there() -> None:
    for number, place in enumerate(PLACES):
        there = EVEN.to_lps(np.array([1.5, 2.0, place]))
        assert SLICES.to_lps(np.array([1.5, 2.0, number])) == pytest.approx(there)
        assert SLICES.to_index(there) == pytest.approx([1.5, 2.0, number])
    index = np.random.default_rng(0).uniform(-2, 6, size=(7, 5, 3))
    assert SLICES.to_index(SLICES.to_lps(index)) == pytest.approx(index)


def test_a_slice_counts_for_half_the_way_to_its_neighbours() -> None:
    full = np.ones((4, 5, 4), dtype=bool)
    assert SLICES.mask_ml(full) == pytest.approx(20 * 5.5 * EVEN.voxel_ml)  # 1, 1.75, 1.75 and 1 planes
    one = np.zeros_like(full)
    one[0, 0, 2] = True
    assert SLICES.mask_ml(one) == pytest.approx(1.75 * EVEN.voxel_ml)
    assert EVEN.mask_ml(np.ones((4, 5, 6), dtype=bool)) == pytest.approx(120 * EVEN.voxel_ml)


def test_places_rise_and_there_is_one_for_each_slice() -> None:
    for places in ((0.0, 1.0), (0.0, 2.0, 1.0, 3.0)):
        with pytest.raises(ValueError, match="place"):
            SliceGrid(shape=(4, 5, 4), affine=AFFINE, places=places)


def test_values_that_rise_evenly_come_back_as_they_are() -> None:
    ramp = np.ones((2, 3, 1), np.float32) * np.array(PLACES, np.float32) * 10
    assert even_planes(ramp, PLACES, 5) == pytest.approx(np.ones((2, 3, 1)) * np.arange(5) * 10)
    whole = even_planes(ramp.astype(np.int16), PLACES, 5)
    assert whole.dtype == np.int16
    assert np.array_equal(whole[0, 0], [0, 10, 20, 30, 40])
    assert nearest_planes(PLACES) == [0, 1, 4, 4]
