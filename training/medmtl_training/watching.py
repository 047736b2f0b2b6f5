"""Dice on held-out crops while a network trains, so that a cost sheet can say when it was reached; chooses nothing."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from medmtl.task import Kind, Task
from medmtl_training.batches import Batch
from medmtl_training.gradients.meter import Look
from medmtl_training.journal import rows_up_to, write_rows
from medmtl_training.loop import Watcher
from medmtl_training.prepared import IGNORED, PreparedCase
from medmtl_training.validation import Judged, still_answers

LOOKS = 20
"""From the first step to the last."""

_BATCHES = 4
_NAME = "dice.csv"


class HeldoutWatch:
    """A journal that also writes `dice.csv`: step, and the Dice of each voxel task over fixed crops of held-out cases.

    Args:
        journal: which it passes everything on to.
        trainer: whose averaged weights are looked at.
        cases: held out of the training.
        folder: of the network.
    """

    def __init__(self, journal: Watcher, trainer: Judged, cases: Sequence[PreparedCase], folder: Path) -> None:
        self.journal, self.trainer, self.cases, self.path = journal, trainer, cases, folder / _NAME
        self.every = max(1, trainer.settings.steps // LOOKS)
        self.tasks = [task.name for task in trainer.tasks if task.is_voxel]
        rows = rows_up_to(self.path, trainer.done)
        write_rows(self.path, "w", [["step", *self.tasks], *rows])

    def step(self, step: int, losses: dict[str, float], weights: dict[str, float], seconds: float) -> None:
        """Called after every step."""
        self.journal.step(step, losses, weights, seconds)
        if step % self.every == 0 or step == self.trainer.settings.steps:
            found = heldout_dice(self.trainer, self.cases)
            write_rows(self.path, "a", [[step, *(f"{found[t]:.5f}" if t in found else "" for t in self.tasks)]])

    def look(self, looks: Sequence[Look]) -> None:
        """Called with the tasks' gradients."""
        self.journal.look(looks)


def heldout_dice(trainer: Judged, cases: Sequence[PreparedCase]) -> dict[str, float]:
    """Voxel task to its Dice over fixed crops of `cases`, mean of its labels that are there."""
    counts: dict[str, Tensor] = {}
    for batch, (dense, _, _) in still_answers(trainer, cases, _BATCHES):
        for task in trainer.tasks:
            if task.name in dense and task.name in batch.dense:
                found = _counts(task, batch, dense[task.name].float())
                counts[task.name] = counts.get(task.name, torch.zeros_like(found)) + found
    dice = {}
    for name, (both, answered, true) in counts.items():
        there = true > 0
        if bool(there.any()):
            dice[name] = float((2 * both[there] / (answered[there] + true[there])).mean())
    return dice


def _counts(task: Task, batch: Batch, logits: Tensor) -> Tensor:
    """Voxels of each label that are both, answered, true: `(3, label)`."""
    target, annotated = batch.dense[task.name], batch.annotated[task.name]
    known = target != IGNORED
    if task.kind is Kind.SEGMENTATION:
        answer = logits.argmax(dim=1)
        pairs = [(answer == n, target == n) for n in range(1, task.outputs)]
        masks = [known & annotated[:, n, None, None, None] for n in range(1, task.outputs)]
    else:
        pairs = [(logits[:, n] > 0, target[:, n] == 1) for n in range(task.outputs)]
        masks = [known[:, n] & annotated[:, n, None, None, None] for n in range(task.outputs)]
    rows = [
        [(one & other & mask).sum(), (one & mask).sum(), (other & mask).sum()]
        for (one, other), mask in zip(pairs, masks, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64).T


def read_dice(folder: Path, task: str) -> list[tuple[int, float]]:
    """Step and Dice of a task, in the order of the looks; empty where nothing was watched."""
    if not (folder / _NAME).exists():
        return []
    with (folder / _NAME).open(newline="", encoding="utf-8") as file:
        return [(int(row["step"]), float(row[task])) for row in csv.DictReader(file) if row.get(task)]
