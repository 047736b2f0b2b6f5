"""What a model's held-out errors say of a new answer: probabilities, prediction sets, intervals of volumes.

Temperature scaling: Guo et al., ICML 2017. Prediction sets and intervals: split conformal prediction (Angelopoulos and
Bates, arXiv:2107.07511); they hold for cases like those they were measured on, and for no others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from medmtl.shapes import FloatArray

UNION = "union"
"""Stands for all labels of a voxel task together."""

OFFSET_ML = 0.5
"""Added to volumes before their ratio is taken: keeps the interval of a structure that was not found finite."""
_TINY = 1e-6  # keeps the log odds of a mean probability finite


@dataclass(frozen=True, kw_only=True)
class ClassCalibration:
    """Of a task of classes.

    Attributes:
        temperature: logits are divided by it.
        threshold: a class belongs to the prediction set from this calibrated probability on; None: no sets.
        coverage: share of cases whose class the set shall hold.
        cases: held-out cases that both come from.
    """

    temperature: float = 1.0
    threshold: float | None = None
    coverage: float = 0.9
    cases: int = 0


@dataclass(frozen=True, kw_only=True)
class VolumeCalibration:
    """Of the volume of a structure: log((true mL + offset) / (found mL + offset)) lies between `low` and `high`."""

    low: float
    high: float
    coverage: float = 0.9
    cases: int = 0

    def interval(self, ml: float) -> tuple[float, float]:
        """Lowest and highest volume in mL that the found one stands for."""
        low, high = ((ml + OFFSET_ML) * float(np.exp(bound)) - OFFSET_ML for bound in (self.low, self.high))
        return max(0.0, low), max(0.0, high)


@dataclass(frozen=True, kw_only=True)
class LesionCalibration:
    """Probability that a found lesion meets a true one: logistic in log odds of its mean probability and log mL."""

    constant: float
    log_odds: float
    log_ml: float
    lesions: int = 0

    def confidence(self, mean_probability: float, ml: float) -> float:
        """Between 0 and 1."""
        p = min(max(mean_probability, _TINY), 1.0 - _TINY)
        score = self.constant + self.log_odds * np.log(p / (1.0 - p)) + self.log_ml * np.log(max(ml, 1e-3))
        return float(1.0 / (1.0 + np.exp(-score)))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of a model: by task, and of volumes by "task.label"; a voxel task's union of labels is "task.union"."""

    classes: Mapping[str, ClassCalibration] = field(default_factory=dict)
    volumes: Mapping[str, VolumeCalibration] = field(default_factory=dict)
    lesions: Mapping[str, LesionCalibration] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave.

        Raises:
            TypeError: an unknown key.
        """
        unknown = set(mapping) - {item.name for item in fields(cls)}
        if unknown:
            raise TypeError(f"calibration has unknown keys {sorted(unknown)}")
        return cls(
            classes={name: ClassCalibration(**row) for name, row in (mapping.get("classes") or {}).items()},
            volumes={name: VolumeCalibration(**row) for name, row in (mapping.get("volumes") or {}).items()},
            lesions={name: LesionCalibration(**row) for name, row in (mapping.get("lesions") or {}).items()},
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values; empty parts are left out."""
        parts = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: {key: asdict(row) for key, row in part.items()} for name, part in parts.items() if part}

    def prediction_set(self, task: str, probabilities: FloatArray) -> tuple[int, ...] | None:
        """Places of the classes that cannot be excluded, the most probable one always among them; None without."""
        known = self.classes.get(task)
        if known is None or known.threshold is None:
            return None
        best = int(np.argmax(probabilities))
        return tuple(n for n, p in enumerate(probabilities) if n == best or float(p) >= known.threshold)

    def interval_ml(self, structure: str, ml: float) -> list[float] | None:
        """Interval of the volume of "task.label", mL, rounded as volumes are; None where nothing was measured."""
        known = self.volumes.get(structure)
        return None if known is None else [round(value, 4) for value in known.interval(ml)]


def scaled_probabilities(logits: FloatArray, temperature: float) -> FloatArray:
    """Softmax along the last axis of logits over the temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    share = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(share / share.sum(axis=-1, keepdims=True))
