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
        thickest_mm: slices thinner than this are read up to this far apart instead; 0 for never.
        cut_slices: probability that slices at either end are missing.
        shifted_slices: probability that slices lie a little beside each other (breath-holds).
        intensity: probability of each intensity change.
        contrast: how far brightness, contrast and gamma go, 1 for images without a scale, little for HU.
    """

    rotation_deg: float = 20.0
    tilt_deg: float = 10.0
    scale: float = 1.25
    elastic_mm: float = 3.0
    thick_slices: float = 0.0
    thickest_mm: float = 0.0
    cut_slices: float = 0.0
    shifted_slices: float = 0.0
    intensity: float = 0.2
    contrast: float = 1.0


WEIGHTINGS = ("equal", "fixed", "kendall", "liebel-korner", "uw-so", "dwa", "gradnorm", "stch", "famo")
GRADIENTS = ("sum", "upgrad", "pcgrad", "cagrad", "mgda", "aligned-mtl", "graddrop")
SCHEDULES = ("joint", "alternating", "curriculum")
OPTIMISERS = ("adamw", "sgd", "adagrad", "rmsprop")
TIES = ("l2", "kl")


@dataclass(frozen=True, kw_only=True)
class WeightingOptions:
    """Numbers of the ways of weighting; each way reads its own.

    Attributes:
        window: labelled steps of a task that make one mean (dwa: of one epoch; stch: of the first losses).
        dwa_temperature, uw_so_temperature: the larger, the more even the weights.
        gradnorm_alpha: how strongly slow tasks are favoured.
        gradnorm_rate: of the moves of the weights.
        stch_smoothness: near zero only the worst task counts.
        famo_rate, famo_decay: of the weights' logits.
    """

    window: int = 50
    dwa_temperature: float = 2.0
    uw_so_temperature: float = 2.0
    gradnorm_alpha: float = 1.5
    gradnorm_rate: float = 0.025
    stch_smoothness: float = 0.3
    famo_rate: float = 0.025
    famo_decay: float = 0.001


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run.

    Attributes:
        steps: optimiser steps; the learning rate falls to zero over them.
        batch: crops a step, of all processes together.
        optimiser: "adamw", "sgd", "adagrad" or "rmsprop".
        learning_rate, weight_decay, warm_up: of the optimiser; warm_up in steps.
        momentum: of sgd and rmsprop.
        task_rates: task to the factor of the learning rate of what belongs to it alone.
        weighting: of the tasks' losses, one of `WEIGHTINGS`.
        weighting_options: numbers of the weightings.
        fixed_weights: task to weight, for "fixed"; one where nothing is given.
        log_variance_limits: clamp of each task's s, for "kendall" and "liebel-korner".
        gradients: how the tasks' gradients of shared weights become one, of `GRADIENTS`; all but "sum" need TorchJD.
        schedule: "joint" trains all tasks in every step, "alternating" one group after the other, "curriculum" the
            first group from the start and each further one from its place in `curriculum_starts` on.
        groups: of tasks, for the schedule; by default each task alone (alternating), or voxel tasks, then voxel tasks
            inside a host, then case-level tasks (curriculum).
        curriculum_starts: share of the steps at which each group joins; the last holds for all that follow.
        average: decay of the averaged weights that are shipped.
        whole: share of crops that hold the annotated structures as a whole where they fit.
        foreground: share of crops centred on an annotated voxel; the rest lies anywhere.
        balanced: share of draws that treat every combination of labels alike.
        lesion_weight: of labelled voxels of tasks that lie inside a host, in the cross-entropy.
        coarse_weight: of the supervision at the coarse level.
        clip: largest norm of the gradient.
        clip_per_task: largest norm of each task's gradient of the shared weights; 0 for none.
        sharing_penalty: of what ties or separates encoders, where the plan's `sharing` has several.
        tie: of soft sharing: "l2" of the weights or "kl" of the features.
        validation: share of the patients that are kept aside to choose weights and to stop; 0 for none.
        validate_every: steps from one look at them to the next.
        patience: looks without a better loss of any task before the training stops; 0 for never.
        measure_every: steps between looks at the tasks' gradients; 0 for none.
        seed: of everything that is drawn.
        augmentation: how crops are varied.
    """

    steps: int = 4000
    batch: int = 4
    optimiser: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up: int = 100
    momentum: float = 0.9
    task_rates: Mapping[str, float] = field(default_factory=dict)
    weighting: str = "kendall"
    weighting_options: WeightingOptions = field(default_factory=WeightingOptions)
    fixed_weights: Mapping[str, float] = field(default_factory=dict)
    log_variance_limits: tuple[float, float] = (-1.5, 1.0)
    gradients: str = "sum"
    schedule: str = "joint"
    groups: tuple[tuple[str, ...], ...] = ()
    curriculum_starts: tuple[float, ...] = (0.0, 0.2, 0.4)
    average: float = 0.998
    whole: float = 0.6
    foreground: float = 0.2
    balanced: float = 0.5
    lesion_weight: float = 2.0
    coarse_weight: float = 0.4
    clip: float = 5.0
    clip_per_task: float = 0.0
    sharing_penalty: float = 0.01
    tie: str = "l2"
    validation: float = 0.0
    validate_every: int = 250
    patience: int = 0
    measure_every: int = 100
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, known in (
            ("weighting", WEIGHTINGS), ("gradients", GRADIENTS), ("schedule", SCHEDULES),
            ("optimiser", OPTIMISERS), ("tie", TIES),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise _bad(f"{name} is {getattr(self, name)!r}, not one of {', '.join(known)}")
        if self.steps < 1 or self.batch < 1 or self.validate_every < 1 or self.weighting_options.window < 1:
            raise _bad("steps, batch, validate_every and window are one or more")
        if not 0.0 <= self.validation <= 0.5:
            raise _bad(f"validation is {self.validation}, not a share between 0 and 0.5")
        if not self.curriculum_starts or list(self.curriculum_starts) != sorted(self.curriculum_starts):
            raise _bad("curriculum_starts are no rising shares of the steps")
        twice = [name for group in self.groups for name in group]
        if len(set(twice)) < len(twice) or not all(self.groups):
            raise _bad("a group is empty, or a task stands in two groups")


def settings_from_mapping(mapping: Mapping[str, Any]) -> TrainSettings:
    """Settings of a `training:` section.

    Raises:
        TrainingError: an unknown key or a value of the wrong kind.
    """
    if not isinstance(mapping, Mapping):
        raise _bad("the training section is not a mapping")
    values = dict(mapping)
    try:
        parts = {key: _read(values.pop(key, None) or {}, kind) for key, kind in _PARTS.items()}
        _refuse_unknown(values, TrainSettings)
        if "log_variance_limits" in values:
            low, high = values["log_variance_limits"]
            values["log_variance_limits"] = (float(low), float(high))
        if "curriculum_starts" in values:
            values["curriculum_starts"] = tuple(float(share) for share in values["curriculum_starts"])
        if "groups" in values:
            values["groups"] = tuple(tuple(str(name) for name in group) for group in values["groups"])
        for key in ("task_rates", "fixed_weights"):
            if key in values:
                values[key] = {str(name): float(value) for name, value in dict(values[key] or {}).items()}
        return TrainSettings(**_typed(values, TrainSettings), **parts)
    except (TypeError, ValueError) as error:
        raise _bad(f"the training settings cannot be read ({error})") from None


_PARTS: dict[str, Any] = {"augmentation": Augmentation, "weighting_options": WeightingOptions}


def _read(body: Any, kind: Any) -> Any:
    if not isinstance(body, Mapping):
        raise ValueError(f"{kind.__name__} is not a mapping")
    _refuse_unknown(body, kind)
    return kind(**_typed(body, kind))


def _refuse_unknown(given: Mapping[str, Any], kind: Any) -> None:
    unknown = set(given) - {f.name for f in fields(kind)}
    if unknown:
        raise _bad(f"unknown training settings {sorted(unknown)}")


def _typed(values: Mapping[str, Any], kind: Any) -> dict[str, Any]:
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
    for key in ("log_variance_limits", "curriculum_starts"):
        body[key] = list(body[key])
    body["groups"] = [list(group) for group in settings.groups]
    return body


def _bad(what: str) -> TrainingError:
    return TrainingError(Code.BAD_OPTION, what, "correct the training section of the plan")
