"""Prepared cases on disk: plain arrays that a machine with a bare PyTorch reads.

FOLDER/CASE/image.npy    (channel, i, j, k) float32, normalised
       CASE/TASK.npy     (i, j, k) uint8 label values, 255 ignored; for regions (label, i, j, k) 0 / 1 / 255
       CASE/case.json    spacing, mL per voxel, labels of the case, hashes of the sources
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, TrainingError
from medmtl.shapes import ImageArray, LabelMap, Shape, Spacing
from medmtl.task import Kind, Task

IGNORED = 255
_FOREGROUND_SAMPLE = 4000


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedCase:
    """One case in memory.

    Attributes:
        name, patient, fold: as in the data set.
        image: `(channel, i, j, k)` float32.
        labels: voxel task to label map; a task that is absent is not annotated.
        annotated: voxel task to the names of the labels that were looked for, absent where all were.
        case_labels: case-level task to class index, number, or indices; absent where not known.
        spacing: mm along the working axes.
        voxel_ml: mL of a working voxel.
        hashes: SHA-256 of the image files.
        foreground: label key to voxel indices `(n, 3)`, a sample, of each annotated structure.
        box: lowest and highest index of all annotated structures `(2, 3)`, None where there is none.
        deciding: voxel task to the places of its labels that stand for the case: lesions and their hosts, or all
            structures where no task lies inside another.
        filled: number of voxels of the deciding structures.
    """

    name: str
    patient: str
    fold: int | None
    image: ImageArray
    labels: Mapping[str, LabelMap]
    annotated: Mapping[str, tuple[str, ...]]
    case_labels: Mapping[str, Any]
    spacing: Spacing
    voxel_ml: float
    hashes: tuple[str, ...]
    foreground: Mapping[str, np.ndarray[Any, Any]]
    box: np.ndarray[Any, Any] | None
    deciding: Mapping[str, tuple[int, ...]]
    filled: int


def read_prepared(folder: Path, name: str, tasks: tuple[Task, ...]) -> PreparedCase:
    """The prepared case `name`.

    Raises:
        TrainingError: a file is missing or does not fit the others.
    """
    try:
        meta = json.loads((folder / name / "case.json").read_text(encoding="utf-8"))
        image = np.load(folder / name / "image.npy", allow_pickle=False)
        labels = {
            task.name: np.load(folder / name / f"{task.name}.npy", allow_pickle=False)
            for task in tasks
            if task.is_voxel and task.name in meta["labelled"]
        }
    except (OSError, ValueError, KeyError) as error:
        what = f"prepared case {name} cannot be read ({type(error).__name__})"
        raise TrainingError(Code.UNREADABLE, what, "prepare the data again") from None
    foreground, box = _foreground(labels, tasks)
    deciding = _deciding(tasks)
    return PreparedCase(
        name=name,
        patient=meta["patient"],
        fold=meta["fold"],
        image=image,
        labels=labels,
        annotated={task: tuple(names) for task, names in meta["annotated"].items()},
        case_labels=meta["case_labels"],
        spacing=tuple(meta["spacing"]),
        voxel_ml=meta["voxel_ml"],
        hashes=tuple(meta["hashes"]),
        foreground=foreground,
        box=box,
        deciding=deciding,
        filled=count_deciding(labels, deciding),
    )


def read_shape(folder: Path, name: str) -> Shape:
    """Voxels of the prepared case `name`, without reading them."""
    i, j, k = np.load(folder / name / "image.npy", mmap_mode="r", allow_pickle=False).shape[1:]
    return (int(i), int(j), int(k))


def _foreground(labels: Mapping[str, LabelMap], tasks: tuple[Task, ...]) -> tuple[dict[str, Any], Any]:
    foreground: dict[str, Any] = {}
    lows, highs = [], []
    for task in tasks:
        if task.name not in labels:
            continue
        for index, label in enumerate(task.labels):
            found = labels[task.name]
            mask = found[index] == 1 if task.kind is Kind.REGIONS else found == label.value
            where = np.argwhere(mask)
            if len(where) == 0:
                continue
            lows.append(where.min(axis=0))
            highs.append(where.max(axis=0))
            step = max(1, len(where) // _FOREGROUND_SAMPLE)
            foreground[f"{task.name}.{label.name}"] = where[::step]
    box = np.stack([np.min(lows, axis=0), np.max(highs, axis=0)]) if lows else None
    return foreground, box


def count_deciding(labels: Mapping[str, Any], deciding: Mapping[str, tuple[int, ...]]) -> int:
    """Voxels of the deciding structures in label maps, of a case or of a crop of it."""
    total = 0
    for name, places in deciding.items():
        if name in labels:
            found = labels[name]
            total += sum(int(((found[p] == 1) if found.ndim == 4 else (found == p + 1)).sum()) for p in places)
    return total


def _deciding(tasks: tuple[Task, ...]) -> dict[str, tuple[int, ...]]:
    """A class about lesions is decided where they and their hosts lie, however far the other organs reach."""
    dense = {task.name: task for task in tasks if task.is_voxel}
    inside = [task for task in dense.values() if task.inside]
    if not inside:
        return {name: tuple(range(len(task.labels))) for name, task in dense.items()}
    places: dict[str, set[int]] = {}
    for task in inside:
        places.setdefault(task.name, set()).update(range(len(task.labels)))
        host, _, label = str(task.inside).partition(".")
        names = [known.name for known in dense[host].labels]
        places.setdefault(host, set()).add(names.index(label))
    return {name: tuple(sorted(found)) for name, found in places.items()}
