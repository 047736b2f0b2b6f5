"""The training loop: one fold, from a step to the last, on CPU or CUDA, resumable at any step."""

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from medmtl.errors import Code, TrainingError
from medmtl.network.encoder import autocast_dtype
from medmtl.network.multitask import MultiTaskNet
from medmtl.preparation.plan import Plan
from medmtl.task import Task
from medmtl_training.batches import Batch, BatchMaker
from medmtl_training.checkpoint import load_checkpoint, optimiser_tensors, restore_optimiser, save_checkpoint
from medmtl_training.losses import task_losses
from medmtl_training.prepared import PreparedCase
from medmtl_training.settings import TrainSettings
from medmtl_training.weighting import UncertaintyWeights

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Whoever wants to know how the training goes on."""

    def step(self, step: int, losses: dict[str, float], weights: dict[str, float], seconds: float) -> None:
        """Called after every step with the losses and weights of the tasks."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where the loop runs: device, computing precision, threads that cut crops, seconds between checkpoints."""

    device: torch.device
    loaders: int = 0
    checkpoint_seconds: float = 120.0


class Trainer:
    """State of one training: network, averaged network, task weights, optimiser, step.

    Args:
        net: the network, freshly initialised.
        tasks: of the data set.
        plan: patch and flips.
        settings: frozen settings of the run.
        hardware: where it runs.
    """

    def __init__(
        self, net: MultiTaskNet, tasks: tuple[Task, ...], plan: Plan, settings: TrainSettings, hardware: Hardware
    ) -> None:
        self.tasks, self.plan, self.settings, self.hardware = tasks, plan, settings, hardware
        self.net = net.to(hardware.device)
        self.average = {name: value.detach().clone() for name, value in net.state_dict().items()}
        learned = settings.weighting == "kendall"
        self.weights = UncertaintyWeights([task.name for task in tasks], settings.log_variance_limits, learned=learned)
        self.weights.to(hardware.device)
        groups: list[dict[str, Any]] = [
            {"params": list(net.parameters())},
            {"params": list(self.weights.parameters()), "weight_decay": 0.0, "factor": 5.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.dtype = autocast_dtype(hardware.device)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=self.dtype is torch.float16)
        self.done = 0

    def train(self, cases: Sequence[PreparedCase], folder: Path, watcher: Watcher) -> None:
        """Goes on to the last step, with checkpoints in `folder`.

        Raises:
            TrainingError: a loss is not finite (`not-converging`), or a checkpoint cannot be written.
        """
        maker = BatchMaker(cases, self.tasks, self.plan, self.settings)
        saved = time.monotonic()
        for batch in self._batches(maker):
            start = time.monotonic()
            losses = self.step(batch)
            watcher.step(self.done, losses, self.weights.weights(), time.monotonic() - start)
            if time.monotonic() - saved > self.hardware.checkpoint_seconds or self.done == self.settings.steps:
                self.save(folder)
                saved = time.monotonic()

    def step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the tasks' losses."""
        torch.manual_seed(self.settings.seed * 1_000_003 + self.done)  # dropout is a function of the step too
        factor = self._schedule()
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * factor * group.get("factor", 1.0)
        self.net.train()
        batch = batch.to(self.hardware.device)
        losses = self._losses(batch)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not all(math.isfinite(value) for value in values.values()):
            what = f"a loss is not finite at step {self.done}"
            raise TrainingError(Code.NOT_CONVERGING, what, "lower learning_rate or check the data")
        if losses:
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(self.weights.total(losses)).backward()
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.clip)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.weights.clamp()
            self._average(losses)
        self.done += 1
        return values

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        names = [task.name for task in self.tasks]
        enabled = self.dtype is not torch.float32
        with torch.autocast(self.hardware.device.type, self.dtype, enabled=enabled):
            out = self.net(batch.image, batch.inside, names)
        case = {} if out.sums is None else self.net.case_logits(out.sums, batch.voxel_ml, names)
        outputs = (dict(out.dense), dict(out.coarse), case)
        return task_losses(self.tasks, batch, outputs, self.settings.lesion_weight, self.settings.coarse_weight)

    def _schedule(self) -> float:
        warm = min(1.0, (self.done + 1) / max(1, self.settings.warm_up))
        left = max(0.0, 1.0 - self.done / self.settings.steps)
        return float(warm * left**0.9)

    @torch.no_grad()
    def _average(self, losses: dict[str, Tensor]) -> None:
        decay = min(self.settings.average, (1 + self.done) / (10 + self.done))
        case_tasks = frozenset(task.name for task in self.tasks if not task.is_voxel)
        for name, value in self.net.state_dict().items():
            if _belongs_to_absent(name, losses, case_tasks):
                continue
            self.average[name].lerp_(value, 1.0 - decay)

    def _batches(self, maker: BatchMaker) -> Iterator[Batch]:
        steps = range(self.done, self.settings.steps)
        if self.hardware.loaders == 0:
            yield from (maker.make(step) for step in steps)
            return
        with ThreadPoolExecutor(self.hardware.loaders) as pool:
            waiting: deque[Future[Batch]] = deque()
            for step in steps:
                waiting.append(pool.submit(maker.make, step))
                if len(waiting) > 2 * self.hardware.loaders:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def save(self, folder: Path) -> None:
        """Writes the checkpoint."""
        tensors = {f"net|{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"average|{name}": value for name, value in self.average.items()}
        tensors |= {f"weights|{name}": value for name, value in self.weights.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser)
        save_checkpoint(folder, tensors, {"done": self.done, "scaler": self.scaler.state_dict()})

    def restore(self, folder: Path) -> bool:
        """Puts the checkpoint of `folder` back; False where there is none.

        Raises:
            TrainingError: it is damaged or belongs to another network.
        """
        found = load_checkpoint(folder)
        if found is None:
            return False
        tensors, state = found
        device = self.hardware.device
        parts: dict[str, dict[str, Tensor]] = {"net": {}, "average": {}, "weights": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("|")
            if part in parts:
                parts[part][rest] = value.to(device)
        try:
            self.net.load_state_dict(parts["net"])
            self.weights.load_state_dict(parts["weights"])
        except RuntimeError:
            what = "the checkpoint belongs to another network"
            raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "resume with the plan it was started with") from None
        self.average = parts["average"]
        restore_optimiser(self.optimiser, tensors)
        self.scaler.load_state_dict(state["scaler"])
        self.done = int(state["done"])
        return True


def _belongs_to_absent(name: str, losses: dict[str, Tensor], case_tasks: frozenset[str]) -> bool:
    part, _, rest = name.partition(".")
    if part == "pooling":
        return not any(task in case_tasks for task in losses)
    return part in ("decoders", "case_heads") and rest.split(".")[0] not in losses
