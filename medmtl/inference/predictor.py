"""A prepared case to probabilities on the working grid: windows blended, every answer from one encoder pass."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

from medmtl.inference.engine import Engine
from medmtl.inference.windows import gaussian_weight, padding, window_starts
from medmtl.preparation.plan import Plan
from medmtl.preparation.prepare import Prepared
from medmtl.shapes import FloatArray, ImageArray, ProbabilityArray
from medmtl.task import Kind, Task

_SEEN = 0.05  # a window where nothing reaches this probability is not run again, mirrored or by further networks
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Answers for one case.

    Attributes:
        dense: voxel task to `(output, i, j, k)` float32 on the prepared grid.
        case: case-level task to its logits `(output,)`.
    """

    dense: Mapping[str, ProbabilityArray]
    case: Mapping[str, FloatArray]


def needed_tasks(asked: Collection[str], tasks: tuple[Task, ...]) -> tuple[str, ...]:
    """The asked tasks and the hosts that lesions among them are measured against, in the tasks' order.

    Raises:
        KeyError: an asked name is no task.
    """
    by_name = {task.name: task for task in tasks}
    wanted = set(asked) | {host for name in asked if (host := by_name[name].host_task)}
    return tuple(task.name for task in tasks if task.name in wanted)


def predict(
    prepared: Prepared,
    plan: Plan,
    engine: Engine,
    tasks: tuple[Task, ...],
    progress: Progress | None = None,
) -> Prediction:
    """Answers of `engine` to `tasks` for one case.

    Windows overlap and are blended with Gaussian weights. The first network looks at every window; the ensemble's
    further networks, and mirrored passes where the plan declares them, are averaged in where it has seen anything.
    """
    run = _Run(prepared, plan, engine, tasks)
    pool = ThreadPoolExecutor(engine.workers)
    try:
        # windows run side by side and are added up in order, so that the sums have the same bits every time
        found = zip(run.starts, pool.map(run.window, run.starts), strict=True)
        for done, (start, answers) in enumerate(found, start=1):
            run.add(start, answers)
            if progress is not None:
                progress(done, len(run.starts))
    finally:
        pool.shutdown(cancel_futures=True)
    return run.finish()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """Of one window: every pass of each voxel task, every pass of each network's sums, whether the case is there."""

    dense: Mapping[str, Sequence[ProbabilityArray]]
    sums: Mapping[int, Sequence[FloatArray]]
    seen: bool


class _Run:
    def __init__(self, prepared: Prepared, plan: Plan, engine: Engine, tasks: tuple[Task, ...]) -> None:
        self.plan, self.engine, self.tasks = plan, engine, tasks
        self.asked = [task.name for task in tasks]
        self.voxel_ml = prepared.grid.voxel_ml
        self.margins = padding(prepared.grid.shape, plan.patch)
        self.image: ImageArray = np.pad(prepared.image, ((0, 0), *self.margins))
        shape = (self.image.shape[1], self.image.shape[2], self.image.shape[3])
        self.starts = window_starts(shape, plan.patch, plan.overlap)
        self.weight = gaussian_weight(plan.patch)
        self.total = np.zeros(shape, dtype=np.float32)
        for start in self.starts:
            self.total[self._box(start)] += self.weight
        self.inside = np.pad(np.ones(prepared.grid.shape, dtype=np.float32), self.margins)
        self.dense = {t.name: np.zeros((t.outputs, *shape), dtype=np.float32) for t in tasks if t.is_voxel}
        self.seen: dict[int, FloatArray] = {}
        self.rest: dict[int, FloatArray] = {}
        passes = [(network, axes) for network in range(engine.networks) for axes in [(), *_mirrors(plan.mirror)]]
        self.further = passes[1:]
        self.exclusive = {task.name: task.kind is Kind.SEGMENTATION for task in tasks}

    def window(self, start: tuple[int, int, int]) -> _Answers:
        """Runs one window, and further passes of it where they are worth it."""
        box = self._box(start)
        share = self.weight / self.total[box]
        image: ImageArray = self.image[(slice(None), *box)]
        weight: ImageArray = np.asarray(share * self.inside[box], dtype=np.float32)
        plain = self.engine.run(image, weight, self.asked, 0)
        # Each answer decides for itself whether further passes count, so that none depends on what else was asked.
        seen = {name: float(p[int(self.exclusive[name]) :].max(initial=0.0)) > _SEEN for name, p in plain.dense.items()}
        seen_case = plain.sums is not None and plain.peak > _SEEN
        dense = {name: [p] for name, p in plain.dense.items()}
        sums = {} if plain.sums is None else {0: [plain.sums]}
        for network, axes in self.further if seen_case or any(seen.values()) else ():
            flip = tuple(axis + 1 for axis in axes)
            answer = self.engine.run(np.flip(image, flip), np.flip(weight, axes), self.asked, network)
            if answer.sums is not None:
                sums.setdefault(network, []).append(answer.sums)
            for name, p in answer.dense.items():
                if seen[name]:
                    dense[name].append(np.flip(p, flip))
        return _Answers(dense=dense, sums=sums, seen=seen_case)

    def add(self, start: tuple[int, int, int], answers: _Answers) -> None:
        """Adds the answers of one window to those of the case."""
        box = self._box(start)
        share = self.weight / self.total[box]
        for name, found in self.dense.items():
            passes = answers.dense[name]
            found[(slice(None), *box)] += sum(passes) * (share / len(passes))
        # The case is read where something is; the rest of the field of view counts only if nothing is anywhere.
        total = self.seen if answers.seen else self.rest
        for network, rows in answers.sums.items():
            mean = np.mean(rows, axis=0)
            total[network] = total[network] + mean if network in total else mean

    def finish(self) -> Prediction:
        """Everything that was added up, without the padding."""
        crop = tuple(slice(before, size - after) for (before, after), size in zip(
            self.margins, self.image.shape[1:], strict=True))  # fmt: skip
        dense = {name: found[(slice(None), *crop)] for name, found in self.dense.items()}
        sums = self.seen or self.rest
        case = self.engine.case(sums, self.voxel_ml, self.asked) if sums else {}
        return Prediction(dense=dense, case=case)

    def _box(self, start: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        i, j, k = (slice(first, first + size) for first, size in zip(start, self.plan.patch, strict=True))
        return (i, j, k)


def _mirrors(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every combination of the axes but the empty one."""
    chosen = product((False, True), repeat=len(axes))
    return [tuple(a for a, on in zip(axes, row, strict=True) if on) for row in chosen if any(row)]
