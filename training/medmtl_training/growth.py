"""Which weights a grown network trains, and what keeps it near the network it grew from."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medmtl.network.multitask import MultiTaskNet
from medmtl.network.sharing import CASE, owner_of
from medmtl.task import Kind, Task
from medmtl_training.batches import Batch

_EXCLUSIVE = (Kind.SEGMENTATION, Kind.CLASSIFICATION, Kind.ORDINAL)

Outputs = tuple[Mapping[str, Tensor], Mapping[str, Tensor], Mapping[str, Tensor]]
"""Dense, coarse and case-level logits by task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """A trained network: its weights, the SHA-256 of the images it has seen, and itself."""

    weights: Mapping[str, Tensor]
    seen: tuple[str, ...]
    net: MultiTaskNet


class Growth:
    """How a trained network takes up further tasks.

    Args:
        added: names of the further tasks.
        teacher: the network as it was; None freezes all that it consists of, so that its answers stay the same to
            the bit. With a teacher all weights train, and each of its tasks is held to its answers.
        weight: of what holds a task to the teacher's answers.
    """

    def __init__(self, added: frozenset[str], teacher: MultiTaskNet | None = None, weight: float = 1.0) -> None:
        self.added, self.teacher, self.weight = added, teacher, weight

    def prepare(self, net: MultiTaskNet) -> None:
        """Freezes what must stay, or makes the teacher ready."""
        if self.teacher is not None:
            device = next(net.parameters()).device
            self.teacher = self.teacher.to(device).eval().requires_grad_(requires_grad=False)
            return
        case_level = {name for name, head in net.heads.items() if not head.dense}
        own = {*self.added, *({CASE} if case_level and case_level <= self.added else ())}
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(owner_of(name) in own)

    def active(self, tasks: frozenset[str]) -> frozenset[str]:
        """Those of the tasks that are trained."""
        return tasks & self.added if self.teacher is None else tasks

    def with_distillation(
        self, losses: dict[str, Tensor], tasks: tuple[Task, ...], batch: Batch, outputs: Outputs
    ) -> dict[str, Tensor]:
        """The losses, with the distance from the teacher's answers added for each of its tasks, labelled or not."""
        if self.teacher is None:
            return losses
        known = [task for task in tasks if task.name in self.teacher.heads]
        names = [task.name for task in known]
        with torch.no_grad():
            out = self.teacher(batch.image, batch.inside, names)
            case = {} if out.sums is None else self.teacher.case_logits(out.sums, batch.voxel_ml, names)
        wanted: Outputs = (out.dense, out.coarse, case)
        found = dict(losses)
        for task in known:
            parts = [
                distance(task.kind, student[task.name], teacher[task.name])
                for student, teacher in zip(outputs, wanted, strict=True)
                if task.name in student and task.name in teacher
            ]
            if parts:
                kept = self.weight * torch.stack(parts).sum()
                found[task.name] = found[task.name] + kept if task.name in found else kept
        return found


def distance(kind: Kind, student: Tensor, teacher: Tensor) -> Tensor:
    """How far one answer is from another: divergence of probabilities, or a smooth absolute error for numbers.

    Args:
        kind: of the task.
        student: logits `(batch, output, ...)`, or numbers `(batch, 1)`.
        teacher: as `student`.
    """
    student, teacher = student.float(), teacher.float()
    if kind is Kind.REGRESSION:
        return F.smooth_l1_loss(student, teacher)
    if kind in _EXCLUSIVE:
        logs, wanted = torch.log_softmax(student, dim=1), torch.softmax(teacher, dim=1)
        return F.kl_div(logs, wanted, reduction="none").sum(dim=1).mean()
    wanted = torch.sigmoid(teacher)
    entropy = F.binary_cross_entropy(wanted, wanted, reduction="mean")
    return F.binary_cross_entropy_with_logits(student, wanted) - entropy
