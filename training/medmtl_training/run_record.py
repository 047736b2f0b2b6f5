"""`run.json`, what a run was started with, and `notes.json`, what each network's training showed."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medmtl.errors import Code, MedmtlError, TrainingError
from medmtl.preparation.plan import plan_from_mapping, plan_to_mapping
from medmtl_training.checkpoint import checkpoint_state
from medmtl_training.gradients.meter import in_words, read_looks
from medmtl_training.run_request import RunRequest
from medmtl_training.settings import settings_from_mapping, settings_to_mapping
from medmtl_training.validation import Validation

log = logging.getLogger(__name__)

_NAME = "run.json"
_NAMED = 3  # differences that a refusal names
_LONGEST = 40  # characters of a value in it


def open_run(request: RunRequest) -> dict[str, Any]:
    """The record of the run in the request's folder, written first where there is none.

    Raises:
        TrainingError: `run-exists` without resume, `checkpoint-mismatch` where it was started otherwise.
    """
    path = request.folder / _NAME
    wanted: dict[str, Any] = {
        "dataset": request.dataset.name,
        "cases": [case.name for case in request.dataset.cases],
        "folds": list(request.folds),
        "plan": plan_to_mapping(request.config.plan),
        "training": {**settings_to_mapping(request.config.settings), "steps": None},
    }
    if request.only:
        wanted["only"] = list(request.only)
    if request.origin:
        wanted |= {"origin": request.origin, "tasks": [task.name for task in request.dataset.tasks]}
    if request.fraction < 1.0:
        wanted["fraction"] = request.fraction
    if not path.exists():
        request.folder.mkdir(parents=True, exist_ok=True)
        wanted["steps"] = None if request.max_seconds is not None else request.config.settings.steps
        write_run(request.folder, wanted)
        return wanted
    if not request.resume:
        todo = "give --resume to go on, or another folder"
        raise TrainingError(Code.RUN_EXISTS, "the folder holds a training run", todo)
    found = _read(path)
    differences = list(_differences(found, json.loads(json.dumps(wanted))))
    if differences:
        more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
        what = f"the run was started otherwise: {', '.join(differences[:_NAMED])}{more}"
        raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "resume it as it was started, or name another folder")
    return _extended(request, found)


def steps_left(request: RunRequest, networks: Sequence[str]) -> list[int] | None:
    """Steps that each network of a run that goes on still has to take; None before their number is fixed.

    Args:
        request: of the run.
        networks: names of their folders.

    Raises:
        TrainingError: the record or a checkpoint is damaged.
    """
    if not (request.folder / _NAME).exists():
        return None
    steps = _read(request.folder / _NAME)["steps"]
    if steps is None:
        return None
    steps, patience = max(int(steps), request.extend_to or 0), request.config.settings.patience
    states = [checkpoint_state(request.folder / name) or {} for name in networks]
    over = [0 < patience <= int((state.get("validation") or {}).get("stale", 0)) for state in states]
    return [
        0 if ended else max(0, steps - int(state.get("done", 0))) for ended, state in zip(over, states, strict=True)
    ]


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What a run was started with and is now, key by key; folds may be more or fewer, each has a network of its own."""
    for key, now in wanted.items():
        then = found.get(key)
        if then == now or key == "folds":
            continue
        if isinstance(now, dict) and isinstance(then, dict):
            changed = [name for name in now if then.get(name) != now[name]]
            yield from (f"{key}.{name} was {_short(then.get(name))}, is {_short(now[name])}" for name in changed)
        elif isinstance(now, list) and isinstance(then, list):
            fewer, more = set(then) - set(now), set(now) - set(then)
            yield (
                f"{key}: {len(fewer)} are gone and {len(more)} are new" if fewer or more else f"{key} in another order"
            )
        else:
            yield f"{key} was {_short(then)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def write_run(folder: Path, body: dict[str, Any]) -> None:
    """Writes `run.json` in one step.

    Raises:
        TrainingError: `cannot-write`.
    """
    temporary = folder / "run.tmp"
    try:
        temporary.write_text(json.dumps(body, indent=1), encoding="utf-8")
        temporary.replace(folder / _NAME)
    except OSError as error:
        what = f"{_NAME} cannot be written ({type(error).__name__})"
        raise TrainingError(Code.CANNOT_WRITE, what, "make room, or name a folder on another disk") from None


def write_notes(folder: Path, done: int, collapsed: list[str], validation: Validation) -> None:
    """Writes and logs what the training showed: how tasks' gradients stood to each other, labels no longer answered."""
    conflicts = list(in_words(read_looks(folder / "gradients.csv")))
    for line in conflicts:
        log.info("%s", line)
    for line in collapsed:
        log.warning("%s: %s", Code.CLASS_COLLAPSE, line)
    body: dict[str, Any] = {"steps": done, "conflicts": conflicts, "collapsed": collapsed}
    if validation.best:
        body["best_step"] = validation.step
    (folder / "notes.json").write_text(json.dumps(body, indent=1), encoding="utf-8")


def _extended(request: RunRequest, found: dict[str, Any]) -> dict[str, Any]:
    """Further folds, and more steps for a run that knows its number; the rate then follows the longer schedule."""
    folds = sorted({*found["folds"], *request.folds})
    longer = request.extend_to is not None and found["steps"] is not None and request.extend_to > found["steps"]
    if folds == found["folds"] and not longer:
        return found
    found["folds"] = folds
    if longer:
        found["extended_from"] = [*found.get("extended_from", []), found["steps"]]
        found["steps"] = request.extend_to
    if request.hardware.ranks.first:
        write_run(request.folder, found)
    return found


def _read(path: Path) -> dict[str, Any]:
    """The record, its plan and settings with the defaults of keys that came later than the run."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["plan"] = plan_to_mapping(plan_from_mapping(found["plan"]))
        training = {**found["training"], "steps": 1}
        found["training"] = {**settings_to_mapping(settings_from_mapping(training)), "steps": None}
    except (OSError, ValueError, KeyError, TypeError, MedmtlError):
        what = f"{_NAME} of the run is damaged or of another version"
        raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "start a new run") from None
    return found
