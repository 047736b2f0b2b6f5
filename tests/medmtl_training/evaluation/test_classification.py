import numpy as np
import pytest
from sklearn import metrics

from medmtl_training.evaluation import classification as figures

RNG = np.random.default_rng(0)
N = 90
TRUTH = RNG.integers(0, 3, N)
LOGITS = RNG.normal(size=(N, 3)) + 1.2 * np.eye(3)[TRUTH]
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
ONES = np.ones((1, N))
WEIGHTS = RNG.integers(0, 4, size=(6, N)).astype(float)


def repeated(row: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(array, row.astype(int), axis=0) for array in arrays]


@pytest.mark.parametrize("digits", [1, 8])  # with and without ties
def test_auroc_and_auprc_agree_with_scikit_learn(digits: int) -> None:
    positive, score = TRUTH == 2, PROBABILITIES[:, 2].round(digits)
    areas, precisions = figures.auroc(positive, score), figures.average_precision(positive, score)
    assert areas(ONES)[0] == pytest.approx(metrics.roc_auc_score(positive, score))
    assert precisions(ONES)[0] == pytest.approx(metrics.average_precision_score(positive, score))
    for row, area, precision in zip(WEIGHTS, areas(WEIGHTS), precisions(WEIGHTS), strict=True):
        truth, values = repeated(row, positive, score)
        assert area == pytest.approx(metrics.roc_auc_score(truth, values))
        assert precision == pytest.approx(metrics.average_precision_score(truth, values))


def test_accuracies_brier_and_kappa_agree_with_scikit_learn() -> None:
    predicted = PROBABILITIES.argmax(axis=1)
    for row, plain, balanced, kappa in zip(
        WEIGHTS,
        figures.accuracy(TRUTH, PROBABILITIES)(WEIGHTS),
        figures.balanced_accuracy(TRUTH, PROBABILITIES)(WEIGHTS),
        figures.quadratic_kappa(TRUTH, predicted, 3)(WEIGHTS),
        strict=True,
    ):
        truth, answer = repeated(row, TRUTH, predicted)
        assert plain == pytest.approx(metrics.accuracy_score(truth, answer))
        assert balanced == pytest.approx(metrics.balanced_accuracy_score(truth, answer))
        assert kappa == pytest.approx(metrics.cohen_kappa_score(truth, answer, weights="quadratic"))


def test_brier_of_two_classes_is_the_binary_one() -> None:
    truth = (TRUTH == 1).astype(int)
    p = RNG.random(N)
    found = figures.brier(truth, np.stack([1 - p, p], axis=1))(ONES)[0]
    assert found == pytest.approx(metrics.brier_score_loss(truth, p))


def test_calibration_error_of_a_known_gap() -> None:
    # every answer is given with 0.9; 6 of 10 are right in each bin
    truth = np.tile([1, 1, 1, 0, 0, 1, 1, 1, 0, 0], 5)
    probabilities = np.tile([0.1, 0.9], (50, 1))
    assert figures.calibration_error(truth, probabilities)(np.ones((1, 50)))[0] == pytest.approx(0.3)


def test_calibration_error_sees_gaps_that_cancel() -> None:
    confidence = np.repeat([0.55, 0.65, 0.75, 0.85, 0.95], 20)
    probabilities = np.stack([1 - confidence, confidence], axis=1)
    right = np.concatenate([np.arange(20) < count for count in (9, 15, 13, 19, 17)])
    gaps = [abs(c - n / 20) for c, n in zip((0.55, 0.65, 0.75, 0.85, 0.95), (9, 15, 13, 19, 17), strict=True)]
    found = figures.calibration_error(right.astype(int), probabilities)(np.ones((1, 100)))[0]
    assert found == pytest.approx(np.mean(gaps))


def test_bins_hold_equally_many_cases() -> None:
    sizes = [len(part) for part in figures.equal_mass_bins(RNG.random(23))]
    assert sorted(sizes) == [4, 4, 5, 5, 5]
    assert len(figures.equal_mass_bins(np.array([0.5, 0.6]))) == 2


def test_one_class_only_has_no_auroc() -> None:
    assert np.isnan(figures.auroc(np.ones(5, dtype=bool), np.arange(5.0))(np.ones((1, 5)))[0])
    assert np.isnan(figures.average_precision(np.zeros(5, dtype=bool), np.arange(5.0))(np.ones((1, 5)))[0])


def test_roc_points_span_the_area() -> None:
    positive, score = TRUTH == 0, PROBABILITIES[:, 0].round(1)
    false, true = figures.roc_points(positive, score)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(metrics.roc_auc_score(positive, score))
