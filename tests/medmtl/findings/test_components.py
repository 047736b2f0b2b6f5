import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medmtl.findings.components import components, keep_largest, touches_edge


@given(st.integers(0, 10_000), st.floats(0.02, 0.5))
def test_as_another_implementation_has_them(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((9, 8, 7)) < share
    pieces, count = components(mask)
    other, other_count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    assert count == other_count
    assert np.array_equal(pieces > 0, mask)
    assert len(set(zip(pieces[mask].tolist(), other[mask].tolist(), strict=True))) == count  # one to one
    sizes = np.bincount(pieces.ravel())[1:]
    assert (np.diff(sizes) <= 0).all()


def test_voxels_that_share_a_corner_are_one_piece() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    pieces, count = components(mask)
    assert count == 2
    assert pieces[0, 0, 0] == pieces[1, 1, 1] == 1


def test_small_pieces_are_left_out_and_numbers_stay_without_gaps() -> None:
    mask = np.zeros((12, 3, 3), bool)
    mask[0:2], mask[4, 0, 0], mask[8] = True, True, True
    pieces, count = components(mask, minimum_voxels=9)
    assert count == 2
    assert np.unique(pieces).tolist() == [0, 1, 2]
    assert pieces[4, 0, 0] == 0
    assert (pieces[0, 0, 0], pieces[8, 0, 0]) == (1, 2)
    assert components(np.zeros((3, 3, 3), bool)) == (pytest.approx(np.zeros((3, 3, 3))), 0)


def test_the_largest_piece_is_kept_with_all_its_labels() -> None:
    labels = np.zeros((10, 3, 3), np.uint8)
    labels[0:2], labels[2:4], labels[7] = 1, 2, 1
    kept = keep_largest(labels)
    assert kept.dtype == np.uint8
    assert np.array_equal(kept[:4], labels[:4])
    assert not kept[7].any()
    alone = np.where(labels == 2, labels, 0)
    assert np.array_equal(keep_largest(alone), alone)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_edge_of_the_scan(axis: int) -> None:
    for place, touched in ((0, True), (1, False), (4, True)):
        mask = np.zeros((5, 5, 5), bool)
        index = [2, 2, 2]
        index[axis] = place
        mask[tuple(index)] = True
        assert touches_edge(mask) == touched
        assert not touches_edge(mask, tuple(n for n in range(3) if n != axis))
