"""A case's result read back from its folder, and what else its findings are made by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, StudyError
from medmtl.findings.calibration import Calibration
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import slices_last
from medmtl.geometry.resample import resample_labels_onto
from medmtl.preparation.plan import Orientation
from medmtl.reading.nifti import read_label_map
from medmtl.result import CaseResult
from medmtl.shapes import VoxelArray
from medmtl.task import Kind, Task, tasks_from_mapping, tasks_to_mapping
from medmtl.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What of a model decides how masks become findings.

    Attributes:
        tasks: all of its tasks, auxiliary ones too.
        slice_axis: index axis across the acquired slices.
        planned_stack: whether the slices were planned on the organ.
        minimum_lesion_ml: smaller lesions are not reported.
        calibration: what its held-out errors say of new answers.
    """

    tasks: tuple[Task, ...]
    slice_axis: int
    planned_stack: bool
    minimum_lesion_ml: float
    calibration: Calibration

    def to_mapping(self) -> dict[str, Any]:
        """JSON values that `from_mapping` reads back equal."""
        return {
            "tasks": tasks_to_mapping(self.tasks),
            "slice_axis": self.slice_axis,
            "planned_stack": self.planned_stack,
            "minimum_lesion_ml": self.minimum_lesion_ml,
            "calibration": self.calibration.to_mapping(),
        }

    @classmethod
    def from_mapping(cls, body: Mapping[str, Any]) -> "Rules":
        """Rules as `to_mapping` wrote them.

        Raises:
            KeyError: one is missing.
            DatasetError: the tasks are not sound.
        """
        return cls(
            tasks=tasks_from_mapping(body["tasks"]),
            slice_axis=int(body["slice_axis"]),
            planned_stack=bool(body["planned_stack"]),
            minimum_lesion_ml=float(body["minimum_lesion_ml"]),
            calibration=Calibration.from_mapping(body["calibration"]),
        )


def rules_of(bundle: Bundle, grid: Grid) -> Rules:
    """The rules by which `diagnose` measures the answers of `bundle` on `grid`."""
    acquired = bundle.plan.orientation is Orientation.ACQUIRED
    return Rules(
        tasks=bundle.tasks,
        slice_axis=slices_last(grid).order[2] if acquired else 2,
        planned_stack=acquired,
        minimum_lesion_ml=bundle.plan.minimum_lesion_ml,
        calibration=bundle.calibration,
    )


def read_result(folder: Path, channels: tuple[Volume, ...], tasks: tuple[Task, ...]) -> CaseResult:
    """The result in a case's folder, as `write_case` wrote it, without probabilities.

    Args:
        folder: holds `findings.json` and the map of every voxel task that it names.
        channels: the volumes it was made from.
        tasks: of its model; those that the findings do not name are left out.

    Raises:
        StudyError: `grid-mismatch`, a map lies on other voxels than the volume.
        OSError: a file is gone.
    """
    findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    answered = tuple(task for task in tasks if task.name in findings["tasks"])
    return CaseResult(
        case=findings["case"],
        channels=channels,
        tasks=answered,
        masks=read_masks(folder, answered, channels[0].grid),
        probabilities={},
        findings=findings,
        channel_names=tuple(findings["input"].get("channels", ())),
    )


def read_masks(folder: Path, tasks: tuple[Task, ...], grid: Grid) -> dict[str, VoxelArray]:
    """Maps of voxel tasks on `grid`: `TASK.nii.gz`, or `TASK/LABEL.nii.gz` of kinds that overlap.

    Raises:
        StudyError: `grid-mismatch`.
        OSError: a file is gone.
    """
    found: dict[str, VoxelArray] = {}
    for task in tasks:
        if task.kind is Kind.SEGMENTATION:
            found[task.name] = _map(folder / f"{task.name}.nii.gz", grid, task)
        elif task.kind is Kind.REGIONS:
            masks = [_map(folder / task.name / f"{label.name}.nii.gz", grid, task) > 0 for label in task.labels]
            found[task.name] = np.stack(masks)
    return found


def _map(path: Path, grid: Grid, task: Task) -> VoxelArray:
    array, written = read_label_map(path)
    if written.same_as(grid):
        return np.asarray(array, dtype=np.uint8)
    if task.drawn_on is None:
        raise StudyError(Code.GRID_MISMATCH, "a map lies on other voxels than its image", "run the study again")
    return resample_labels_onto(array, written, grid)  # it went out on the voxels of its own channel
