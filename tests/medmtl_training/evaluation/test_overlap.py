import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from medmtl_training.evaluation.overlap import bland_altman, f1_score, lesion_counts, overlap

SHAPE = (20, 20, 10)


def box(*edges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*edge) for edge in edges)] = True
    return mask


def test_shifted_box_has_the_analytic_dice() -> None:
    truth = box((2, 12), (2, 12), (2, 6))
    for shift in range(11):
        found = overlap(np.roll(truth, shift, axis=0) if shift < 8 else box((12, 20), (2, 12), (2, 6)), truth, 0.01)
        expected = max(0, 10 - shift) / 10 if shift < 8 else 0.0
        assert found.dice == pytest.approx(expected)


def test_volumes_and_errors() -> None:
    found = overlap(box((0, 5), (0, 4), (0, 3)), box((0, 10), (0, 4), (0, 3)), 0.05)
    assert (found.truth_ml, found.predicted_ml) == (pytest.approx(6.0), pytest.approx(3.0))
    assert (found.error_ml, found.error_percent) == (pytest.approx(-3.0), pytest.approx(50.0))
    assert found.false_ml is None


def test_empty_truth_is_not_averaged_but_counted_in_ml() -> None:
    nothing = np.zeros(SHAPE, dtype=bool)
    right = overlap(nothing, nothing, 0.05)
    wrong = overlap(box((0, 2), (0, 2), (0, 1)), nothing, 0.05)
    assert right.dice is None
    assert wrong.dice is None
    assert (right.false_ml, wrong.false_ml) == (0.0, pytest.approx(0.2))
    assert wrong.error_percent is None


def test_missed_truth_is_zero() -> None:
    assert overlap(np.zeros(SHAPE, dtype=bool), box((0, 2), (0, 2), (0, 2)), 1.0).dice == 0.0


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (4, 3, 3)), arrays(bool, (4, 3, 3)))
def test_dice_is_symmetric_and_bounded(first: np.ndarray, second: np.ndarray) -> None:
    one, other = overlap(first, second, 1.0).dice, overlap(second, first, 1.0).dice
    if one is not None and other is not None:
        assert one == pytest.approx(other)
    if one is not None:
        assert 0 <= one <= 1


def test_lesions_match_from_a_tenth_of_their_union() -> None:
    truth = box((0, 10), (0, 1), (0, 1))
    assert lesion_counts(box((0, 1), (0, 1), (0, 1)), truth).found == 1  # 1 of 10
    loose = box((9, 11), (0, 1), (0, 1))  # 1 of 11
    counts = lesion_counts(loose, truth)
    assert (counts.truth, counts.found, counts.predicted, counts.matched) == (1, 0, 1, 0)
    assert counts.f1 == 0.0


def test_lesions_touch_over_corners() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[1, 1, 1] = truth[2, 2, 2] = True  # neighbours of 26, not of 6
    truth[8, 8, 8] = True
    assert lesion_counts(truth, truth).truth == 2


def test_lesion_counts_of_found_missed_and_false() -> None:
    truth = box((0, 3), (0, 3), (0, 3)) | box((10, 13), (0, 3), (0, 3))
    found = box((0, 3), (0, 3), (0, 3)) | box((0, 3), (10, 13), (0, 3)) | box((0, 3), (16, 18), (0, 3))
    counts = lesion_counts(found, truth)
    assert (counts.truth, counts.found, counts.predicted, counts.matched) == (2, 1, 3, 1)
    assert counts.f1 == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))


def test_lesion_counts_of_empty_masks() -> None:
    nothing, something = np.zeros(SHAPE, dtype=bool), box((0, 3), (0, 3), (0, 3))
    assert lesion_counts(nothing, nothing).f1 is None
    assert lesion_counts(something, nothing).f1 is None
    assert lesion_counts(something, nothing).predicted == 1
    assert lesion_counts(nothing, something).f1 == 0.0
    assert f1_score(0, 0, 0, 0) is None


def test_bland_altman_of_known_differences() -> None:
    agreement = bland_altman([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    assert agreement is not None
    assert (agreement.bias, agreement.sd) == (pytest.approx(2.0), pytest.approx(1.0))
    assert (agreement.lower, agreement.upper) == (pytest.approx(0.04), pytest.approx(3.96))
    assert bland_altman([1.0], [1.0]) is None
