"""A prepared case to probabilities on the working grid: windows blended, every answer from one encoder pass.

Windows are taken from one end of the case to the other. As soon as no further window reaches a plane its probabilities
are handed on, so that never more than the depth of a window is in memory, however long the case.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

from medmtl.inference.engine import Engine
from medmtl.inference.windows import Box, axis_shares, axis_starts, body_box, padding
from medmtl.preparation.plan import Plan
from medmtl.preparation.prepare import Prepared
from medmtl.shapes import FloatArray, ImageArray, ProbabilityArray, Shape, VoxelArray
from medmtl.task import Kind, Task

_SEEN = 0.05  # a window where nothing reaches this probability is not run again, mirrored or by further networks
Progress = Callable[[int, int], None]
Sink = Callable[[int, ProbabilityArray], None]
"""Takes finished planes: the index of the first, and `(output, ...)` of them, to be read before it returns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Answers for one case.

    Attributes:
        dense: voxel task to `(output, i, j, k)` float32 on the prepared grid.
        case: case-level task to its logits `(output,)`.
    """

    dense: Mapping[str, ProbabilityArray]
    case: Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Where the windows of a case lie.

    Attributes:
        box: the part of the working grid that is looked at; outside is background.
        axis: the one that planes are handed on along.
        margins: voxels added around the box where it is smaller than a window.
        starts: first voxel of the windows along each axis, in the padded box.
    """

    box: Box
    axis: int
    margins: Box
    starts: tuple[list[int], list[int], list[int]]

    def windows(self) -> list[Shape]:
        """First voxel of every window, in the order they are run."""
        rest = [n for n in range(3) if n != self.axis]
        rows = product(self.starts[self.axis], self.starts[rest[0]], self.starts[rest[1]])
        found = []
        for along, one, two in rows:
            start = [0, 0, 0]
            start[self.axis], start[rest[0]], start[rest[1]] = along, one, two
            found.append((start[0], start[1], start[2]))
        return found


def plan_sweep(image: ImageArray, plan: Plan, box: Box | None = None) -> Sweep:
    """The windows for `(channel, i, j, k)`, in `box` or where the body is; planes run along the axis with the most."""
    if box is None:
        box = body_box(image, plan)
    i, j, k = (end - first for first, end in box)
    margins = padding((i, j, k), plan.patch)
    starts = [
        axis_starts(size + before + after, extent, plan.overlap)
        for size, (before, after), extent in zip((i, j, k), margins, plan.patch, strict=True)
    ]
    axis = int(np.argmax([len(row) for row in starts]))
    return Sweep(box=box, axis=axis, margins=margins, starts=(starts[0], starts[1], starts[2]))


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
    """Answers of `engine` to `tasks` for one case, probabilities of the whole grid in memory."""
    sweep = plan_sweep(prepared.image, plan)
    dense: dict[str, ProbabilityArray] = {}
    sinks: dict[str, Sink] = {}
    for task in tasks:
        if task.is_voxel:
            dense[task.name] = np.zeros((task.outputs, *prepared.grid.shape), dtype=np.float32)
            if task.kind is Kind.SEGMENTATION:
                dense[task.name][0] = 1.0
            sinks[task.name] = _filling(dense[task.name], sweep)
    sums = run_windows(prepared, plan, engine, tasks, sweep, sinks, progress)
    names = [task.name for task in tasks]
    return Prediction(dense=dense, case=engine.case(sums, prepared.grid.voxel_ml, names) if sums else {})


def run_windows(
    prepared: Prepared,
    plan: Plan,
    engine: Engine,
    tasks: tuple[Task, ...],
    sweep: Sweep,
    sinks: Mapping[str, Sink],
    progress: Progress | None = None,
) -> dict[int, FloatArray]:
    """Hands the probabilities of every voxel task to its sink and gives each network's sums for case-level tasks.

    Windows overlap and are blended with Gaussian weights. The first network looks at every window; the ensemble's
    further networks, and mirrored passes where the plan declares them, are averaged in where it has seen anything.

    Args:
        prepared: the case.
        plan: of the model.
        engine: what runs the networks.
        tasks: what is asked.
        sweep: from `plan_sweep`.
        sinks: voxel task to what takes its planes, in order, of the sweep's box.
        progress: told of windows done and in all.
    """
    run = _Run(prepared, plan, engine, tasks, sweep)
    slabs = {task.name: _Slab(task.outputs, run.shape, plan.patch, sweep, sinks[task.name])
             for task in tasks if task.is_voxel}  # fmt: skip
    windows = sweep.windows()
    pool = ThreadPoolExecutor(engine.workers)
    try:
        # windows run side by side and are added up in order, so that the sums have the same bits every time
        found = zip(windows, _in_order(pool, run.window, windows, engine.workers + 2), strict=True)
        for done, (start, answers) in enumerate(found, start=1):
            for name, slab in slabs.items():
                slab.add(start, answers.dense[name])
            run.add_case(answers)
            if progress is not None:
                progress(done, len(windows))
    finally:
        pool.shutdown(cancel_futures=True)
    for slab in slabs.values():
        slab.hand_on(slab.base + slab.depth)
    return run.seen or run.rest


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """Of one window: what it adds to each voxel task and to each network's sums, whether the case is there."""

    dense: Mapping[str, ProbabilityArray]
    sums: Mapping[int, FloatArray]
    seen: bool


class _Run:
    """The windows of one case and the sums of its case-level tasks."""

    def __init__(self, prepared: Prepared, plan: Plan, engine: Engine, tasks: tuple[Task, ...], sweep: Sweep) -> None:
        self.plan, self.engine = plan, engine
        self.asked = [task.name for task in tasks]
        image = prepared.image[(slice(None), *(slice(*span) for span in sweep.box))]
        self.image: ImageArray = np.pad(image, ((0, 0), *sweep.margins)) if np.any(sweep.margins) else image
        self.shape: Shape = (self.image.shape[1], self.image.shape[2], self.image.shape[3])
        self.shares = [axis_shares(sweep.starts[n], plan.patch[n]) for n in range(3)]
        self.inside = [
            np.pad(np.ones(size - sum(margin), dtype=np.float32), margin)
            for size, margin in zip(self.shape, sweep.margins, strict=True)
        ]
        self.seen: dict[int, FloatArray] = {}
        self.rest: dict[int, FloatArray] = {}
        passes = [(network, axes) for network in range(engine.networks) for axes in [(), *_mirrors(plan.mirror)]]
        self.further = passes[1:]
        self.exclusive = {task.name: task.kind is Kind.SEGMENTATION for task in tasks}

    def window(self, start: Shape) -> _Answers:
        """Runs one window, and further passes of it where they are worth it."""
        rows = [self.shares[n][start[n]] for n in range(3)]
        share = _outer(rows)
        spans = [slice(first, first + size) for first, size in zip(start, self.plan.patch, strict=True)]
        image: ImageArray = self.image[(slice(None), *spans)]
        weight = _outer([row * self.inside[n][spans[n]] for n, row in enumerate(rows)])
        plain = self.engine.run(image, weight, self.asked, 0)
        # Each answer decides for itself whether further passes count, so that none depends on what else was asked.
        seen = {name: float(p[int(self.exclusive[name]) :].max(initial=0.0)) > _SEEN for name, p in plain.dense.items()}
        seen_case = plain.sums is not None and plain.peak > _SEEN
        dense, passes = dict(plain.dense), dict.fromkeys(plain.dense, 1)
        sums = {} if plain.sums is None else {0: [plain.sums]}
        for network, axes in self.further if seen_case or any(seen.values()) else ():
            flip = tuple(axis + 1 for axis in axes)
            answer = self.engine.run(np.flip(image, flip), np.flip(weight, axes), self.asked, network)
            if answer.sums is not None:
                sums.setdefault(network, []).append(answer.sums)
            for name, p in answer.dense.items():
                if seen[name]:
                    dense[name] = dense[name] + np.flip(p, flip)
                    passes[name] += 1
        for name, p in dense.items():
            dense[name] = p * (share / np.float32(passes[name]))
        return _Answers(dense=dense, sums={n: np.mean(found, axis=0) for n, found in sums.items()}, seen=seen_case)

    def add_case(self, answers: _Answers) -> None:
        """Adds the sums of one window to those of the case."""
        # The case is read where something is; the rest of the field of view counts only if nothing is anywhere.
        total = self.seen if answers.seen else self.rest
        for network, mean in answers.sums.items():
            total[network] = total[network] + mean if network in total else mean


class _Slab:
    """The planes of one task that windows still reach, as deep as a window."""

    def __init__(self, outputs: int, shape: Shape, patch: Shape, sweep: Sweep, sink: Sink) -> None:
        self.axis, self.depth, self.base, self.patch = sweep.axis, patch[sweep.axis], 0, patch
        held = [self.depth if n == self.axis else shape[n] for n in range(3)]
        self.sums: ProbabilityArray = np.zeros((outputs, *held), dtype=np.float32)
        self.real = [(margin[0], size - margin[1]) for size, margin in zip(shape, sweep.margins, strict=True)]
        self.offset = sweep.box[self.axis][0] - sweep.margins[self.axis][0]
        self.sink = sink

    def add(self, start: Shape, answer: ProbabilityArray) -> None:
        """Adds a window; those before it in the order reach no plane of it any more that was handed on."""
        if start[self.axis] > self.base:
            self.hand_on(start[self.axis])
        at = [0 if n == self.axis else first for n, first in enumerate(start)]
        self.sums[(slice(None), *(slice(a, a + n) for a, n in zip(at, self.patch, strict=True)))] += answer

    def hand_on(self, end: int) -> None:
        """Gives the planes before `end` to the sink, without padding, and makes room for as many."""
        ready = min(end - self.base, self.depth)
        low, high = self.real[self.axis]
        span = (max(self.base, low), min(self.base + ready, high))
        if span[0] < span[1]:
            where = [slice(*real) for real in self.real]
            where[self.axis] = slice(span[0] - self.base, span[1] - self.base)
            self.sink(span[0] + self.offset, self.sums[(slice(None), *where)])
        for channel in self.sums:  # one by one: the copy that moving within an array takes stays small
            planes = np.moveaxis(channel, self.axis, 0)
            if ready < self.depth:
                planes[: self.depth - ready] = planes[ready:].copy()
            planes[self.depth - ready :] = 0.0
        self.base = end


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Shape], _Answers], items: Iterable[Shape], ahead: int
) -> Iterator[_Answers]:
    """Results in the items' order, never more than `ahead` of them waiting."""
    waiting: deque[Future[_Answers]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _filling(whole: ProbabilityArray, sweep: Sweep) -> Sink:
    def take(first: int, planes: ProbabilityArray) -> None:
        where = [slice(*span) for span in sweep.box]
        where[sweep.axis] = slice(first, first + planes.shape[1 + sweep.axis])
        whole[(slice(None), *where)] = planes

    return take


def _outer(rows: list[VoxelArray]) -> ImageArray:
    i, j, k = rows
    return np.asarray(i[:, None, None] * j[None, :, None] * k[None, None, :], dtype=np.float32)


def _mirrors(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every combination of the axes but the empty one."""
    chosen = product((False, True), repeat=len(axes))
    return [tuple(a for a, on in zip(axes, row, strict=True) if on) for row in chosen if any(row)]
