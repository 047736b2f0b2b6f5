"""A training run: its folder, its folds one after the other, its bundle at the end.

RUN/plan.yaml              plan and settings as trained
    run.json               data set, folds, number of steps: fixed before the first step
    prepared/              arrays
    fold_0/ ... fold_all/  checkpoint, curves.csv, gradients.csv, notes.json, tensorboard/
    predictions/           out-of-fold answers of `medmtl predict`
    bundle/                the trained model: the networks of the folds, or with `ships: all` one of all cases
    cross_validation/      with `ships: all`: the networks of the folds
"""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medmtl.errors import Code, TrainingError
from medmtl.inference.windows import window_starts
from medmtl.shapes import Shape
from medmtl_training.batches import BatchMaker
from medmtl_training.build import build_network, start_at_means
from medmtl_training.cases import PREPARED, Case, Dataset
from medmtl_training.config import Config, write_config
from medmtl_training.growth import Start
from medmtl_training.journal import SILENT, Journal
from medmtl_training.loop import Trainer
from medmtl_training.prepared import PreparedCase, read_prepared, read_shape
from medmtl_training.ranks import mean_over_ranks
from medmtl_training.run_record import open_run, steps_left, write_notes, write_run
from medmtl_training.run_request import RunRequest, TrainedNetwork
from medmtl_training.sides import refuse_mirrored_sides
from medmtl_training.validation import part_of, set_aside
from medmtl_training.watching import HeldoutWatch

__all__ = ["WHOLE", "RunRequest", "TrainedNetwork", "networks_left", "train_run"]

WHOLE = "fold_all"
"""Name of the network of all cases."""

log = logging.getLogger(__name__)

_WARM_STEPS, _TIMED_STEPS = 2, 5
_SHARE_FOR_TRAINING = 0.85  # of --max-time; the rest is for preparing and for out-of-fold answers


def train_run(request: RunRequest) -> list[TrainedNetwork]:
    """Trains every fold that is not done yet.

    Raises:
        TrainingError: the folder holds another run, or the training cannot go on.
        DatasetError: a case cannot be prepared.
    """
    refuse_mirrored_sides(request.config.plan, request.dataset.tasks)
    start, ranks = time.monotonic(), request.hardware.ranks
    kept = _without(request.dataset, request.config.model.get("keep_out") or ())
    settings: dict[str, Any] = {}
    if ranks.first:  # the others read what it leaves
        settings = open_run(request)
        _prepared(request)
    ranks.wait()
    if not ranks.first:
        settings = open_run(replace(request, resume=True))
    parts = _parts(kept, request.folds, whole=request.config.model.get("ships") == "all")
    parts = [(name, part_of(cases, request.fraction, request.config.settings.seed)) for name, cases in parts]
    store = _store(request)
    prepared = {case.name: read_prepared(store, case.name, request.dataset.tasks) for case in kept.cases}
    if settings["steps"] is None:
        if request.max_seconds is None:
            todo = "give --max-time again"
            raise TrainingError(Code.CHECKPOINT_MISMATCH, "the run stopped before its number of steps was fixed", todo)
        left = request.max_seconds * _SHARE_FOR_TRAINING - (time.monotonic() - start)
        held_out = [case for case in request.dataset.cases if case.fold in request.folds]
        windows = sum(_windows(read_shape(store, case.name), request.config) for case in held_out)
        cases = [prepared[case.name] for case in parts[0][1]]
        mine = _steps_in(left, request, cases, (len(parts), windows))
        settings["steps"] = int(mean_over_ranks(torch.tensor(float(mine), dtype=torch.float64)))
        if ranks.first:
            write_run(request.folder, settings)
    config = replace(request.config, settings=replace(request.config.settings, steps=int(settings["steps"])))
    if ranks.first:
        write_config(request.folder / "plan.yaml", config)
    networks = []
    for name, learnt in parts:
        watched = [prepared[case.name] for case in kept.cases if request.watched and f"fold_{case.fold}" == name]
        networks.append(_train_part(name, [prepared[case.name] for case in learnt], request, config, watched))
    return networks


def networks_left(request: RunRequest) -> list[int] | int:
    """Steps that each network still has to take, or the number of networks where their steps are not known yet.

    Raises:
        TrainingError: the run's record or a checkpoint is damaged.
    """
    names = [f"fold_{fold}" for fold in request.folds]
    names += [WHOLE] if not names or request.config.model.get("ships") == "all" else []
    left = steps_left(request, names) if request.resume else None
    return len(names) if left is None else left


def _store(request: RunRequest) -> Path:
    return request.dataset.prepared or request.folder / PREPARED


def _prepared(request: RunRequest) -> None:
    """Fills the folder of prepared arrays, where the data set comes with images."""
    if request.dataset.prepared is not None:
        return
    from medmtl_training.preparing import prepare_case  # reads NIfTI, which a machine that only trains need not

    for case in request.dataset.cases:
        prepare_case(case, request.dataset, request.config.plan, request.folder / PREPARED)


def _train_part(
    name: str, cases: list[PreparedCase], request: RunRequest, config: Config, watched: list[PreparedCase]
) -> TrainedNetwork:
    folder, hardware = request.folder / name, request.hardware
    learn, aside = set_aside(cases, config.settings)
    start = request.starts.get(name)
    trainer = _trainer(request, config, learn, start)
    trainer.restore(folder)
    steps, done = config.settings.steps, trainer.done
    if done < steps and not trainer.validation.over:
        log.info("%s: %d cases, from step %d to %d on %s", name, len(learn), done, steps, hardware.device)
        tasks = [task.name for task in trainer.tasks]
        journal = Journal(folder, tasks, steps, done) if hardware.ranks.first else SILENT
        watcher = HeldoutWatch(journal, trainer, watched, folder) if watched else journal
        trainer.train(learn, folder, watcher, aside)
        journal.close()
        if hardware.ranks.first:
            write_notes(folder, trainer.done, trainer.collapse.findings(), trainer.validation)
    best = trainer.validation.best or trainer.average
    inherited = () if start is None else start.seen
    return TrainedNetwork(name=name, seen=tuple(case.name for case in cases), weights=best, inherited=inherited)


def _trainer(request: RunRequest, config: Config, cases: list[PreparedCase], start: Start | None = None) -> Trainer:
    dataset = request.dataset
    tasks = tuple(task for task in dataset.tasks if not request.only or task.name in request.only)
    net = build_network(len(dataset.channels), config.plan, tasks, config.settings.seed)
    start_at_means(net, tasks, cases)
    given = request.init if start is None else start.weights
    if given is not None:
        fitting = {name: v for name, v in given.items() if net.state_dict().get(name, v[:0]).shape == v.shape}
        net.load_state_dict(fitting, strict=False)
    growth = request.growth(start) if request.growth is not None and start is not None else None
    return Trainer(net, dataset.tasks, config.plan, config.settings, request.hardware, growth)


def _steps_in(seconds: float, request: RunRequest, cases: list[PreparedCase], work: tuple[int, int]) -> int:
    """Steps of each network that fit into `seconds`, from a few timed ones of a network that is thrown away.

    Args:
        seconds: for all networks and their out-of-fold answers.
        request: what is trained.
        cases: of the first network.
        work: number of networks, and of windows that are answered at the end.
    """
    trainer = _trainer(request, request.config, cases)
    maker = BatchMaker(
        cases, request.dataset.tasks, request.config.plan, request.config.settings, request.hardware.ranks
    )
    start = time.monotonic()
    for step in range(_WARM_STEPS + _TIMED_STEPS):
        if step == _WARM_STEPS:
            start = time.monotonic()
        trainer.step(maker.make(step))
    pace = (time.monotonic() - start) / _TIMED_STEPS
    networks, windows = work
    # a window costs a forward pass in float32, a step forward and backward of a batch at half that precision
    answering = windows * pace / request.config.settings.batch
    left = seconds - pace * (_WARM_STEPS + _TIMED_STEPS) - answering
    return max(1, int(left / networks / pace))


def _windows(shape: Shape, config: Config) -> int:
    """Windows that one case takes at inference, mirrored passes counted."""
    plan = config.plan
    padded = tuple(max(size, extent) for size, extent in zip(shape, plan.patch, strict=True))
    starts = window_starts((padded[0], padded[1], padded[2]), plan.patch, plan.overlap)
    return int(len(starts) * 2 ** len(plan.mirror))


def _parts(dataset: Dataset, folds: tuple[int, ...], *, whole: bool) -> list[tuple[str, tuple[Case, ...]]]:
    if not folds:
        return [(WHOLE, dataset.cases)]
    parts = [(f"fold_{fold}", dataset.fold(fold)[0]) for fold in folds]
    for name, cases in parts:
        if not cases:
            raise TrainingError(Code.BAD_CASES, f"{name} leaves no case to train on", "use more folds, or --folds none")
    return [*parts, (WHOLE, dataset.cases)] if whole else parts


def _without(dataset: Dataset, names: Any) -> Dataset:
    return replace(dataset, cases=tuple(case for case in dataset.cases if case.name not in names))
