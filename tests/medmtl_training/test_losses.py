import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from medmtl.task import Kind, tasks_from_mapping
from medmtl_training.batches import Batch
from medmtl_training.losses import (
    case_loss,
    coarse_exclusive_loss,
    coarse_overlapping_loss,
    exclusive_loss,
    overlapping_loss,
    task_losses,
)

SIZE = (6, 6, 4)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def exclusive(logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    return exclusive_loss(logits, target, annotated, 2.0)


def overlapping(logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    return overlapping_loss(logits, target, annotated, 2.0)


def truth(labels: int = 2) -> Tensor:
    target = torch.zeros((1, *SIZE), dtype=torch.long)
    for value in range(1, labels + 1):
        target[0, value, 1:4, :2] = value
    return target


def sure_of(target: Tensor, outputs: int, scale: float = 20.0) -> Tensor:
    return scale * torch.nn.functional.one_hot(target.clamp_max(outputs - 1), outputs).movedim(-1, 1).float()


def everything(outputs: int, batch: int = 1) -> Tensor:
    return torch.ones((batch, outputs), dtype=torch.bool)


def masks(target: Tensor, labels: int = 2) -> Tensor:
    return torch.stack([(target == value).long() for value in range(1, labels + 1)], dim=1)


def gradient(loss: Loss, logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    loss(logits, target, annotated).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    return logits.grad


def test_the_truth_has_no_loss_and_a_wrong_answer_has() -> None:
    target = truth()
    assert exclusive(sure_of(target, 3), target, everything(3)).item() < 1e-4
    wrong = exclusive(sure_of(torch.roll(target, 2, 1), 3), target, everything(3)).item()
    assert wrong > 1.0
    assert overlapping(40 * masks(target).float() - 20, masks(target), everything(2)).item() < 1e-4


def test_a_class_that_is_absent_from_the_batch_has_no_dice() -> None:
    """Label 2 is nowhere: the loss is that of label 1 and the union alone."""
    target = truth(1)
    loss = exclusive(sure_of(target, 3), target, everything(3)).item()
    assert loss < 1e-4  # a Dice of zero over zero, counted as zero, would make it a third
    nothing = torch.zeros_like(target)
    assert exclusive(sure_of(nothing, 3), nothing, everything(3)).item() < 1e-4


def test_half_of_a_structure_found_has_the_dice_of_the_textbook() -> None:
    target = torch.zeros((1, 8, 8, 4), dtype=torch.long)
    target[0, 2:6, 2:6] = 1  # 64 voxels
    found = target.clone()
    found[0, 4:6] = 0  # half of them
    logits = sure_of(found, 2, 30.0)
    dice = (2 * 32 + 1) / (32 + 64 + 1)
    cross = 32 * 2.0 * 30.0 / (192 + 64 * 2.0)
    assert exclusive(logits, target, everything(2)).item() == pytest.approx(1 - dice + cross, rel=1e-4)


@pytest.mark.parametrize("loss", [exclusive, coarse_exclusive_loss])
def test_ignored_voxels_give_no_gradient(loss: Loss) -> None:
    torch.manual_seed(0)
    target = truth()
    target[0, :, :, 2:] = 255
    logits = torch.randn((1, 3, *SIZE))
    grad = gradient(loss, logits, target, everything(3))
    assert float(grad[..., 2:].abs().max()) == 0.0
    assert float(grad[..., :2].abs().min()) > 0.0
    other = logits.clone()
    other[..., 2:] += 3.0
    assert loss(other, target, everything(3)).item() == loss(logits, target, everything(3)).item()


@pytest.mark.parametrize("loss", [overlapping, coarse_overlapping_loss])
def test_ignored_voxels_and_masks_not_drawn_give_no_gradient(loss: Loss) -> None:
    torch.manual_seed(0)
    target = masks(truth())
    target[0, 0, :, :, 2:] = 255
    annotated = torch.tensor([[True, False]])
    grad = gradient(loss, torch.randn((1, 2, *SIZE)), target, annotated)
    assert float(grad[:, 0, ..., 2:].abs().max()) == 0.0
    assert float(grad[:, 1].abs().max()) == 0.0
    assert float(grad[:, 0, ..., :2].abs().min()) > 0.0


def test_a_label_that_was_not_looked_for_may_be_there() -> None:
    """Its voxels carry 0: saying label 2 there costs nothing, saying label 1 does, and label 2 is not pushed away."""
    target = truth(1)
    annotated = torch.tensor([[True, True, False]])
    says_two = sure_of(truth(2), 3)
    assert exclusive(says_two, target, annotated).item() < 1e-4
    assert coarse_exclusive_loss(says_two, target, annotated).item() < 1e-3
    assert exclusive(says_two, target, everything(3)).item() > 0.5
    says_one = sure_of(torch.where(truth(2) == 2, 1, truth(2)), 3)
    assert exclusive(says_one, target, annotated).item() > 0.3
    torch.manual_seed(0)
    logits = torch.randn((1, 3, *SIZE))
    grad = gradient(exclusive, logits, target, annotated)[0]
    background = (target[0] == 0).numpy()
    # background and the unknown label share one gradient, in proportion to their probability
    share = torch.softmax(logits[0][[0, 2]], dim=0)
    both = grad[0] + grad[2]
    assert torch.allclose(grad[2][background], (share[1] * both)[background], atol=1e-6)


def test_voxels_of_a_label_that_counts_as_not_looked_for_are_unknown() -> None:
    target = truth(2)
    annotated = torch.tensor([[True, True, False]])
    torch.manual_seed(0)
    grad = gradient(exclusive, torch.randn((1, 3, *SIZE)), target, annotated)[0]
    assert float(grad[:, (target[0] == 2)].abs().max()) == 0.0
    assert float(grad[:, (target[0] == 0)].abs().min()) > 0.0


def test_a_batch_may_mix_what_was_looked_for() -> None:
    target = torch.cat([truth(2), truth(1)])
    annotated = torch.tensor([[True, True, True], [True, True, False]])
    assert exclusive(sure_of(torch.cat([truth(2)] * 2), 3), target, annotated).item() < 1e-4


def test_coarse_truth_is_a_share() -> None:
    """A coarse voxel half full is best answered by one half, also where the rest of it is outside the scan."""
    full = torch.zeros((1, 1, 4, 4, 4), dtype=torch.long)
    full[0, 0, :, :2] = 1
    logits = torch.zeros((1, 1, 1, 1, 1), requires_grad=True)
    coarse_overlapping_loss(logits, full, everything(1)).backward()
    assert float(logits.grad.abs().max()) < 1e-6  # sigmoid(0) is one half
    cut = full.clone()
    cut[0, 0, :, 2:] = 255  # what is known of it is full
    sure = coarse_overlapping_loss(torch.full((1, 1, 1, 1, 1), 20.0), cut, everything(1)).item()
    assert sure < 1e-4
    classes = torch.zeros((1, 4, 4, 4), dtype=torch.long)
    classes[0, :, :2] = 1
    logits = torch.zeros((1, 2, 1, 1, 1))
    cross = coarse_exclusive_loss(logits, classes, everything(2)).item() - (1 - (2 * 0.25 + 1) / (0.5 + 0.5 + 1))
    assert cross == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "outputs", "target", "good", "bad"),
    [
        (Kind.CLASSIFICATION, 3, torch.tensor([2]), [[-9.0, -9, 9]], [[9.0, -9, -9]]),
        (Kind.ORDINAL, 3, torch.tensor([2]), [[-9.0, -9, 9]], [[9.0, -9, -9]]),
        (Kind.MULTILABEL, 2, torch.tensor([[1.0, 0.0]]), [[9.0, -9]], [[-9.0, 9]]),
        (Kind.REGRESSION, 1, torch.tensor([41.5]), [[41.5]], [[12.0]]),
    ],
)
def test_case_losses(kind: Kind, outputs: int, target: Tensor, good: Any, bad: Any) -> None:
    known = torch.tensor([True])
    assert case_loss(kind, torch.tensor(good), target, known).item() < 1e-3
    assert case_loss(kind, torch.tensor(bad), target, known).item() > 5.0
    # a row whose truth is not known changes nothing, whatever stands in it
    rows = torch.cat([torch.tensor(good), torch.full((1, outputs), 77.0)])
    both = case_loss(kind, rows, torch.cat([target, target]), torch.tensor([True, False]))
    assert both.item() == pytest.approx(case_loss(kind, torch.tensor(good), target, known).item())


def test_an_ordered_class_further_off_costs_more() -> None:
    target, known = torch.tensor([2]), torch.tensor([True])
    near = torch.tensor([[0.0, 8.0, 0.0]])
    far = torch.tensor([[8.0, 0.0, 0.0]])
    ordinal = [case_loss(Kind.ORDINAL, x, target, known).item() for x in (near, far)]
    plain = [case_loss(Kind.CLASSIFICATION, x, target, known).item() for x in (near, far)]
    assert plain[0] == pytest.approx(plain[1])
    assert ordinal[1] - ordinal[0] == pytest.approx(3.0, abs=0.05)  # 2 squared against 1


TASKS = tasks_from_mapping(
    {
        "organs": {"kind": "segmentation", "labels": ["a", "b"]},
        "parts": {"kind": "regions", "labels": ["c", "d"]},
        "diagnosis": {"kind": "classification", "classes": ["well", "ill"]},
        "age": {"kind": "regression"},
    }
)


def batch_of(**changes: Any) -> Batch:
    target = truth()
    values = {
        "image": torch.zeros((1, 1, *SIZE)), "inside": torch.ones((1, 1, *SIZE)), "voxel_ml": torch.ones(1),
        "dense": {"organs": target, "parts": masks(target)},
        "annotated": {"organs": everything(3), "parts": everything(2)},
        "case": {"diagnosis": torch.tensor([1]), "age": torch.tensor([50.0])},
        "case_known": {"diagnosis": torch.tensor([True]), "age": torch.tensor([True])},
    }  # fmt: skip
    return Batch(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({}, set()),
        ({"dense": {"parts": masks(truth())}}, {"organs"}),
        ({"dense": {"organs": torch.full((1, *SIZE), 255), "parts": masks(truth())}}, {"organs"}),
        ({"annotated": {"organs": everything(3), "parts": ~everything(2)}}, {"parts"}),
        ({"case_known": {"diagnosis": torch.tensor([False]), "age": torch.tensor([True])}}, {"diagnosis"}),
    ],
)
def test_only_tasks_with_a_label_have_a_loss(changes: dict[str, Any], absent: set[str]) -> None:
    coarse = {"organs": torch.zeros((1, 3, 3, 3, 2)), "parts": torch.zeros((1, 2, 3, 3, 2))}
    dense = {"organs": torch.zeros((1, 3, *SIZE)), "parts": torch.zeros((1, 2, *SIZE))}
    case = {"diagnosis": torch.zeros((1, 2)), "age": torch.zeros((1, 1))}
    losses = task_losses(TASKS, batch_of(**changes), (dense, coarse, case), 2.0, 0.4)
    assert set(losses) == {"organs", "parts", "diagnosis", "age"} - absent
    assert all(value.item() > 0 for value in losses.values())
