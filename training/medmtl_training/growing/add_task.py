"""A further task for a trained network: the run that trains it, and, where asked, a joint fine-tuning after it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmtl.bundle.bundle import Bundle
from medmtl.bundle.catalogue import find_bundle
from medmtl.bundle.weights import load_networks
from medmtl.errors import Code, DatasetError, UsageError
from medmtl.task import Task
from medmtl_training.cases import Dataset
from medmtl_training.evaluation.provenance import image_hashes
from medmtl_training.growth import Growth, Start
from medmtl_training.heldout import CROSS_VALIDATION
from medmtl_training.run import WHOLE, RunRequest, TrainedNetwork

if TYPE_CHECKING:
    from medmtl.preparation.plan import Plan

FINE_TUNED = "fine_tune"
"""Folder in a run."""

_NO_GUIDE = "*none"
_SLOWER = 0.1  # of the learning rate, in fine-tuning


@dataclass(frozen=True, kw_only=True, eq=False)
class Grown:
    """A run that adds a task: its request, and the data set with the tasks of the model and the new one."""

    request: RunRequest
    dataset: Dataset
    bundle: Bundle


def grown_run(request: RunRequest, model: str, name: str) -> Grown:
    """The run that trains task `name` of the request's data set on the frozen networks of `model`.

    Args:
        request: as for a training from nothing; its plan is replaced by the model's.
        model: name, bundle or run. With folds, the network of a fold grows from the model's network of that fold.
        name: of a task in `dataset.yaml` that the model does not have.

    Raises:
        UsageError: there is no such task, the model has it, or its networks have seen held-out cases.
        DatasetError: a task of the data set differs from the model's of the same name.
    """
    proving = Path(model) / CROSS_VALIDATION
    bundle = find_bundle(str(proving) if request.folds and proving.is_dir() else model)
    old, new = bundle.tasks, _new_task(request.dataset, bundle, name)
    dataset = replace(request.dataset, tasks=(*old, new))
    config = replace(request.config, plan=_kept_guides(bundle.plan, old))
    starts = _starts(bundle, request)
    added = frozenset({name})
    grown = replace(
        request, dataset=dataset, config=config, starts=starts, growth=lambda _: Growth(added), origin=bundle.sha256
    )
    return Grown(request=grown, dataset=dataset, bundle=bundle)


def fine_tuning(grown: Grown, networks: list[TrainedNetwork], name: str) -> RunRequest:
    """The joint training that may follow: all weights, slowly, each old task held to its old answers."""
    request = grown.request
    folder = request.folder / FINE_TUNED
    first = {
        network.name: Start(
            weights=network.weights, seen=network.inherited, net=request.starts[network.name].net
        )
        for network in networks
    }  # fmt: skip
    settings = request.config.settings
    slower = replace(settings, learning_rate=_SLOWER * settings.learning_rate)
    added = frozenset({name})
    return replace(
        request,
        folder=folder,
        dataset=replace(request.dataset, prepared=request.dataset.prepared or request.folder / "prepared"),
        config=replace(request.config, settings=slower),
        starts=first,
        growth=lambda start: Growth(added, start.net),
        max_seconds=None,
        resume=(folder / "run.json").exists(),
        extend_to=None,
    )


def _new_task(dataset: Dataset, bundle: Bundle, name: str) -> Task:
    own = {task.name: task for task in dataset.tasks}
    if name not in own:
        todo = f"dataset.yaml has {', '.join(own)}"
        raise UsageError(Code.UNKNOWN_TASK, f"the data set has no task {name}", todo)
    for task in bundle.tasks:
        if task.name == name:
            raise UsageError(Code.BAD_OPTION, f"the model has a task {name} already", "train it with --init-from")
        other = own.get(task.name)
        if other is not None and (other.kind, _names(other)) != (task.kind, _names(task)):
            what = f"task {task.name} of the data set has other labels than the model's"
            raise DatasetError(Code.BAD_DATASET, what, "give it another name, or the same labels")
    return own[name]


def _names(task: Task) -> list[str]:
    return [label.name for label in task.labels]


def _kept_guides(plan: "Plan", old: tuple[Task, ...]) -> "Plan":
    """The plan under which the old case-level heads read what they always read."""
    guides = plan.guides or tuple(task.name for task in old if task.is_voxel)
    return replace(plan, guides=guides or (_NO_GUIDE,))


def _starts(bundle: Bundle, request: RunRequest) -> dict[str, Start]:
    rows: dict[str, Any] = {Path(row["weights"]).stem: row for row in bundle.training["networks"]}
    known = {
        path.stem: Start(weights=dict(net.state_dict()), seen=tuple(rows[path.stem]["images_sha256"]), net=net)
        for path, net in zip(bundle.weights, load_networks(bundle), strict=True)
    }
    first = next(iter(known.values()))
    found = {}
    for fold in request.folds:
        start = known.get(f"fold_{fold}", first)
        held_out = [case for case in request.dataset.cases if case.fold == fold]
        if any(set(image_hashes(case)) & set(start.seen) for case in held_out):
            what = f"the model's network has seen held-out cases of fold {fold}"
            raise UsageError(Code.SEEN_IN_TRAINING, what, "grow from a run with the same folds, or give --folds none")
        found[f"fold_{fold}"] = start
    return {**found, WHOLE: known.get(WHOLE, first)}
