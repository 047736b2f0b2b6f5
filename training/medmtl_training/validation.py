"""Cases kept aside: the best weights, for each task and over all of them, and when to stop."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from medmtl.errors import Code, TrainingError
from medmtl.network.multitask import MultiTaskNet
from medmtl.preparation.plan import Plan
from medmtl.task import Task
from medmtl_training.batches import Batch, BatchMaker
from medmtl_training.cases import Case
from medmtl_training.losses import task_losses
from medmtl_training.prepared import PreparedCase
from medmtl_training.ranks import Ranks
from medmtl_training.settings import Augmentation, TrainSettings

log = logging.getLogger(__name__)

_BATCHES = 16
_SEED = 987_654_321  # crops of a look are the same in every look
_STILL = Augmentation(
    rotation_deg=0, tilt_deg=0, scale=1.0, elastic_mm=0, thick_slices=0, cut_slices=0, shifted_slices=0, intensity=0,
)  # fmt: skip


Outputs = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]
"""Dense, coarse and case-level logits by task."""


class Judged(Protocol):
    """What of a trainer is judged."""

    net: MultiTaskNet
    average: dict[str, Tensor]
    tasks: tuple[Task, ...]
    sampled: tuple[Task, ...]
    plan: Plan
    settings: TrainSettings
    done: int

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def ranks(self) -> Ranks:
        """This process among all."""


def set_aside(cases: Sequence[PreparedCase], settings: TrainSettings) -> tuple[list[PreparedCase], list[PreparedCase]]:
    """Cases to learn from and cases kept aside, no patient in both; the same for the same seed.

    Raises:
        TrainingError: too few patients for the share that was asked.
    """
    patients = _shuffled({case.patient for case in cases}, settings.seed)
    number = round(settings.validation * len(patients))
    if settings.validation > 0 and not 1 <= number < len(patients):
        what = f"{len(patients)} patients cannot give {settings.validation:.0%} for validation"
        raise TrainingError(Code.BAD_OPTION, what, "leave validation at 0, or use more cases")
    chosen = set(patients[:number])
    learn = [case for case in cases if case.patient not in chosen]
    return learn, [case for case in cases if case.patient in chosen]


def part_of(cases: tuple[Case, ...], fraction: float, seed: int) -> tuple[Case, ...]:
    """The cases of a share of the patients, at least one; a smaller share is part of every larger one."""
    if fraction >= 1.0:
        return cases
    patients = _shuffled({case.patient for case in cases}, seed)
    chosen = set(patients[: max(1, round(fraction * len(patients)))])
    return tuple(case for case in cases if case.patient in chosen)


def _shuffled(names: set[str], seed: int) -> list[str]:
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    known = sorted(names)
    return [known[n] for n in order]


class Validation:
    """What the looks at cases kept aside have said so far.

    Args:
        settings: patience.

    Attributes:
        best: averaged weights of the best look over all tasks; empty before the first.
        over: whether the training should stop.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.patience = settings.patience
        self.best: dict[str, Tensor] = {}
        self.first: dict[str, float] = {}
        self.lowest: dict[str, float] = {}
        self.score = float("inf")
        self.step = 0
        self.stale = 0

    @property
    def over(self) -> bool:
        """Whether no task's loss has fallen for `patience` looks."""
        return 0 < self.patience <= self.stale

    def judge(self, trainer: Judged, aside: Sequence[PreparedCase], folder: Path) -> dict[str, float]:
        """One look: losses of the averaged weights; keeps the best of each task in `folder`/best_TASK.safetensors.

        The best over all tasks is the one with the lowest mean of losses relative to the first look's.
        """
        losses = aside_losses(trainer, aside)
        better = [name for name, loss in losses.items() if loss < self.lowest.get(name, float("inf"))]
        for name, loss in losses.items():
            self.first.setdefault(name, loss)
            self.lowest[name] = min(loss, self.lowest.get(name, loss))
        for name in better:
            if trainer.ranks.first:
                _write(folder / f"best_{name}.safetensors", trainer.average)
        self.stale = 0 if better else self.stale + 1
        score = sum(losses[name] / max(self.first[name], 1e-9) for name in losses) / max(len(losses), 1)
        if losses and score < self.score:
            self.score, self.step = score, trainer.done
            self.best = {name: value.detach().clone() for name, value in trainer.average.items()}
        shown = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        log.info("step %d, cases kept aside: %s; best over all at step %d", trainer.done, shown, self.step)
        return losses

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        score = None if self.score == float("inf") else self.score
        kept = {"first": self.first, "lowest": self.lowest, "step": self.step, "stale": self.stale}
        return {**kept, "score": score}

    def restore(self, best: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Puts `state` back."""
        self.best = best
        self.first, self.lowest = dict(state.get("first", {})), dict(state.get("lowest", {}))
        self.step, self.stale = int(state.get("step", 0)), int(state.get("stale", 0))
        self.score = float("inf") if state.get("score") is None else float(state["score"])


def aside_losses(trainer: Judged, cases: Sequence[PreparedCase]) -> dict[str, float]:
    """Task to its mean loss under the averaged weights over fixed crops of `cases`."""
    settings = trainer.settings
    found: dict[str, list[float]] = {}
    for batch, outputs in still_answers(trainer, cases, _BATCHES):
        losses = task_losses(trainer.tasks, batch, outputs, settings.lesion_weight, settings.coarse_weight)
        for name, loss in losses.items():
            found.setdefault(name, []).append(float(loss))
    return {name: sum(values) / len(values) for name, values in found.items()}


def still_answers(trainer: Judged, cases: Sequence[PreparedCase], batches: int) -> Iterator[tuple[Batch, Outputs]]:
    """Fixed crops of `cases` that nothing varies, and what the averaged weights answer to them.

    The network has its own weights again when the last was taken.
    """
    settings = replace(trainer.settings, augmentation=_STILL, seed=_SEED, schedule="joint")
    maker = BatchMaker(cases, trainer.sampled, trainer.plan, settings, trainer.ranks)
    raw = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.net.load_state_dict(trainer.average)
    trainer.net.eval()
    names = [task.name for task in trainer.tasks]
    for number in range(batches):
        batch = maker.make(number).to(trainer.device)
        with torch.no_grad():
            out = trainer.net(batch.image, batch.inside, names)
            case = {} if out.sums is None else trainer.net.case_logits(out.sums, batch.voxel_ml, names)
        yield batch, (dict(out.dense), dict(out.coarse), case)
    trainer.net.load_state_dict(raw)


def _write(path: Path, weights: dict[str, Tensor]) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        what = f"the best weights cannot be written ({type(error).__name__})"
        raise TrainingError(Code.CANNOT_WRITE, what, "free some disk and resume; the last checkpoint stays") from None
