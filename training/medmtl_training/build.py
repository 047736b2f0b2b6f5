"""The network that a data set's tasks and a plan call for."""

import torch

from medmtl.bundle.weights import make_network
from medmtl.network.multitask import MultiTaskNet
from medmtl.preparation.plan import Plan
from medmtl.task import Task


def build_network(channels: int, plan: Plan, tasks: tuple[Task, ...], seed: int) -> MultiTaskNet:
    """A freshly initialised network; one seed, one set of weights."""
    torch.manual_seed(seed)
    return make_network(channels, plan, tasks)
