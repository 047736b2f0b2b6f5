from dataclasses import replace

import pytest
import torch
from torch import nn

from medmtl_training.costs import prepared_bytes, run_bytes, step_costs
from tests.tiny import CUBE, STACK, heart_tasks, network


def test_operations_grow_with_the_batch_and_memory_by_activations_alone() -> None:
    one, two, four = (step_costs(STACK, heart_tasks(), 1, batch) for batch in (1, 2, 4))
    assert two.gflop == pytest.approx(2 * one.gflop, rel=1e-6)
    assert four.memory_bytes - two.memory_bytes == pytest.approx(2 * (two.memory_bytes - one.memory_bytes), rel=0.02)
    assert one.parameters == sum(p.numel() for p in network().parameters())


def test_a_convolution_is_counted_forward_and_back() -> None:
    """The first stage's convolutions alone, by hand: 2 x voxels x kernel x channels in x out, thrice for a step."""
    costs = step_costs(STACK, heart_tasks(), 1, 1)
    first = network().encoder.stages[0]
    voxels = 16 * 16 * 4
    forward = sum(
        2 * voxels * layer.weight.numel() for layer in first.modules() if isinstance(layer, nn.Conv3d)
    )  # all of stride one
    assert costs.gflop * 1e9 > 2.5 * forward
    assert costs.gflop * 1e9 < 60 * forward


def test_counting_draws_no_random_number() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    step_costs(STACK, heart_tasks(), 1, 1)
    assert torch.rand(1) == expected


def test_disk_of_prepared_arrays() -> None:
    shape, spacing = (20, 20, 10), (3.0, 3.0, 6.0)
    voxels = 10 * 10 * 10  # at 6 mm
    assert prepared_bytes([(shape, spacing)] * 2, CUBE, heart_tasks(), 2) == 2 * voxels * (4 * 2 + 2)
    padded = replace(CUBE, edge_padding=True, patch=(16, 16, 16))
    assert prepared_bytes([(shape, spacing)], padded, heart_tasks(), 1) == 16**3 * (4 + 2)
    kept = replace(CUBE, spacing=(6.0, 6.0, None))
    assert prepared_bytes([(shape, spacing)], kept, heart_tasks(), 1) == voxels * (4 + 2)
    costs = step_costs(STACK, heart_tasks(), 1, 1)
    assert run_bytes(costs, 5) == 5 * run_bytes(costs, 1)
