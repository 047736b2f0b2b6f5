"""Cases side by side, each in a process of its own: a hang, a crash or its memory costs one case and no other."""

import contextlib
import logging
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, MedmtlError
from medmtl.inference.engine import usable_cores
from medmtl.inference.predictor import Progress
from medmtl.outputs.manifest import State, append_line, read_lines
from medmtl.pipeline.batch import BatchOptions, Models, Outcome, ended, run_case
from medmtl.reading.any_volume import CaseInput

log = logging.getLogger(__name__)

_LOOK_S = 0.5  # how often a process that says nothing is looked at


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What a worker needs to know before its first case."""

    bundle: Bundle | None
    options: BatchOptions
    out_dir: Path
    workers: int


@dataclass(kw_only=True)
class _Worker:
    """A process, and the case it runs."""

    process: Any
    pipe: Connection
    case: CaseInput | None = None
    progress: Progress | None = None
    started: float = 0.0
    heard: float = 0.0
    stage: str = "starting"


def run_jobs(
    cases: tuple[CaseInput, ...],
    models: Models,
    options: BatchOptions,
    out_dir: Path,
    begin: Callable[[CaseInput], Progress | None],
) -> Iterator[Outcome]:
    """As `run_batch`, outcomes as cases end, whatever their order.

    Args:
        cases: from `discover`.
        models: what answers; every process loads its own.
        options: how; `jobs` says how many processes, `patience_s` how long one may say nothing.
        out_dir: folder of the results.
        begin: called before each case; returns who is told of its windows.
    """
    before = read_lines(out_dir) if out_dir.is_dir() else {}
    count = min(options.jobs, len(cases))
    order = _Order(bundle=models.given, options=options, out_dir=out_dir, workers=max(1, usable_cores() // count))
    left = deque(cases)
    crew: list[_Worker] = []
    try:
        while left or crew:
            while left and len(crew) < count:
                crew.append(_start(order))
            for worker in crew:
                if worker.case is None and left:
                    _give(worker, left.popleft(), before, begin)
            for worker in [worker for worker in crew if worker.case is None]:
                _dismiss(worker)
                crew.remove(worker)
            wait([worker.pipe for worker in crew], timeout=_LOOK_S)
            for worker in list(crew):
                outcome = _news(worker, options)
                if outcome is not None:
                    if not outcome.skipped:
                        append_line(out_dir, outcome.line)
                    yield outcome
                if not worker.process.is_alive() and worker.case is None:
                    crew.remove(worker)
    finally:
        for worker in crew:
            worker.process.kill()
            worker.process.join()


def _start(order: _Order) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, order), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, pipe=ours)


def _give(
    worker: _Worker,
    case: CaseInput,
    before: dict[str, dict[str, Any]],
    begin: Callable[[CaseInput], Progress | None],
) -> None:
    worker.case, worker.progress, worker.stage = case, begin(case), "reading"
    worker.started = worker.heard = time.monotonic()
    with contextlib.suppress(BrokenPipeError):  # it ended meanwhile, which is noticed when it is listened to
        worker.pipe.send((case, before.get(case.name)))


def _dismiss(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(timeout=10)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _news(worker: _Worker, options: BatchOptions) -> Outcome | None:
    """What a worker said; how its case ended, where it did, be it that the worker is gone or says nothing any more."""
    try:
        while worker.pipe.poll():
            message = worker.pipe.recv()
            worker.heard = time.monotonic()
            if isinstance(message, Outcome):
                worker.case = None
                return message
            worker.stage = "running its windows" if message[0] < message[1] else "writing its files"
            if worker.progress is not None:
                worker.progress(*message)
    except (EOFError, ConnectionResetError):
        worker.process.join()
    if worker.case is None:
        return None
    silent = time.monotonic() - worker.heard
    if worker.process.is_alive() and silent < options.patience_s:
        return None
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
        what = f"nothing happened for {silent:.0f} s while {worker.stage}"
        error = MedmtlError(Code.TIMED_OUT, what, "run this case alone with --debug")
    else:
        what = f"the process ended ({_reason(worker.process.exitcode)}) while {worker.stage}"
        error = MedmtlError(Code.WORKER_ENDED, what, "free memory, or use fewer --jobs, and run the same command again")
    case, worker.case = worker.case, None
    outcome = ended(case, State.FAILED, error)
    seconds = round(time.monotonic() - worker.started, 3)
    return replace(outcome, line=replace(outcome.line, seconds=seconds, shard=options.shard))


def _reason(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _serve(pipe: Connection, order: _Order) -> None:
    """What a worker does: a case at a time until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    logging.captureWarnings(True)
    models = Models(order.bundle, order.options.device, workers=order.workers, fast=order.options.fast)

    def tell(done: int, total: int) -> None:
        pipe.send((done, total))

    while True:
        try:
            case, row = pipe.recv()
        except EOFError:
            return
        outcome = run_case(case, models, order.options, order.out_dir, (row, tell))
        pipe.send(replace(outcome, result=None))
