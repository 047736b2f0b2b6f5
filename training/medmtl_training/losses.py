"""One loss per kind of task. What is not labelled gives no gradient.

Every sum over a batch runs over all training processes (see `ranks`), so that each task is divided by its global count.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medmtl.task import Kind, Task
from medmtl_training.batches import Batch
from medmtl_training.prepared import IGNORED
from medmtl_training.ranks import over_ranks

_SMOOTH = 1.0  # voxel: keeps the Dice of a tiny structure finite
_NEVER = -1e4  # logit of a label that was not looked for


def exclusive_loss(logits: Tensor, target: Tensor, annotated: Tensor, foreground_weight: float) -> Tensor:
    """Cross-entropy plus Dice of exclusive labels.

    Labels that were not looked for in a case are merged into its background (marginal likelihood), since their
    voxels carry value 0 there.

    Args:
        logits: `(batch, output, i, j, k)`, channel 0 is background.
        target: `(batch, i, j, k)` int64, 255 ignored.
        annotated: `(batch, output)` bool.
        foreground_weight: of labelled voxels in the cross-entropy.
    """
    logits = _marginal(logits.float(), annotated)
    clean, known = _known(target, annotated)
    weight = torch.where(clean > 0, foreground_weight, 1.0) * known
    entropy = F.cross_entropy(logits, clean, reduction="none")
    cross = over_ranks((entropy * weight).sum()) / over_ranks(weight.sum()).clamp_min(1.0)
    share = torch.softmax(logits, dim=1)[:, 1:] * known[:, None]
    truth = F.one_hot(clean, logits.shape[1]).movedim(-1, 1)[:, 1:].to(share.dtype) * known[:, None]
    if share.shape[1] > 1:  # the union too: an infarct with a no-reflow core is one lesion
        share = torch.cat([share, share.sum(1, keepdim=True)], dim=1)
        truth = torch.cat([truth, truth.sum(1, keepdim=True)], dim=1)
    return cross + _dice_loss(share, truth)


def overlapping_loss(logits: Tensor, target: Tensor, annotated: Tensor, foreground_weight: float) -> Tensor:
    """Binary cross-entropy plus Dice of masks that may overlap; arguments as `exclusive_loss`, target per label."""
    logits = logits.float()
    known = (target != IGNORED) & annotated[:, :, None, None, None]
    truth = (target == 1).to(logits.dtype) * known
    weight = (1.0 + (foreground_weight - 1.0) * truth) * known
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    cross = over_ranks((entropy * weight).sum()) / over_ranks(weight.sum()).clamp_min(1.0)
    return cross + _dice_loss(torch.sigmoid(logits) * known, truth)


def coarse_exclusive_loss(logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """Cross-entropy and Dice against the shares of labels in each coarse voxel; arguments as `exclusive_loss`."""
    logits = _marginal(logits.float(), annotated)
    clean, known = _known(target, annotated)
    one_hot = F.one_hot(clean, logits.shape[1]).movedim(-1, 1).to(logits.dtype) * known[:, None]
    factor = tuple(big // small for big, small in zip(target.shape[-3:], logits.shape[-3:], strict=True))
    share = F.avg_pool3d(one_hot, factor)
    valid = share.sum(dim=1)
    cross = -over_ranks((share * torch.log_softmax(logits, dim=1)).sum()) / over_ranks(valid.sum()).clamp_min(1.0)
    return cross + _dice_loss(torch.softmax(logits, dim=1)[:, 1:] * valid[:, None], share[:, 1:])


def coarse_overlapping_loss(logits: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """Binary cross-entropy against shares of each mask in a coarse voxel."""
    logits = logits.float()
    known = ((target != IGNORED) & annotated[:, :, None, None, None]).to(logits.dtype)
    factor = tuple(big // small for big, small in zip(target.shape[-3:], logits.shape[-3:], strict=True))
    valid = F.avg_pool3d(known, factor)
    share = F.avg_pool3d((target == 1).to(logits.dtype) * known, factor) / valid.clamp_min(1e-6)
    entropy = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
    return over_ranks((entropy * valid).sum()) / over_ranks(valid.sum()).clamp_min(1.0)


def case_loss(kind: Kind, logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean loss over the cases whose truth is known.

    Classes by cross-entropy, ordered classes by the squared distance of their expected place on top of it,
    several classes by binary cross-entropy, numbers by a smooth absolute error.
    """
    logits, target = logits.float()[known], target[known]
    cases = over_ranks(known.sum().to(logits.dtype)).clamp_min(1.0)
    if kind is Kind.MULTILABEL:
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return over_ranks(entropy) / (cases * logits.shape[1])
    if kind is Kind.REGRESSION:
        return over_ranks(F.smooth_l1_loss(logits[:, 0], target, reduction="sum")) / cases
    loss = over_ranks(F.cross_entropy(logits, target, reduction="sum")) / cases
    if kind is Kind.ORDINAL:
        places = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
        expected = (torch.softmax(logits, dim=1) * places).sum(dim=1)
        loss = loss + over_ranks(F.mse_loss(expected, target.to(logits.dtype), reduction="sum")) / cases
    return loss


def task_losses(
    tasks: tuple[Task, ...],
    batch: Batch,
    outputs: "tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]",
    lesion_weight: float,
    coarse_weight: float,
) -> dict[str, Tensor]:
    """Task name to scalar loss, only for tasks with a label in this batch.

    Args:
        tasks: of the network.
        batch: the targets.
        outputs: dense, coarse and case-level logits by task.
        lesion_weight: of labelled voxels of tasks that lie inside a host.
        coarse_weight: of the supervision at the coarse level.
    """
    dense, coarse, case = outputs
    losses: dict[str, Tensor] = {}
    for task in _labelled(tasks, batch):
        if not task.is_voxel:
            if task.name in case:
                known = batch.case_known[task.name]
                losses[task.name] = case_loss(task.kind, case[task.name], batch.case[task.name], known)
            continue
        target, annotated = batch.dense[task.name], batch.annotated[task.name]
        weight = lesion_weight if task.inside else 1.0
        if task.kind is Kind.SEGMENTATION:
            loss = exclusive_loss(dense[task.name], target, annotated, weight)
            loss = loss + coarse_weight * coarse_exclusive_loss(coarse[task.name], target, annotated)
        else:
            loss = overlapping_loss(dense[task.name], target, annotated, weight)
            loss = loss + coarse_weight * coarse_overlapping_loss(coarse[task.name], target, annotated)
        losses[task.name] = loss
    return losses


def _labelled(tasks: tuple[Task, ...], batch: Batch) -> list[Task]:
    """The tasks with a label on any process."""
    counts = []
    for task in tasks:
        if not task.is_voxel:
            counts.append(batch.case_known[task.name].any())
        elif task.name not in batch.dense:
            counts.append(torch.zeros((), dtype=torch.bool, device=batch.image.device))
        else:
            target, annotated = batch.dense[task.name], batch.annotated[task.name]
            read = target[annotated.any(dim=1)] if task.kind is Kind.SEGMENTATION else target[annotated]
            counts.append(read.ne(IGNORED).any())
    total = over_ranks(torch.stack(counts).float()).tolist()
    return [task for task, count in zip(tasks, total, strict=True) if count > 0]


def _known(target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
    """The target with 0 where it is unknown, and where it is known: not where it holds a label not looked for."""
    inside = target != IGNORED
    clean = torch.where(inside, target, torch.zeros_like(target))
    looked_for = torch.gather(annotated, 1, clean.flatten(1)).view_as(clean)
    known = inside & looked_for
    return torch.where(known, clean, torch.zeros_like(clean)), known


def _marginal(logits: Tensor, annotated: Tensor) -> Tensor:
    if bool(annotated.all()):
        return logits
    missing = ~annotated[:, :, None, None, None]
    merged = torch.where(missing, logits, torch.full_like(logits, _NEVER))
    background = torch.logsumexp(torch.cat([logits[:, :1], merged[:, 1:]], dim=1), dim=1, keepdim=True)
    return torch.cat([background, torch.where(missing[:, 1:], _NEVER, logits[:, 1:])], dim=1)


def _dice_loss(share: Tensor, truth: Tensor) -> Tensor:
    """One minus the mean Dice over classes present in the batch; an absent class has no Dice to speak of."""
    axes = (0, 2, 3, 4)
    sums = over_ranks(torch.stack([(share * truth).sum(axes), share.sum(axes), truth.sum(axes)]))
    overlap, total, present = sums[0], sums[1] + sums[2], sums[2] > 0
    if not bool(present.any()):
        return sums[1].sum() * 0.0
    dice = (2.0 * overlap + _SMOOTH) / (total + _SMOOTH)
    return 1.0 - dice[present].mean()
