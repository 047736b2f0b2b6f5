"""`Predictions`: a folder of answers, `medmtl predict`'s OUT or a flat folder of label maps as nnU-Net writes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, DatasetError, UsageError
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset
from medmtl_training.evaluation.voxels import CaseMasks, read_map, read_masks

_SUFFIX = ".nii.gz"
_HEAD = "dataset.json"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Answers by case.

    Attributes:
        root: the folder.
        cases: names of the data set's cases that have an answer.
        flat_task: name of the one task of a flat folder; None for `medmtl predict`'s OUT.
        flat_labels: of a flat folder with nnU-Net's `dataset.json`: task and label to the integers of its maps.
    """

    root: Path
    cases: frozenset[str]
    flat_task: str | None
    flat_labels: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def is_flat(self) -> bool:
        """Whether a case is one label map."""
        return self.flat_task is not None or bool(self.flat_labels)

    def masks(self, case: Case, task: Task) -> CaseMasks | None:
        """The masks found for a voxel task, None where the task was not answered.

        Raises:
            DatasetError: `bad-label-value`, `grid-mismatch`.
            StudyError: a file cannot be read.
        """
        whose = f"prediction of {case.name}"
        if self.flat_labels:
            return self._flat_masks(case, task, whose) if task.name in self.flat_labels else None
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

    def lesions(self, case: Case, task: Task) -> list[dict[str, Any]]:
        """The lesions reported for the task, the largest first; none where it is not the task called lesions."""
        if self.is_flat or task.name != "lesions":
            return []
        return list((self._findings(case).get("lesions") or {}).get("items", ()))

    def answer(self, case: Case, task: Task) -> dict[str, Any] | None:
        """Of a case-level task its `probabilities` {class: p} or its `value`; None where it was not answered.

        Raises:
            DatasetError: `bad-dataset` where `findings.json` cannot be read or names other classes.
        """
        if self.is_flat:
            return None
        findings = self._findings(case)
        tasks = findings.get("tasks")
        body = tasks.get(task.name) if isinstance(tasks, Mapping) else None
        views = [body, body.get("values") if isinstance(body, Mapping) else None, findings.get(task.name)]
        key = "value" if task.kind is Kind.REGRESSION else "probabilities"
        for view in views:
            found = view.get(key) if isinstance(view, Mapping) else None
            if isinstance(view, Mapping) and found is not None:
                if key == "value":
                    return {key: self._number(found, case)}
                return {key: self._classes(found, case, task), "prediction_set": view.get("prediction_set")}
        return None

    def refuse_seen(self, cases: Sequence[Case]) -> None:
        """Refuses answers of a model that was trained on the case, as `findings.json` says it.

        Raises:
            DatasetError: `seen-in-training`.
        """
        if self.is_flat:
            return
        seen = [case.name for case in cases if case.name in self.cases and self._was_seen(case)]
        if seen:
            what = f"{len(seen)} cases were answered by a model that was trained on them ({', '.join(seen[:5])} ...)"
            todo = "evaluate the model itself, or leave these cases out with --folds"
            raise DatasetError(Code.SEEN_IN_TRAINING, what, todo)

    def _flat_masks(self, case: Case, task: Task, whose: str) -> CaseMasks:
        """The masks of one task from a map that holds several tasks."""
        array, grid = read_map(self.root / f"{case.name}{_SUFFIX}", f"{task.name} of the {whose}")
        wanted = self.flat_labels[task.name]
        masks = {label.name: np.isin(array, wanted[label.name]) for label in task.labels}
        return CaseMasks(masks=masks, ignored=np.zeros(array.shape, dtype=np.bool_), grid=grid)

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
    if task is None and (root / _HEAD).is_file():
        return Predictions(root=root, cases=files, flat_task=None, flat_labels=_flat_labels(root / _HEAD, dataset))
    voxel_tasks = [known.name for known in dataset.tasks if known.kind is Kind.SEGMENTATION]
    if task is not None and task not in voxel_tasks:
        raise UsageError(Code.UNKNOWN_TASK, f"{task} is no segmentation of the data set", f"one of {voxel_tasks}")
    if task is None and len(voxel_tasks) != 1:
        raise UsageError(Code.BAD_OPTION, "label maps in a flat folder do not say their task", "give --task")
    return Predictions(root=root, cases=files, flat_task=task or voxel_tasks[0])


def _flat_labels(path: Path, dataset: Dataset) -> dict[str, dict[str, tuple[int, ...]]]:
    """Task and label to integers, by the names in nnU-Net's `dataset.json`; only tasks whose labels are all there.

    Raises:
        UsageError: `bad-option`, no task is.
    """
    from medmtl_training.importing.nnunet import label_rule, read_json

    body = read_json(path)
    declared = body.get("labels") if isinstance(body, dict) else None
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    if isinstance(declared, dict):
        split = {made.name: integers for made, integers in label_rule(declared, None).tasks}
        [(_, whole)] = label_rule(declared, "any").tasks
        for task in dataset.tasks:
            names = {label.name for label in task.labels}
            for integers in [split.get(task.name, {}), whole] if task.is_voxel else []:
                if names <= set(integers):
                    found.setdefault(task.name, dict(integers))
    labels = [label.name for name in found for label in dataset.task(name).labels]
    if not found or len(set(labels)) < len(labels):
        todo = "give --task, or predictions of a network trained on this data set"
        raise UsageError(Code.BAD_OPTION, "dataset.json does not say which task its label maps answer", todo)
    return found
