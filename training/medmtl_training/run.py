"""A training run: its folder, its folds one after the other, its bundle at the end.

RUN/plan.yaml              plan and settings as trained
    run.json               data set, folds, number of steps: fixed before the first step
    prepared/              arrays
    fold_0/ ... fold_all/  checkpoint, curves.csv, tensorboard/
    predictions/           out-of-fold answers of `medmtl predict`
    bundle/                the trained model
"""

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medmtl.errors import Code, TrainingError
from medmtl.inference.windows import window_starts
from medmtl.preparation.plan import plan_to_mapping
from medmtl.shapes import Shape
from medmtl_training.batches import BatchMaker
from medmtl_training.build import build_network, start_at_means
from medmtl_training.cases import Case, Dataset
from medmtl_training.journal import Journal
from medmtl_training.loop import Hardware, Trainer
from medmtl_training.planning import Config, write_config
from medmtl_training.prepared import PreparedCase, read_prepared, read_shape
from medmtl_training.preparing import prepare_case
from medmtl_training.settings import settings_to_mapping

log = logging.getLogger(__name__)

_WARM_STEPS, _TIMED_STEPS = 2, 5
_SHARE_FOR_TRAINING = 0.85  # of --max-time; the rest is for preparing and for out-of-fold answers


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is to be trained.

    Attributes:
        folder: of the run.
        dataset: the cases.
        config: plan and settings.
        folds: held-out folds, one network each; empty trains one network on all cases.
        hardware: where.
        max_seconds: wall time to fill; fixes the number of steps once, None keeps the settings'.
        resume: whether a run that is there goes on.
        init: network weights to start from, None for a fresh network.
    """

    folder: Path
    dataset: Dataset
    config: Config
    folds: tuple[int, ...]
    hardware: Hardware
    max_seconds: float | None = None
    resume: bool = False
    init: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """One network of a run: its name, the names of the cases it saw, its averaged weights."""

    name: str
    seen: tuple[str, ...]
    weights: dict[str, torch.Tensor]


def train_run(request: RunRequest) -> list[TrainedNetwork]:
    """Trains every fold that is not done yet.

    Raises:
        TrainingError: the folder holds another run, or the training cannot go on.
        DatasetError: a case cannot be prepared.
    """
    start = time.monotonic()
    kept = _without(request.dataset, request.config.model.get("keep_out") or ())
    settings = _open(request)
    parts = _parts(kept, request.folds)
    for case in request.dataset.cases:
        prepare_case(case, request.dataset, request.config.plan, request.folder / "prepared")
    prepared = {
        case.name: read_prepared(request.folder / "prepared", case.name, request.dataset.tasks) for case in kept.cases
    }
    if settings["steps"] is None:
        if request.max_seconds is None:
            todo = "give --max-time again"
            raise TrainingError(Code.CHECKPOINT_MISMATCH, "the run stopped before its number of steps was fixed", todo)
        left = request.max_seconds * _SHARE_FOR_TRAINING - (time.monotonic() - start)
        held_out = [case for case in request.dataset.cases if case.fold in request.folds]
        windows = sum(_windows(read_shape(request.folder / "prepared", case.name), request.config) for case in held_out)
        cases = [prepared[case.name] for case in parts[0][1]]
        settings["steps"] = _steps_in(left, request, cases, (len(parts), windows))
        _write_run(request.folder, settings)
    config = replace(request.config, settings=replace(request.config.settings, steps=int(settings["steps"])))
    write_config(request.folder / "plan.yaml", config)
    return [_train_part(name, [prepared[case.name] for case in cases], request, config) for name, cases in parts]


def _train_part(name: str, cases: list[PreparedCase], request: RunRequest, config: Config) -> TrainedNetwork:
    folder = request.folder / name
    trainer = _trainer(request, config, cases)
    trainer.restore(folder)
    steps, done = config.settings.steps, trainer.done
    if done < steps:
        log.info("%s: %d cases, from step %d to %d on %s", name, len(cases), done, steps, request.hardware.device)
        journal = Journal(folder, [task.name for task in request.dataset.tasks], steps, done)
        trainer.train(cases, folder, journal)
        journal.close()
    return TrainedNetwork(name=name, seen=tuple(case.name for case in cases), weights=trainer.average)


def _trainer(request: RunRequest, config: Config, cases: list[PreparedCase]) -> Trainer:
    dataset = request.dataset
    net = build_network(len(dataset.channels), config.plan, dataset.tasks, config.settings.seed)
    start_at_means(net, dataset.tasks, cases)
    if request.init is not None:
        fitting = {name: v for name, v in request.init.items() if net.state_dict().get(name, v[:0]).shape == v.shape}
        net.load_state_dict(fitting, strict=False)
    return Trainer(net, dataset.tasks, config.plan, config.settings, request.hardware)


def _steps_in(seconds: float, request: RunRequest, cases: list[PreparedCase], work: tuple[int, int]) -> int:
    """Steps of each network that fit into `seconds`, from a few timed ones of a network that is thrown away.

    Args:
        seconds: for all networks and their out-of-fold answers.
        request: what is trained.
        cases: of the first network.
        work: number of networks, and of windows that are answered at the end.
    """
    trainer = _trainer(request, request.config, cases)
    maker = BatchMaker(cases, request.dataset.tasks, request.config.plan, request.config.settings)
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


def _parts(dataset: Dataset, folds: tuple[int, ...]) -> list[tuple[str, tuple[Case, ...]]]:
    if not folds:
        return [("fold_all", dataset.cases)]
    parts = [(f"fold_{fold}", dataset.fold(fold)[0]) for fold in folds]
    for name, cases in parts:
        if not cases:
            raise TrainingError(Code.BAD_CASES, f"{name} leaves no case to train on", "use more folds, or --folds none")
    return parts


def _without(dataset: Dataset, names: Any) -> Dataset:
    return replace(dataset, cases=tuple(case for case in dataset.cases if case.name not in names))


def _open(request: RunRequest) -> dict[str, Any]:
    path = request.folder / "run.json"
    wanted: dict[str, Any] = {
        "dataset": request.dataset.name,
        "cases": [case.name for case in request.dataset.cases],
        "folds": list(request.folds),
        "plan": plan_to_mapping(request.config.plan),
        "training": {**settings_to_mapping(request.config.settings), "steps": None},
    }
    if path.exists():
        if not request.resume:
            todo = "give --resume to go on, or another folder"
            raise TrainingError(Code.RUN_EXISTS, "the folder holds a training run", todo)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in wanted} != json.loads(json.dumps(wanted)):
            what = "the run was started with another data set, folds, plan or settings"
            raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "resume it as it was started")
        return found
    request.folder.mkdir(parents=True, exist_ok=True)
    wanted["steps"] = None if request.max_seconds is not None else request.config.settings.steps
    _write_run(request.folder, wanted)
    return wanted


def _write_run(folder: Path, body: dict[str, Any]) -> None:
    temporary = folder / "run.tmp"
    temporary.write_text(json.dumps(body, indent=1), encoding="utf-8")
    temporary.replace(folder / "run.json")
