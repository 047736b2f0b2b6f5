from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.inference.windows import axis_shares, axis_starts, axis_weight, body_box, padding, window_starts
from medmtl.preparation.plan import Normalisation, Scheme
from tests.tiny import CUBE, STACK


@given(st.data())
def test_windows_cover_every_voxel_exactly_to_the_edge_with_the_overlap_asked(data: st.DataObject) -> None:
    window = data.draw(st.tuples(*[st.integers(1, 16)] * 3))
    shape = tuple(data.draw(st.integers(n, 4 * n + 3)) for n in window)
    overlap = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.75]))
    starts = window_starts(shape, window, overlap)
    assert len(set(starts)) == len(starts)
    for axis, (size, extent) in enumerate(zip(shape, window, strict=True)):
        firsts = sorted({start[axis] for start in starts})
        assert firsts[0] == 0
        assert firsts[-1] + extent == size
        steps = np.diff(firsts)
        allowed = max(1, int(extent * (1 - overlap)))
        assert (steps <= allowed).all()
        # the fewest: one window less would leave a gap or too little overlap
        assert len(firsts) == 1 or size - extent > (len(firsts) - 2) * allowed


def test_an_image_of_one_window_has_one_window() -> None:
    assert window_starts((16, 16, 4), (16, 16, 4), 0.5) == [(0, 0, 0)]
    assert window_starts((17, 16, 4), (16, 16, 4), 0.5) == [(0, 0, 0), (1, 0, 0)]


def test_a_window_larger_than_the_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="no window"):
        window_starts((15, 16, 4), (16, 16, 4), 0.5)


@given(st.integers(1, 40))
def test_weights_are_positive_symmetric_and_highest_in_the_middle(extent: int) -> None:
    weight = axis_weight(extent)
    assert weight.dtype == np.float32
    assert 0.0 < weight.min() <= weight.max() == 1.0
    assert np.array_equal(weight, weight[::-1])
    assert (np.diff(weight[: (extent + 1) // 2]) >= 0).all()


@given(st.integers(1, 16), st.integers(0, 50), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_shares_of_the_windows_over_a_voxel_add_up_to_one(extent: int, more: int, overlap: float) -> None:
    size = extent + more
    total = np.zeros(size)
    for start, share in axis_shares(axis_starts(size, extent, overlap), extent).items():
        total[start : start + extent] += share
    assert np.allclose(total, 1.0, atol=1e-6)


def test_windows_look_at_the_body_and_not_at_the_air_around_it() -> None:
    plan = replace(CUBE, normalisation=(Normalisation(scheme=Scheme.CLIP, low=-150, high=250, mean=20, spread=80),))
    image = np.full((1, 40, 50, 30), (-150 - 20) / 80, dtype=np.float32)
    image[:, 12:30, 10:34, :] = 0.3
    image[:, 2, 3, 4] = 1.0  # a speck
    assert body_box(image, plan) == ((8, 34), (6, 38), (0, 30))
    assert body_box(image, STACK) == ((0, 40), (0, 50), (0, 30))  # no value of MR means air
    assert body_box(np.full_like(image, -2.125), plan) == ((0, 40), (0, 50), (0, 30))
    thin = np.full((1, 40, 50, 30), -2.125, dtype=np.float32)
    thin[:, 39, :, :] = 0.3  # at the edge, and thinner than a window
    assert body_box(thin, plan)[0] == (32, 40)


@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_padding_makes_room_for_one_window_and_no_more(
    shape: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    for (before, after), size, extent in zip(padding(shape, window), shape, window, strict=True):
        assert before + size + after == max(size, extent)
        assert after - before in (0, 1)
