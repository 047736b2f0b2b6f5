"""Figures of classifiers: AUROC, AUPRC, accuracy, balanced accuracy, Brier score, calibration error.

Every figure is a `Statistic`: it takes case weights `(draws, cases)` and gives `(draws,)` values, so that the
bootstrap needs no loop. Unit weights give the ordinary figure (checked against scikit-learn).
"""

import numpy as np
import numpy.typing as npt

from medmtl.shapes import FloatArray
from medmtl_training.evaluation.bootstrap import Statistic, mean_of, ratio

CALIBRATION_BINS = 5

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def auroc(positive: BoolArray, score: FloatArray) -> Statistic:
    """Area under the ROC curve of `score` `(cases,)` for `positive` `(cases,)`; a tie counts as half."""
    order = np.argsort(score, kind="stable")
    starts = _tie_starts(score[order])
    sign = positive[order].astype(np.float64)

    def statistic(weights: FloatArray) -> FloatArray:
        ordered = weights[:, order]
        positives = np.add.reduceat(ordered * sign, starts, axis=1)
        negatives = np.add.reduceat(ordered * (1 - sign), starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return ratio((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))

    return statistic


def average_precision(positive: BoolArray, score: FloatArray) -> Statistic:
    """Area under the precision-recall curve as a sum of steps (AUPRC); its chance level is the prevalence."""
    order = np.argsort(-score, kind="stable")
    starts = _tie_starts(score[order])
    sign = positive[order].astype(np.float64)

    def statistic(weights: FloatArray) -> FloatArray:
        ordered = weights[:, order]
        positives = np.add.reduceat(ordered * sign, starts, axis=1)
        precision = ratio(np.cumsum(positives, axis=1), np.cumsum(np.add.reduceat(ordered, starts, axis=1), axis=1))
        return ratio((positives * np.nan_to_num(precision)).sum(axis=1), positives.sum(axis=1))

    return statistic


def accuracy(truth: IntArray, probabilities: FloatArray) -> Statistic:
    """Part of the cases whose most probable class is the true one; `probabilities` is `(cases, classes)`."""
    return mean_of((probabilities.argmax(axis=1) == truth).astype(np.float64))


def balanced_accuracy(truth: IntArray, probabilities: FloatArray) -> Statistic:
    """Mean over the classes that occur of the part of their cases that was recognised."""
    one_hot = np.eye(probabilities.shape[1])[truth]
    right = one_hot * (probabilities.argmax(axis=1) == truth)[:, None]

    def statistic(weights: FloatArray) -> FloatArray:
        recalls = ratio(weights @ right, weights @ one_hot)
        counted = np.isfinite(recalls)
        return ratio(np.where(counted, recalls, 0).sum(axis=1), counted.sum(axis=1).astype(np.float64))

    return statistic


def brier(truth: IntArray, probabilities: FloatArray) -> Statistic:
    """Brier score: half the summed squared error over the classes, so that two classes give the usual binary one."""
    one_hot = np.eye(probabilities.shape[1])[truth]
    return mean_of(((probabilities - one_hot) ** 2).sum(axis=1) / 2)


def calibration_error(truth: IntArray, probabilities: FloatArray, bins: int = CALIBRATION_BINS) -> Statistic:
    """Expected calibration error of the most probable class over `bins` bins of equally many cases.

    Bins are cut once, on the cases as they are; a draw reweights their cases.
    """
    confidence = probabilities.max(axis=1)
    excess = confidence - (probabilities.argmax(axis=1) == truth)
    member = np.zeros((len(truth), bins))
    for index, part in enumerate(equal_mass_bins(confidence, bins)):
        member[part, index] = 1

    def statistic(weights: FloatArray) -> FloatArray:
        return ratio(np.abs(weights @ (member * excess[:, None])).sum(axis=1), weights.sum(axis=1))

    return statistic


def quadratic_kappa(truth: IntArray, predicted: IntArray, classes: int) -> Statistic:
    """Cohen's kappa with squared weights, for classes in order."""
    true_one_hot, found_one_hot = np.eye(classes)[truth], np.eye(classes)[predicted]
    distance = (np.arange(classes)[:, None] - np.arange(classes)[None, :]) ** 2.0
    observed = distance[truth, predicted]

    def statistic(weights: FloatArray) -> FloatArray:
        total = weights.sum(axis=1)
        expected = np.einsum("dc,ce,de->d", weights @ true_one_hot, distance, weights @ found_one_hot)
        return 1 - ratio((weights @ observed) * total, expected)

    return statistic


def macro(parts: list[Statistic]) -> Statistic:
    """Mean of several figures; NaN in a draw in which one of them is undefined."""
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


def equal_mass_bins(confidence: FloatArray, bins: int = CALIBRATION_BINS) -> list[IntArray]:
    """Case indices of each bin, ascending in `confidence`, sizes equal but for one."""
    order = np.argsort(confidence, kind="stable")
    return [part for part in np.array_split(order, bins) if len(part)]


def roc_points(positive: BoolArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """False and true positive rates of the ROC curve, from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(_tie_starts(score[order])[1:], len(score)) - 1
    true = np.cumsum(positive[order])[ends] / max(int(positive.sum()), 1)
    false = np.cumsum(~positive[order])[ends] / max(int((~positive).sum()), 1)
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def _tie_starts(ordered: FloatArray) -> IntArray:
    return np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1]).astype(np.int64)
