"""What a training takes: memory and work of a step, disk of a run. Counted on the network itself, not guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from medmtl.bundle.weights import make_network
from medmtl.preparation.plan import Plan
from medmtl.shapes import Shape, Spacing
from medmtl.task import Task

CPU_GFLOPS = 200.0
"""Of a step on two recent CPU cores in bfloat16, to size a plan by; `medmtl train --max-time` times real steps."""

_PASSES = 3  # forward, and backward for inputs and for weights
_COPIES = 6  # weights, averaged weights, gradient, two moments, and one in passing
_FLOAT_BYTES = 4
_BASE_BYTES = 600 << 20  # Python, torch and the prepared cases of a small set


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """One optimiser step.

    Attributes:
        gflop: of the forward and the backward pass.
        memory_bytes: of weights, moments and what the backward pass keeps, in float32: with bfloat16 it stays below.
        parameters: of the network.
    """

    gflop: float
    memory_bytes: int
    parameters: int

    @property
    def cpu_seconds(self) -> float:
        """On two recent CPU cores, `CPU_GFLOPS`."""
        return self.gflop / CPU_GFLOPS


def step_costs(plan: Plan, tasks: tuple[Task, ...], channels: int, batch: int) -> StepCosts:
    """Costs of a step with all tasks labelled, counted in the smallest window that the network takes.

    Operations and activations grow with the voxels. Counted are convolutions and linear layers, two for a
    multiplication and an addition; the backward pass takes twice the forward pass.
    """
    with torch.random.fork_rng(devices=[]):
        operations, activations, parameters = _counted(plan, tasks, channels)
    small = _smallest(plan)
    share = batch * prod(plan.patch) / prod(small)
    return StepCosts(
        gflop=_PASSES * share * operations / 1e9,
        memory_bytes=int(_BASE_BYTES + share * activations + _COPIES * _FLOAT_BYTES * parameters),
        parameters=parameters,
    )


def _smallest(plan: Plan) -> tuple[int, ...]:
    small = list(plan.divisor)
    small[small.index(min(small))] *= 2  # one voxel at the bottom has no norm
    return tuple(small)


def _counted(plan: Plan, tasks: tuple[Task, ...], channels: int) -> tuple[int, int, int]:
    """Operations of a forward pass, bytes that it keeps for the backward pass, parameters."""
    net = make_network(channels, plan, tasks).train()
    operations: list[int] = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
            layer.register_forward_hook(lambda layer, given, out: operations.append(_operations(layer, given[0], out)))
    kept: dict[int, Tensor] = {parameter.data_ptr(): parameter for parameter in net.parameters()}
    weights = len(kept)

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.data_ptr(), tensor)  # held, so that no place is given twice
        return tensor

    small, names = _smallest(plan), [task.name for task in tasks]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = net(torch.zeros(1, channels, *small), torch.ones(1, 1, *small), names)
        if out.sums is not None:
            net.case_logits(out.sums, torch.ones(1), names)
    activations = sum(tensor.numel() * tensor.element_size() for tensor in list(kept.values())[weights:])
    return sum(operations), activations, sum(p.numel() for p in net.parameters())


def _operations(layer: nn.Module, given: Tensor, out: Tensor) -> int:
    """Of one layer's forward pass: every weight meets every voxel of the output, of a transposed one of the input."""
    weight = cast(Tensor, layer.weight)  # its first axis: outputs, of a transposed convolution inputs
    places = (given if isinstance(layer, nn.ConvTranspose3d) else out).numel() // weight.shape[0]
    return 2 * places * weight.numel()


def prepared_bytes(
    geometries: Sequence[tuple[Shape, Spacing]], plan: Plan, tasks: tuple[Task, ...], channels: int
) -> int:
    """Disk that the prepared arrays of the cases take, at most.

    Args:
        geometries: voxels and mm of each image along the plan's working axes.
        plan: its spacing.
        tasks: voxel tasks take a byte a voxel, regions one for each label.
        channels: float32 each.
    """
    maps = sum(1 if task.kind == "segmentation" else len(task.labels) for task in tasks if task.is_voxel)
    total = 0
    for shape, spacing in geometries:
        voxels = prod(
            max(size if plan.edge_padding else 1, n if wanted is None else round(n * have / wanted))
            for n, have, wanted, size in zip(shape, spacing, plan.spacing, plan.patch, strict=True)
        )
        total += voxels * (_FLOAT_BYTES * channels + maps)
    return total


def run_bytes(costs: StepCosts, networks: int) -> int:
    """Disk of checkpoints, the one before included while a new one is written, and of the bundle."""
    return networks * costs.parameters * _FLOAT_BYTES * (_COPIES * 2 + 1)
