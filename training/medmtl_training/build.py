"""The network that a data set's tasks and a plan call for."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from medmtl.bundle.weights import make_network
from medmtl.network.multitask import MultiTaskNet
from medmtl.network.pooling import CaseHead
from medmtl.preparation.plan import Plan
from medmtl.task import Kind, Task
from medmtl_training.prepared import PreparedCase


def build_network(channels: int, plan: Plan, tasks: tuple[Task, ...], seed: int) -> MultiTaskNet:
    """A freshly initialised network; one seed, one set of weights."""
    torch.manual_seed(seed)
    return make_network(channels, plan, tasks)


@torch.no_grad()
def start_at_means(net: MultiTaskNet, tasks: tuple[Task, ...], cases: Sequence[PreparedCase]) -> None:
    """Lets every regression answer the mean of its training values from the first step on.

    From zero, a value of 60 % or 50 years takes thousands of steps before anything is learnt of its differences.
    """
    for task in tasks:
        if task.kind is not Kind.REGRESSION:
            continue
        values = [float(v) for case in cases if (v := case.case_labels.get(task.name)) is not None]
        if values:
            last = cast(nn.Linear, cast(CaseHead, net.case_heads[task.name]).burden[-1])
            last.bias.fill_(sum(values) / len(values))
