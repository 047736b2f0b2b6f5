"""Class collapse: a label or class that the truth has and the network no longer answers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medmtl.task import Kind, Task
from medmtl_training.batches import Batch
from medmtl_training.prepared import IGNORED

_FADE = 0.995  # a step: what is counted is about the last 200
_OFTEN, _NEVER = 0.02, 0.02  # share of the truth that a class must have; share of that which it must be answered in
_LEAST = 20.0  # crops, before anything is said of a case-level task


class CollapseMeter:
    """Counts, over about the last 200 steps, how often each label was true and how often it was answered.

    Args:
        tasks: of the network.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = {task.name: task for task in tasks if task.kind is not Kind.REGRESSION}
        # rows: true, answered
        self.counts = {name: torch.zeros(2, task.outputs, dtype=torch.float64) for name, task in self.tasks.items()}

    @torch.no_grad()
    def add(self, batch: Batch, coarse: Mapping[str, Tensor], case: Mapping[str, Tensor]) -> None:
        """Counts one batch: voxels at the coarse level, crops for case-level tasks."""
        for name, task in self.tasks.items():
            found = _voxels(task, batch, coarse) if task.is_voxel else _crops(task, batch, case)
            if found is not None:
                self.counts[name] = _FADE * self.counts[name] + found.double().cpu()

    def findings(self) -> list[str]:
        """A sentence for each label or class that is true now and then and hardly ever answered."""
        said = []
        for name, task in self.tasks.items():
            true, answered = self.counts[name]
            total = float(true.sum())
            if total <= (0.0 if task.is_voxel else _LEAST):
                continue
            first = 1 if task.kind is Kind.SEGMENTATION else 0
            for index in range(first, task.outputs):
                share, least = float(true[index]), (0.0 if task.is_voxel else _OFTEN * total)
                if share > least and float(answered[index]) < _NEVER * share:
                    label = task.labels[index - first].name
                    said.append(f"{name}.{label} is in the truth of the last batches and is hardly ever answered")
        return said

    def tensors(self) -> dict[str, Tensor]:
        """The counts, for a checkpoint."""
        return dict(self.counts)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts counts back; tasks that are not among them start from nothing."""
        for name, value in tensors.items():
            if name in self.counts:
                self.counts[name] = value.double().cpu()


def _voxels(task: Task, batch: Batch, coarse: Mapping[str, Tensor]) -> Tensor | None:
    if task.name not in batch.dense or task.name not in coarse:
        return None
    target, annotated = batch.dense[task.name], batch.annotated[task.name]
    logits = coarse[task.name].detach().float()
    steps = tuple(big // small for big, small in zip(target.shape[-3:], logits.shape[-3:], strict=True))
    target = target[..., steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1], steps[2] // 2 :: steps[2]]
    if task.kind is Kind.SEGMENTATION:
        known = target != IGNORED
        true = torch.bincount(target[known], minlength=task.outputs)[: task.outputs]
        answered = torch.bincount(logits.argmax(dim=1)[known], minlength=task.outputs)
        return torch.stack([true * annotated.any(dim=0), answered])
    known = (target != IGNORED) & annotated[:, :, None, None, None]
    pair = [((target == 1) & known), ((logits > 0) & known)]
    return torch.stack([found.sum(dim=(0, 2, 3, 4)) for found in pair])


def _crops(task: Task, batch: Batch, case: Mapping[str, Tensor]) -> Tensor | None:
    known = batch.case_known[task.name]
    if task.name not in case or not bool(known.any()):
        return None
    logits, target = case[task.name].detach().float()[known], batch.case[task.name][known]
    if task.kind is Kind.MULTILABEL:
        return torch.stack([target.sum(dim=0), (logits > 0).sum(dim=0).to(target.dtype)])
    answered = logits.argmax(dim=1)
    return torch.stack([torch.bincount(found.long(), minlength=task.outputs) for found in (target, answered)])
