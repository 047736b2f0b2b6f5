"""The training loop: one network, from a step to the last, on CPU or CUDA, in one process or many, resumable."""

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from medmtl.errors import Code, TrainingError
from medmtl.network.encoder import autocast_dtype
from medmtl.network.multitask import MultiTaskNet
from medmtl.network.sharing import CASE, OwnEncoders, owner_of
from medmtl.preparation.plan import Plan
from medmtl.task import Task
from medmtl_training.batches import Batch, BatchMaker
from medmtl_training.checkpoint import load_checkpoint, save_checkpoint
from medmtl_training.collapse import CollapseMeter
from medmtl_training.gradients.aggregators import make_combine
from medmtl_training.gradients.backward import combined_backward, norm_of, plain_backward, task_gradients
from medmtl_training.gradients.meter import Look, look
from medmtl_training.growth import Growth
from medmtl_training.losses import task_losses
from medmtl_training.optimising import make_optimiser
from medmtl_training.prepared import PreparedCase
from medmtl_training.ranks import Ranks, average_gradients, mean_over_ranks
from medmtl_training.schedule import TaskSchedule, check_tasks, rate_factor
from medmtl_training.settings import TrainSettings
from medmtl_training.state import put_back, training_state
from medmtl_training.validation import Validation
from medmtl_training.weighting import make_weighting

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Whoever wants to know how the training goes on."""

    def step(self, step: int, losses: dict[str, float], weights: dict[str, float], seconds: float) -> None:
        """Called after every step with the losses and weights of the tasks."""

    def look(self, looks: Sequence[Look]) -> None:
        """Called now and then with how the tasks' gradients stand to each other."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where the loop runs: device, threads that cut crops, seconds between checkpoints, this process among all."""

    device: torch.device
    loaders: int = 0
    checkpoint_seconds: float = 120.0
    ranks: Ranks = field(default_factory=Ranks)


class Trainer:
    """State of one training: network, averaged network, task weights, optimiser, step.

    Args:
        net: the network, freshly initialised.
        tasks: of the data set; those that the network has no head for only take part in drawing crops.
        plan: patch and flips.
        settings: frozen settings of the run.
        hardware: where it runs.
        growth: which tasks alone are trained, and what keeps the others; None trains all.

    Raises:
        TrainingError: the settings name a task that is not there, or need a package that is not installed.
    """

    def __init__(
        self,
        net: MultiTaskNet,
        tasks: tuple[Task, ...],
        plan: Plan,
        settings: TrainSettings,
        hardware: Hardware,
        growth: Growth | None = None,
    ) -> None:
        self.sampled, self.plan, self.settings, self.hardware, self.growth = tasks, plan, settings, hardware, growth
        self.tasks = tuple(task for task in tasks if task.name in net.heads)
        check_tasks(settings, tasks)
        self.net = net.to(hardware.device)
        if isinstance(net.encoder, OwnEncoders):
            net.encoder.tie = settings.tie
        self.average = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self.weights = make_weighting(settings, [task.name for task in self.tasks]).to(hardware.device)
        self.optimiser = make_optimiser(net, self.weights, settings)
        self.schedule = TaskSchedule(settings, tasks)
        if growth is not None:
            growth.prepare(net)
        self.shared = {name: value for name, value in net.shared_parameters().items() if value.requires_grad}
        if settings.gradients != "sum" and hardware.ranks.world > 1:
            what = f"gradients: {settings.gradients} combines the tasks' gradients of one process"
            raise TrainingError(Code.BAD_OPTION, what, "train with one process, or with gradients: sum")
        self.combine = make_combine(settings.gradients)
        self.collapse = CollapseMeter(self.tasks)
        self.validation = Validation(settings)
        self.dtype = autocast_dtype(hardware.device)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=self.dtype is torch.float16)
        self.done = 0

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.hardware.device

    @property
    def ranks(self) -> Ranks:
        """This process among all."""
        return self.hardware.ranks

    def train(
        self, cases: Sequence[PreparedCase], folder: Path, watcher: Watcher, aside: Sequence[PreparedCase] = ()
    ) -> None:
        """Goes on to the last step, with checkpoints in `folder`.

        Args:
            cases: to learn from.
            folder: for checkpoints.
            watcher: who is told.
            aside: cases that choose the best weights and the end of the training; none for the last step's.

        Raises:
            TrainingError: a loss is not finite (`not-converging`), or a checkpoint cannot be written.
        """
        maker = BatchMaker(cases, self.sampled, self.plan, self.settings, self.hardware.ranks)
        saved, every = time.monotonic(), self.settings.measure_every
        for batch in self._batches(maker):
            start = time.monotonic()
            looks = self.measure(batch) if every and self.done % every == 0 else []
            losses = self.step(batch)
            watcher.step(self.done, losses, self.weights.weights(), time.monotonic() - start)
            if looks:
                watcher.look(looks)
            if aside and self.done % self.settings.validate_every == 0:
                self.validation.judge(self, aside, folder)
            last = self.done == self.settings.steps or self.validation.over
            if last or time.monotonic() - saved > self.hardware.checkpoint_seconds:
                self.save(folder)
                saved = time.monotonic()
            if last:
                break

    def step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the tasks' losses."""
        self._seed()
        factor = rate_factor(self.done, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * factor * group["factor"]
        self.net.train()
        batch = batch.to(self.hardware.device)
        losses, penalties = self._losses(batch, count=True)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not all(math.isfinite(value) for value in values.values()):
            what = f"a loss is not finite at step {self.done}"
            raise TrainingError(Code.NOT_CONVERGING, what, "lower learning_rate or check the data")
        if losses:
            self._learn(losses, penalties)
            self._average(losses)
            if self.weights.looks_twice:
                self._seed()
                with torch.no_grad():
                    again, _ = self._losses(batch)
                self.weights.see_again(values, {name: float(again[name]) for name in values})
        self.done += 1
        return values

    def measure(self, batch: Batch) -> list[Look]:
        """How the tasks' gradients of the shared weights stand to each other; changes nothing."""
        self._seed()
        self.net.train()
        kept = [value.clone() for value in self.net.buffers()]
        losses, _ = self._losses(batch.to(self.hardware.device), every=True)
        looks = look(self.done, losses, self.shared)
        for value, before in zip(self.net.buffers(), kept, strict=True):
            value.copy_(before)
        return looks

    def _seed(self) -> None:
        # dropout and whatever a method draws are functions of the step, so that a resumed run draws the same
        torch.manual_seed(self.settings.seed * 1_000_003 + self.done + 7_368_787 * self.hardware.ranks.rank)

    def _learn(self, losses: dict[str, Tensor], penalties: Mapping[str, Tensor]) -> None:
        if self.weights.reads_norms and self.shared:
            self._show_norms(losses)
        terms = self.weights.terms(losses)
        for name, penalty in penalties.items():
            terms[name] = terms[name] + self.settings.sharing_penalty * penalty
        terms = {name: self.scaler.scale(term) for name, term in terms.items()}
        self.optimiser.zero_grad(set_to_none=True)
        if self.combine is None and not self.settings.clip_per_task:
            plain_backward(terms)
        else:
            shared = list(self.shared.values())
            known = {id(parameter) for parameter in shared}
            both = (*self.net.parameters(), *self.weights.parameters())
            own = [p for p in both if p.requires_grad and id(p) not in known]
            limit = self.settings.clip_per_task * self.scaler.get_scale()
            combined_backward(terms, shared, own, self.combine, limit)
        average_gradients([*self.net.parameters(), *self.weights.parameters()])
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.weights.constrain()

    def _show_norms(self, losses: dict[str, Tensor]) -> None:
        deepest = [value for name, value in self.shared.items() if ".conv2.conv." in name][-1:]
        gradients = task_gradients(losses, deepest)
        local = torch.tensor([norm_of(gradients[name]) for name in losses], dtype=torch.float64)
        norms = dict(zip(losses, mean_over_ranks(local).tolist(), strict=True))
        self.weights.see_norms(norms, {name: float(loss.detach()) for name, loss in losses.items()})

    def _losses(
        self, batch: Batch, *, every: bool = False, count: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of the active tasks that have a label, or of every task that has; and their encoders' penalties."""
        active = self.schedule.every if every else self.schedule.active(self.done)
        active = active if self.growth is None else self.growth.active(active)
        tasks = tuple(task for task in self.tasks if task.name in active)
        names = [task.name for task in tasks]
        enabled = self.dtype is not torch.float32
        with torch.autocast(self.hardware.device.type, self.dtype, enabled=enabled):
            out = self.net(batch.image, batch.inside, names)
        case = {} if out.sums is None else self.net.case_logits(out.sums, batch.voxel_ml, names)
        outputs = (dict(out.dense), dict(out.coarse), case)
        losses = task_losses(tasks, batch, outputs, self.settings.lesion_weight, self.settings.coarse_weight)
        if self.growth is not None:
            losses = self.growth.with_distillation(losses, tasks, batch, outputs)
        if count:
            self.collapse.add(batch, {name: out.coarse[name] for name in out.dense}, case)
        penalties = {name: value for name, value in out.penalties.items() if name in losses}
        if CASE in out.penalties and (found := next((task for task in case if task in losses), None)) is not None:
            penalties[found] = out.penalties[CASE]
        return losses, penalties

    @torch.no_grad()
    def _average(self, losses: dict[str, Tensor]) -> None:
        decay = min(self.settings.average, (1 + self.done) / (10 + self.done))
        present = {*losses, *({CASE} if any(not task.is_voxel and task.name in losses for task in self.tasks) else ())}
        for name, value in self.net.state_dict().items():
            owner = owner_of(name)
            if owner is None or owner in present:
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
        """Writes the checkpoint, by the first process."""
        if self.hardware.ranks.first:
            save_checkpoint(folder, *training_state(self))

    def restore(self, folder: Path) -> bool:
        """Puts the checkpoint of `folder` back; False where there is none.

        Raises:
            TrainingError: it is damaged or belongs to another network.
        """
        found = load_checkpoint(folder)
        if found is not None:
            put_back(self, *found)
        return found is not None
