"""`run.json`, what a run was started with, and `notes.json`, what each network's training showed."""

import json
import logging
from pathlib import Path
from typing import Any

from medmtl.errors import Code, MedmtlError, TrainingError
from medmtl.preparation.plan import plan_from_mapping, plan_to_mapping
from medmtl_training.gradients.meter import in_words, read_looks
from medmtl_training.run_request import RunRequest
from medmtl_training.settings import settings_from_mapping, settings_to_mapping
from medmtl_training.validation import Validation

log = logging.getLogger(__name__)

_NAME = "run.json"


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
    if {key: found.get(key) for key in wanted} != json.loads(json.dumps(wanted)):
        what = "the run was started with another data set, folds, plan or settings"
        raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "resume it as it was started")
    return _extended(request, found)


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
    """More steps for a run that knows its number; the rate then follows the longer schedule from where it stands."""
    if request.extend_to is None or found["steps"] is None or request.extend_to <= found["steps"]:
        return found
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
