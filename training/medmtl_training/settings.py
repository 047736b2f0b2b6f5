"""Frozen settings of a training run; unknown keys are an error."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from medmtl.errors import Code, TrainingError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly crops are varied; probabilities between 0 and 1.

    Attributes:
        rotation_deg: largest turn about the slice axis.
        tilt_deg: largest turn about the other axes.
        scale: largest factor of size, both ways.
        elastic_mm: amplitude of smooth displacements.
        thick_slices: probability that slices are read up to 1.6 times further apart.
        cut_slices: probability that slices at either end are missing.
        shifted_slices: probability that slices lie a little beside each other (breath-holds).
        intensity: probability of each intensity change.
    """

    rotation_deg: float = 20.0
    tilt_deg: float = 10.0
    scale: float = 1.25
    elastic_mm: float = 3.0
    thick_slices: float = 0.0
    cut_slices: float = 0.0
    shifted_slices: float = 0.0
    intensity: float = 0.2


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run.

    Attributes:
        steps: optimiser steps; the learning rate falls to zero over them.
        batch: crops a step.
        learning_rate, weight_decay, warm_up: of AdamW; warm_up in steps.
        weighting: of the tasks: "kendall" or "equal".
        log_variance_limits: clamp of each task's s.
        average: decay of the averaged weights that are shipped.
        whole: share of crops that hold the annotated structures as a whole where they fit.
        foreground: share of crops centred on an annotated voxel; the rest lies anywhere.
        balanced: share of draws that treat every combination of labels alike.
        lesion_weight: of labelled voxels of tasks that lie inside a host, in the cross-entropy.
        coarse_weight: of the supervision at the coarse level.
        clip: largest norm of the gradient.
        seed: of everything that is drawn.
        augmentation: how crops are varied.
    """

    steps: int = 4000
    batch: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up: int = 100
    weighting: str = "kendall"
    log_variance_limits: tuple[float, float] = (-1.5, 1.0)
    average: float = 0.998
    whole: float = 0.6
    foreground: float = 0.2
    balanced: float = 0.5
    lesion_weight: float = 2.0
    coarse_weight: float = 0.4
    clip: float = 5.0
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.weighting not in ("kendall", "equal"):
            raise _bad(f"weighting is {self.weighting!r}, not kendall or equal")
        if self.steps < 1 or self.batch < 1:
            raise _bad("steps and batch are one or more")


def settings_from_mapping(mapping: Mapping[str, Any]) -> TrainSettings:
    """Settings of a `training:` section.

    Raises:
        TrainingError: an unknown key or a value of the wrong kind.
    """
    values = dict(mapping)
    augmentation = values.pop("augmentation", None) or {}
    if not isinstance(augmentation, Mapping):
        raise _bad("augmentation is not a mapping")
    for given, known in ((values, TrainSettings), (augmentation, Augmentation)):
        unknown = set(given) - {f.name for f in fields(known)}
        if unknown:
            raise _bad(f"unknown training settings {sorted(unknown)}")
    try:
        if "log_variance_limits" in values:
            low, high = values["log_variance_limits"]
            values["log_variance_limits"] = (float(low), float(high))
        typed = _typed(values, TrainSettings)
        return TrainSettings(**typed, augmentation=Augmentation(**_typed(augmentation, Augmentation)))
    except (TypeError, ValueError) as error:
        raise _bad(f"the training settings cannot be read ({error})") from None


def _typed(values: Mapping[str, Any], kind: "type[TrainSettings] | type[Augmentation]") -> dict[str, Any]:
    # YAML 1.1 reads 2e-3 as text: it wants 2.0e-3
    typed = {}
    for key, value in values.items():
        wanted = kind.__annotations__[key]
        if wanted is int and int(value) != float(value):
            raise ValueError(f"{key} is {value}, not a whole number")
        typed[key] = wanted(value) if wanted in (int, float) else value
    return typed


def settings_to_mapping(settings: TrainSettings) -> dict[str, Any]:
    """The `training:` section that `settings_from_mapping` reads back equal."""
    body = asdict(settings)
    body["log_variance_limits"] = list(settings.log_variance_limits)
    return body


def _bad(what: str) -> TrainingError:
    return TrainingError(Code.BAD_OPTION, what, "correct the training section of the plan")
