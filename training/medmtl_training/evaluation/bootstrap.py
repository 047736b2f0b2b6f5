"""Patient-level bootstrap: percentile intervals of any figure that can be computed from case weights.

A draw takes patients with replacement; a case counts as often as its patient was drawn. Figures take the whole
matrix of weights `(draws, cases)` at once and give `(draws,)` values, so that nothing loops over draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medmtl.shapes import FloatArray

Statistic = Callable[[FloatArray], FloatArray]
"""Case weights `(draws, cases)` to values `(draws,)`; NaN where a draw leaves the figure undefined."""

DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One figure with its 95 % interval.

    Attributes:
        value: on the cases as they are; None where it is not defined.
        lower: 2.5th percentile over the draws, None where fewer than half of them define the figure.
        upper: 97.5th percentile.
        n: cases it rests on.
        patients: patients it rests on.
    """

    value: float | None
    lower: float | None
    upper: float | None
    n: int
    patients: int

    def as_json(self) -> dict[str, object]:
        """Plain values for `metrics.json`."""
        interval = None if self.lower is None or self.upper is None else [self.lower, self.upper]
        return {"value": self.value, "interval": interval, "n": self.n, "patients": self.patients}


class Bootstrap:
    """The draws for one set of cases; the same groups, draws and seed give the same weights.

    Args:
        groups: the patient of each case.
        draws: resamples.
        seed: of the random generator.
    """

    def __init__(self, groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> None:
        names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self.n = len(groups)
        self.patients = len(names)
        if self.patients:
            picks = np.random.default_rng(seed).integers(0, self.patients, size=(draws, self.patients))
            offsets = np.arange(draws)[:, None] * self.patients
            counts = np.bincount((picks + offsets).ravel(), minlength=draws * self.patients)
            self.weights: FloatArray = counts.reshape(draws, self.patients)[:, index].astype(np.float64)
        else:
            self.weights = np.zeros((draws, 0))

    def estimate(self, statistic: Statistic) -> Estimate:
        """`statistic` on the cases and its percentile interval."""
        value = float(statistic(np.ones((1, self.n)))[0]) if self.n else np.nan
        drawn = statistic(self.weights) if np.isfinite(value) else np.empty(0)
        drawn = drawn[np.isfinite(drawn)]
        lower: float | None = None
        upper: float | None = None
        # one patient has no spread to resample: an interval of width zero would claim certainty
        if self.patients > 1 and len(drawn) * 2 >= len(self.weights):
            lower, upper = (float(edge) for edge in np.percentile(drawn, [2.5, 97.5]))
        return Estimate(
            value=value if np.isfinite(value) else None, lower=lower, upper=upper, n=self.n, patients=self.patients
        )

    def mean(self, values: Sequence[float] | FloatArray) -> Estimate:
        """Mean of one value a case."""
        return self.estimate(mean_of(np.asarray(values, dtype=np.float64)))

    def median(self, values: Sequence[float] | FloatArray) -> Estimate:
        """Median of one value a case."""
        return self.estimate(median_of(np.asarray(values, dtype=np.float64)))


def mean_of(values: FloatArray) -> Statistic:
    """The weighted mean of one value a case."""

    def statistic(weights: FloatArray) -> FloatArray:
        return ratio(weights @ values, weights.sum(axis=1))

    return statistic


def median_of(values: FloatArray) -> Statistic:
    """The median of one value a case, cases repeated by their integer weight."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def statistic(weights: FloatArray) -> FloatArray:
        covered = np.cumsum(weights[:, order], axis=1)
        half = covered[:, -1:] / 2
        low = np.argmax(covered >= half, axis=1)
        high = np.argmax(covered > half, axis=1)
        median: FloatArray = (ordered[low] + ordered[high]) / 2
        return median

    return statistic


def difference_of(first: Statistic, second: Statistic) -> Statistic:
    """First minus second on the same draws: the paired difference of two methods on one set of cases."""
    return lambda weights: first(weights) - second(weights)


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """Element-wise quotient, NaN where `below` is 0."""
    result: FloatArray = np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)
    return result
