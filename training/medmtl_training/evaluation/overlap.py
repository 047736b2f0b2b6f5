"""Dice, volumes and lesion-wise counts of masks.

The empty-mask rule: a case whose truth is empty has no Dice and is not averaged as 1; what was found in it is
reported apart, as false mL. A truth that is not empty and was missed altogether has the Dice 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medmtl.shapes import FloatArray, Mask

MATCH_IOU = 0.1
"""Least intersection over union of two components that count as the same lesion."""

_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How one predicted structure agrees with its truth.

    Attributes:
        dice: in 0..1; None where the truth is empty.
        truth_ml: volume of the truth, mL.
        predicted_ml: volume found, mL.
        error_ml: found minus true, mL.
        error_percent: the absolute error in percent of the truth; None where the truth is empty.
        false_ml: volume found although the truth is empty, mL; None where it is not empty.
    """

    dice: float | None
    truth_ml: float
    predicted_ml: float
    error_ml: float
    error_percent: float | None
    false_ml: float | None


@dataclass(frozen=True, kw_only=True)
class LesionCounts:
    """Lesion-wise counts of one case.

    Attributes:
        truth: components of the truth.
        found: those of them that a predicted component matches.
        predicted: predicted components.
        matched: those of them that match a component of the truth.
    """

    truth: int
    found: int
    predicted: int
    matched: int

    @property
    def f1(self) -> float | None:
        """Harmonic mean of sensitivity and precision; None where the truth is empty."""
        if self.truth == 0:
            return None
        return f1_score(self.truth, self.found, self.predicted, self.matched)


def overlap(predicted: Mask, truth: Mask, voxel_ml: float) -> Overlap:
    """Dice and volumes of two masks `(i, j, k)` on one grid with voxels of `voxel_ml` mL."""
    found, true = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    both = int(np.count_nonzero(predicted & truth))
    return Overlap(
        dice=2 * both / (found + true) if true else None,
        truth_ml=true * voxel_ml,
        predicted_ml=found * voxel_ml,
        error_ml=(found - true) * voxel_ml,
        error_percent=100 * abs(found - true) / true if true else None,
        false_ml=None if true else found * voxel_ml,
    )


def lesion_counts(predicted: Mask, truth: Mask) -> LesionCounts:
    """Lesion-wise counts of two masks `(i, j, k)` on one grid.

    A lesion is a component of 26 neighbours. A lesion of the truth is found, and a predicted one is right, where some
    component of the other mask overlaps it with an intersection over union of `MATCH_IOU` or more.
    """
    truth_map, truth_count = ndimage.label(truth, structure=_NEIGHBOURS_26)
    found_map, found_count = ndimage.label(predicted, structure=_NEIGHBOURS_26)
    if truth_count == 0 or found_count == 0:
        return LesionCounts(truth=int(truth_count), found=0, predicted=int(found_count), matched=0)
    joint = np.bincount(
        (truth_map.astype(np.int64) * (found_count + 1) + found_map).ravel(),
        minlength=(truth_count + 1) * (found_count + 1),
    ).reshape(truth_count + 1, found_count + 1)
    inner = joint[1:, 1:]
    union = joint[1:].sum(axis=1)[:, None] + joint[:, 1:].sum(axis=0)[None, :] - inner
    match = inner / union >= MATCH_IOU
    return LesionCounts(
        truth=int(truth_count),
        found=int(match.any(axis=1).sum()),
        predicted=int(found_count),
        matched=int(match.any(axis=0).sum()),
    )


def f1_score(truth: float, found: float, predicted: float, matched: float) -> float | None:
    """Harmonic mean of `found / truth` and `matched / predicted`; None where there is neither truth nor prediction."""
    if truth + predicted == 0:
        return None
    if found == 0 or matched == 0:
        return 0.0
    sensitivity, precision = found / truth, matched / predicted
    return 2 * sensitivity * precision / (sensitivity + precision)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Bland-Altman figures of paired volumes, in the unit of the values.

    Attributes:
        n: pairs.
        bias: mean difference, found minus true.
        sd: standard deviation of the differences (n - 1).
        lower: bias - 1.96 sd.
        upper: bias + 1.96 sd.
    """

    n: int
    bias: float
    sd: float
    lower: float
    upper: float


def bland_altman(predicted: Sequence[float] | FloatArray, truth: Sequence[float] | FloatArray) -> Agreement | None:
    """Bland-Altman figures of paired values (Lancet 1986;327:307); None with fewer than two pairs."""
    difference: npt.NDArray[np.float64] = np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    if len(difference) < 2:
        return None
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return Agreement(n=len(difference), bias=bias, sd=sd, lower=bias - 1.96 * sd, upper=bias + 1.96 * sd)
