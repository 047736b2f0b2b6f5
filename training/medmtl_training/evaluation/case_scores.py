"""One case's row of figures: the truth beside the answer, for every task that both have."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medmtl.findings.calibration import UNION
from medmtl.findings.components import components
from medmtl.task import Task
from medmtl_training.cases import Case
from medmtl_training.evaluation.derived import derived_rows
from medmtl_training.evaluation.overlap import lesion_counts, overlap
from medmtl_training.evaluation.predictions import Predictions
from medmtl_training.evaluation.surface import surface_scores
from medmtl_training.evaluation.voxels import CaseMasks, check_grids, read_masks


@dataclass(frozen=True, kw_only=True)
class CaseScorer:
    """Scores cases of one data set.

    Attributes:
        tasks: the data set's tasks.
        tolerance_mm: of the normalised surface Dice.
    """

    tasks: Sequence[Task]
    tolerance_mm: float

    def row(self, case: Case, predictions: Predictions) -> dict[str, Any]:
        """`tasks` {name: figures} of one case: of voxel tasks `labels`, `lesions` and `derived`, of others truth and
        answer.

        Raises:
            DatasetError: `grid-mismatch`, `bad-label-value`.
            StudyError: a file cannot be read.
        """
        tasks: dict[str, Any] = {}
        for task in self.tasks:
            if task.is_voxel:
                scored = self._voxel(case, task, predictions)
                if scored is not None:
                    tasks[task.name] = scored
            else:
                answer = predictions.answer(case, task)
                if answer is not None:
                    truth = case.case_labels.get(task.name)
                    tasks[task.name] = {"truth": list(truth) if isinstance(truth, tuple) else truth, **answer}
        for name, cells in derived_rows(self.tasks, tasks).items():
            tasks[name]["derived"] = cells
        return {"case": case.name, "patient": case.patient, "fold": case.fold, "tasks": tasks}

    def _voxel(self, case: Case, task: Task, predictions: Predictions) -> dict[str, Any] | None:
        found = predictions.masks(case, task)
        if found is None:
            return None
        lesion_names = [label.name for label in task.labels if label.category == "lesion"]
        scored: dict[str, Any] = {"found_ml": {name: _ml(mask, found) for name, mask in found.masks.items()}}
        if lesion_names:
            scored["lesion_ml"] = _ml(_union(found, lesion_names), found)
        if task.name not in case.voxel_labels:
            return scored  # not annotated: what was found still serves as a baseline
        annotated = case.annotated.get(task.name)
        truth = read_masks(task, case.voxel_labels[task.name], annotated, f"truth of {case.name}")
        check_grids(truth.grid, found.grid, f"{task.name} of the prediction of {case.name}")
        scored["labels"] = {name: self._label(found.masks[name], truth.masks[name], truth) for name in truth.masks}
        names = [label.name for label in task.labels]
        if annotated is None and len(task.labels) > 1:
            scored["labels"][UNION] = self._label(_union(found, names), _union(truth, names), truth)
        if lesion_names and annotated is None:
            seen = ~truth.ignored
            counts = lesion_counts(_union(found, lesion_names) & seen, _union(truth, lesion_names) & seen)
            scored["lesions"] = {**asdict(counts), "f1": counts.f1}
            if lesion_names == list(found.masks):
                scored["lesions"]["pieces"] = _pieces(predictions.lesions(case, task), _union(found, names), truth)
        return scored

    def _label(self, found: Any, true: Any, truth: CaseMasks) -> dict[str, Any]:
        seen = ~truth.ignored
        found, true = found & seen, true & seen
        surfaces = surface_scores(found, true, truth.grid.affine, self.tolerance_mm)
        return {**asdict(overlap(found, true, truth.grid.voxel_ml)), **asdict(surfaces)}


def _pieces(items: Sequence[Mapping[str, Any]], found: Any, truth: CaseMasks) -> list[dict[str, Any]]:
    """Of each reported lesion its volume, its mean probability, and whether it meets a true one."""
    numbers, _ = components(found)
    true = _union(truth, list(truth.masks))
    return [
        {
            "ml": item["ml"],
            "mean_probability": item["mean_probability"],
            "confidence": item["confidence"],
            "real": bool(true[numbers == item["id"]].any()),
        }
        for item in items
        if item.get("mean_probability") is not None
    ]


def _union(masks: CaseMasks, names: Sequence[str]) -> Any:
    return np.logical_or.reduce([masks.masks[name] for name in names])


def _ml(mask: Any, masks: CaseMasks) -> float:
    return float(np.count_nonzero(mask)) * masks.grid.voxel_ml


def lesion_volumes(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Voxel task to {case: found lesion mL}, for tasks with lesion labels."""
    volumes: dict[str, dict[str, float]] = {}
    for row in rows:
        for name, scored in row["tasks"].items():
            if "lesion_ml" in scored:
                volumes.setdefault(name, {})[row["case"]] = scored["lesion_ml"]
    return volumes
