"""A data set's files to prepared arrays, once per run."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, DatasetError, MedmtlError
from medmtl.geometry.grid import Grid
from medmtl.preparation.plan import Plan
from medmtl.preparation.prepare import Prepared, prepare
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl.shapes import LabelMap
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset
from medmtl_training.prepared import IGNORED


def prepare_case(case: Case, dataset: Dataset, plan: Plan, folder: Path) -> None:
    """Writes `folder/CASE`, unless it is there already.

    Raises:
        DatasetError: a file cannot be read or does not fit; the message names the case.
    """
    target = folder / case.name
    if (target / "case.json").exists():
        return
    try:
        channels = tuple(read_nifti(path) for path in case.images)
        prepared = prepare(channels, plan)
        labels = {
            task.name: _label_array(task, case, prepared)
            for task in dataset.tasks
            if task.is_voxel and task.name in case.voxel_labels
        }
    except MedmtlError as error:
        raise DatasetError(error.code, f"case {case.name}: {error.what}", error.todo) from None
    target.mkdir(parents=True, exist_ok=True)
    np.save(target / "image.npy", prepared.image.astype(np.float32))
    for name, array in labels.items():
        np.save(target / f"{name}.npy", array)
    meta = {
        "patient": case.patient,
        "fold": case.fold,
        "labelled": sorted(labels),
        "annotated": {name: sorted(names) for name, names in case.annotated.items() if names is not None},
        "case_labels": {task.name: _case_value(task, case) for task in dataset.tasks if not task.is_voxel},
        "spacing": list(prepared.grid.spacing),
        "voxel_ml": prepared.grid.voxel_ml,
        "hashes": [volume.content_hash for volume in channels],
    }
    temporary = target / "case.tmp"
    temporary.write_text(json.dumps(meta, indent=1), encoding="utf-8")
    temporary.replace(target / "case.json")  # last and in one step: a killed run prepares the case again


def _label_array(task: Task, case: Case, prepared: Prepared) -> LabelMap:
    files = case.voxel_labels[task.name]
    if isinstance(files, Path):
        found, grid = read_label_map(files)
        _check(task, found, grid, prepared, {label.value for label in task.labels})
        return prepared.labels(found)
    stacked = []
    for label in task.labels:
        if label.name not in files:
            stacked.append(np.full(prepared.grid.shape, IGNORED, dtype=np.uint8))
            continue
        found, grid = read_label_map(files[label.name])
        _check(task, found, grid, prepared, {1})
        stacked.append(prepared.labels(found))
    return np.stack(stacked)


def _check(task: Task, found: LabelMap, grid: Grid, prepared: Prepared, values: set[int]) -> None:
    if not grid.same_as(prepared.source):
        what = f"the {task.name} labels do not lie on the image's grid"
        raise DatasetError(Code.GRID_MISMATCH, what, "resample the labels onto the image")
    wrong = {int(value) for value in np.unique(found)} - values - {0, IGNORED}
    if wrong:
        what = f"the {task.name} labels hold the values {sorted(wrong)}, which dataset.yaml does not name"
        raise DatasetError(Code.BAD_LABEL_VALUE, what, "correct the label file or name the value")


def _case_value(task: Task, case: Case) -> Any:
    value = case.case_labels.get(task.name)
    if value is None or task.kind is Kind.REGRESSION:
        return value
    names = [label.name for label in task.labels]
    return [names.index(name) for name in value] if isinstance(value, tuple) else names.index(str(value))
