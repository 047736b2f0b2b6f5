"""`Predictions`: a folder of answers, `medmtl predict`'s OUT or a flat folder of label maps as nnU-Net writes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmtl.errors import Code, DatasetError, UsageError
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset
from medmtl_training.evaluation.voxels import CaseMasks, read_masks

_SUFFIX = ".nii.gz"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Answers by case.

    Attributes:
        root: the folder.
        cases: names of the data set's cases that have an answer.
        flat_task: name of the one task of a flat folder; None for `medmtl predict`'s OUT.
    """

    root: Path
    cases: frozenset[str]
    flat_task: str | None

    def masks(self, case: Case, task: Task) -> CaseMasks | None:
        """The masks found for a voxel task, None where the task was not answered.

        Raises:
            DatasetError: `bad-label-value`, `grid-mismatch`.
            StudyError: a file cannot be read.
        """
        whose = f"prediction of {case.name}"
        if self.flat_task is not None:
            if task.name != self.flat_task:
                return None
            return read_masks(task, self.root / f"{case.name}{_SUFFIX}", None, whose)
        folder = self.root / case.name
        if task.kind is Kind.SEGMENTATION:
            path = folder / f"{task.name}{_SUFFIX}"
            return read_masks(task, path, None, whose) if path.is_file() else None
        files = {label.name: folder / task.name / f"{label.name}{_SUFFIX}" for label in task.labels}
        return read_masks(task, files, None, whose) if all(path.is_file() for path in files.values()) else None

    def answer(self, case: Case, task: Task) -> dict[str, Any] | None:
        """Of a case-level task its `probabilities` {class: p} or its `value`; None where it was not answered.

        Raises:
            DatasetError: `bad-dataset` where `findings.json` cannot be read or names other classes.
        """
        if self.flat_task is not None:
            return None
        findings = self._findings(case)
        tasks = findings.get("tasks")
        body = tasks.get(task.name) if isinstance(tasks, Mapping) else None
        views = [body, body.get("values") if isinstance(body, Mapping) else None, findings.get(task.name)]
        key = "value" if task.kind is Kind.REGRESSION else "probabilities"
        for view in views:
            found = view.get(key) if isinstance(view, Mapping) else None
            if found is not None:
                return {key: self._number(found, case) if key == "value" else self._classes(found, case, task)}
        return None

    def refuse_seen(self, cases: Sequence[Case]) -> None:
        """Refuses answers of a model that was trained on the case, as `findings.json` says it.

        Raises:
            DatasetError: `seen-in-training`.
        """
        if self.flat_task is not None:
            return
        seen = [case.name for case in cases if case.name in self.cases and self._was_seen(case)]
        if seen:
            what = f"{len(seen)} cases were answered by a model that was trained on them ({', '.join(seen[:5])} ...)"
            todo = "evaluate the model itself, or leave these cases out with --folds"
            raise DatasetError(Code.SEEN_IN_TRAINING, what, todo)

    def _was_seen(self, case: Case) -> bool:
        return any(row.get("code") == Code.SEEN_IN_TRAINING for row in self._findings(case).get("warnings", ()))

    def _findings(self, case: Case) -> dict[str, Any]:
        path = self.root / case.name / "findings.json"
        try:
            findings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise self._bad(case, "is not readable JSON") from None
        if not isinstance(findings, dict):
            raise self._bad(case, "is not an object")
        return findings

    def _number(self, found: object, case: Case) -> float:
        if not isinstance(found, int | float):
            raise self._bad(case, "holds a value that is no number")
        return float(found)

    def _classes(self, found: object, case: Case, task: Task) -> dict[str, float]:
        names = [label.name for label in task.labels]
        if not isinstance(found, Mapping) or set(found) != set(names):
            raise self._bad(case, f"has other classes of {task.name} than the data set")
        return {name: self._number(found[name], case) for name in names}

    def _bad(self, case: Case, what: str) -> DatasetError:
        return DatasetError(Code.BAD_DATASET, f"findings.json of {case.name} {what}", "predict this case again")


def open_predictions(root: Path, dataset: Dataset, task: str | None = None) -> Predictions:
    """The answers in the folder `root` for the cases of `dataset`.

    Args:
        root: `medmtl predict`'s OUT (CASE/findings.json) or a flat folder (CASE.nii.gz).
        dataset: whose cases are looked for.
        task: the task a flat folder answers; None where the data set has one voxel task only.

    Raises:
        UsageError: `not-found` (no case has an answer there), `unknown-task`, `bad-option` (a flat folder and several
            voxel tasks).
    """
    names = [case.name for case in dataset.cases]
    folders = frozenset(name for name in names if (root / name / "findings.json").is_file())
    if folders:
        return Predictions(root=root, cases=folders, flat_task=None)
    files = frozenset(name for name in names if (root / f"{name}{_SUFFIX}").is_file())
    if not files:
        todo = "give a folder with CASE/findings.json or CASE.nii.gz"
        raise UsageError(Code.NOT_FOUND, "no case of the data set has a prediction there", todo)
    voxel_tasks = [known.name for known in dataset.tasks if known.kind is Kind.SEGMENTATION]
    if task is not None and task not in voxel_tasks:
        raise UsageError(Code.UNKNOWN_TASK, f"{task} is no segmentation of the data set", f"one of {voxel_tasks}")
    if task is None and len(voxel_tasks) != 1:
        raise UsageError(Code.BAD_OPTION, "label maps in a flat folder do not say their task", "give --task")
    return Predictions(root=root, cases=files, flat_task=task or voxel_tasks[0])
