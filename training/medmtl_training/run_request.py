"""What a training run is asked for, and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medmtl_training.cases import Dataset
from medmtl_training.config import Config
from medmtl_training.growth import Growth, Start
from medmtl_training.loop import Hardware


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is to be trained.

    Attributes:
        folder: of the run.
        dataset: the cases.
        config: plan and settings.
        folds: held-out folds, one network each; empty trains one network on all cases.
        hardware: where.
        max_seconds: wall time to fill; fixes the number of steps once, None keeps the settings'.
        resume: whether a run that is there goes on.
        init: network weights to start from, None for a fresh network.
        extend_to: steps to which a run that is there goes on, where these are more than it was started with.
        only: names of the tasks that the networks have heads for, all where empty; crops are drawn as for all.
        fraction: share of the training patients that each network sees.
        starts: network's name to the trained weights it grows from; empty for networks from nothing.
        growth: how a trained network takes up further tasks, None for a network from nothing.
        origin: SHA-256 of the bundle that the networks grow from.
        watched: whether held-out cases are looked at now and then (see `watching`); nothing is chosen by them.
    """

    folder: Path
    dataset: Dataset
    config: Config
    folds: tuple[int, ...]
    hardware: Hardware
    max_seconds: float | None = None
    resume: bool = False
    init: dict[str, torch.Tensor] | None = None
    extend_to: int | None = None
    only: tuple[str, ...] = ()
    fraction: float = 1.0
    starts: Mapping[str, Start] = field(default_factory=dict)
    growth: Callable[[Start], Growth] | None = None
    origin: str = ""
    watched: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """One network of a run.

    Attributes:
        name: of its folder.
        seen: names of the cases it saw.
        weights: averaged.
        inherited: SHA-256 of images that the network it grew from has seen.
    """

    name: str
    seen: tuple[str, ...]
    weights: dict[str, torch.Tensor]
    inherited: tuple[str, ...] = ()
