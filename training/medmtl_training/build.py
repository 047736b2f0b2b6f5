"""The network that a data set's tasks and a plan call for."""

import torch

from medmtl.network.multitask import Head, MultiTaskNet
from medmtl.preparation.plan import Plan
from medmtl.task import Kind, Task

_EXCLUSIVE = (Kind.SEGMENTATION, Kind.CLASSIFICATION, Kind.ORDINAL)


def build_network(channels: int, plan: Plan, tasks: tuple[Task, ...], seed: int) -> MultiTaskNet:
    """A freshly initialised network; one seed, one set of weights."""
    torch.manual_seed(seed)
    heads = tuple(
        Head(name=task.name, outputs=task.outputs, dense=task.is_voxel, exclusive=task.kind in _EXCLUSIVE)
        for task in tasks
    )
    return MultiTaskNet(channels, plan, heads)
