import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.inference.windows import gaussian_weight, padding, window_starts


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


@given(st.tuples(*[st.integers(1, 24)] * 3))
def test_weights_are_positive_symmetric_and_highest_in_the_middle(window: tuple[int, int, int]) -> None:
    weight = gaussian_weight(window)
    assert weight.shape == window
    assert weight.dtype == np.float32
    assert 0.0 < weight.min() <= weight.max() == 1.0
    for axis in range(3):
        assert np.array_equal(weight, np.flip(weight, axis))
        middle = weight.take(window[axis] // 2, axis=axis)
        assert (weight.take(0, axis=axis) <= middle).all()


@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_padding_makes_room_for_one_window_and_no_more(
    shape: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    for (before, after), size, extent in zip(padding(shape, window), shape, window, strict=True):
        assert before + size + after == max(size, extent)
        assert after - before in (0, 1)
