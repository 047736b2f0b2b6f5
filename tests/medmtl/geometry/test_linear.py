import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmtl.geometry import linear
from medmtl.geometry.linear import along, resample_linear, steps
from medmtl.geometry.resample import _resample

shapes = st.tuples(*[st.integers(1, 14)] * 3)


@settings(max_examples=40)
@given(shapes, shapes, st.integers(0, 9))
def test_values_are_those_of_simpleitk(have: tuple[int, int, int], want: tuple[int, int, int], seed: int) -> None:
    source = np.random.default_rng(seed).normal(size=have).astype(np.float32)
    assert np.abs(resample_linear(source, want) - _resample(source, want, "sitkLinear")).max() < 2e-5


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("want", [(30, 9, 41), (11, 23, 17), (20, 9, 12)])
def test_the_size_of_slabs_changes_no_bit(
    order: str, want: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = np.asarray(np.random.default_rng(0).integers(-900, 900, (20, 9, 12)), dtype=np.int16, order=order)  # type: ignore[call-overload]
    whole = resample_linear(source, want)
    for values in (1, 500, 3000):
        monkeypatch.setattr(linear, "_SCRATCH_VALUES", values)
        assert np.array_equal(resample_linear(source, want), whole)
    assert np.array_equal(
        resample_linear(source, want, lambda v: np.clip(v, -10, 10)), resample_linear(np.clip(source, -10, 10), want)
    )


@given(st.integers(1, 30), st.integers(1, 60), st.data())
def test_a_part_of_an_axis_needs_what_it_reaches_and_no_more(have: int, wanted: int, data: st.DataObject) -> None:
    way = steps(have, wanted)
    first = data.draw(st.integers(0, wanted - 1))
    span = (first, data.draw(st.integers(first + 1, wanted)))
    low, high = way.reach(span)
    row = np.random.default_rng(have).normal(size=have).astype(np.float32)
    whole = along(row, 0, way, (0, wanted))
    assert np.array_equal(along(row[low:high], 0, way, span, low), whole[slice(*span)])
    # what a change of old values can reach is told by `touched`
    changed = row.copy()
    changed[low:high] += 1.0
    moved = np.flatnonzero(along(changed, 0, way, (0, wanted)) != whole)
    begin, end = way.touched((low, high))
    assert moved.size == 0 or (begin <= moved[0] and moved[-1] < end)


@given(st.integers(1, 20), st.integers(1, 40))
def test_an_order_of_values_is_kept(have: int, wanted: int) -> None:
    rng = np.random.default_rng(have)
    low = rng.random(have).astype(np.float32)
    high = low + rng.choice(np.array([0.0, 1e-7, 0.5], dtype=np.float32), have)
    way = steps(have, wanted)
    assert (along(high, 0, way, (0, wanted)) >= along(low, 0, way, (0, wanted))).all()
