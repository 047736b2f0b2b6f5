"""The optimiser that the settings name, with a group of weights for each rate of learning."""

from typing import Any

import torch
from torch import nn

from medmtl.network.multitask import MultiTaskNet
from medmtl.network.sharing import owner_of
from medmtl_training.settings import TrainSettings
from medmtl_training.weighting import Weighting

_WEIGHTING_FACTOR = 5.0  # learnt weights need hundreds of steps to their place, a network thousands


def make_optimiser(net: MultiTaskNet, weighting: Weighting, settings: TrainSettings) -> torch.optim.Optimizer:
    """Network first, then the weighting's own parameters, which do not decay, then tasks with a rate of their own.

    Each group's `factor` multiplies the learning rate.
    """
    slow = {name: factor for name, factor in settings.task_rates.items() if factor != 1.0}
    common: list[nn.Parameter] = []
    apart: dict[str, list[nn.Parameter]] = {name: [] for name in slow}
    for name, parameter in net.named_parameters():
        owner = owner_of(name)
        (apart[owner] if owner is not None and owner in apart else common).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": common, "factor": 1.0},
        {"params": list(weighting.parameters()), "weight_decay": 0.0, "factor": _WEIGHTING_FACTOR},
        *({"params": found, "factor": slow[name]} for name, found in apart.items()),
    ]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=settings.momentum)
    if settings.optimiser == "adagrad":
        return torch.optim.Adagrad(groups, lr=rate, weight_decay=decay)
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, weight_decay=decay, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
