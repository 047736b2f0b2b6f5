import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.findings.extent import NOWHERE, label_extents, mask_extent

BOX = (slice(2, 5), slice(0, 3), slice(4, 6))


@pytest.mark.parametrize("order", ["C", "F"])
@given(seed=st.integers(0, 50), shape=st.tuples(*[st.integers(1, 9)] * 3))
def test_counts_and_boxes_are_those_of_every_voxel(order: str, seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    labels = np.asarray(rng.choice([0, 0, 0, 1, 7, 255], size=shape), dtype=np.uint8, order=order)  # type: ignore[call-overload]
    found = label_extents(labels)
    assert set(found) == set(np.unique(labels)) - {0}
    for value, extent in found.items():
        where = np.argwhere(labels == value)
        assert extent.voxels == len(where)
        assert [(s.start, s.stop) for s in extent.box] == list(
            zip(where.min(axis=0), where.max(axis=0) + 1, strict=True)
        )
        assert mask_extent(labels == value) == extent
        for axis in range(3):
            edge = bool({0, shape[axis] - 1} & set(where[:, axis]))
            assert extent.reaches_edge(shape, (axis,)) is edge


def test_nothing_lies_nowhere() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    assert label_extents(empty) == {}
    assert mask_extent(empty > 0) == NOWHERE
    assert not NOWHERE.reaches_edge((4, 5, 6))


def test_a_strided_view_is_measured_like_its_copy() -> None:
    whole = np.zeros((8, 6, 9), np.int32)
    whole[BOX] = 3
    view = whole.transpose(2, 0, 1)[::-1]
    assert label_extents(view) == label_extents(view.copy())
    assert label_extents(whole)[3].box == BOX
