"""The viewer's workspace: the newest review of every study, with what its reader accepted or corrected as truth.

The layout is that of docs/viewer.md, "Where a review lies". What a reader left open is not annotated.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, DatasetError, MedmtlError, UsageError
from medmtl.outputs.files import write_atomic
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl.reading.any_volume import discover, list_series, read_case
from medmtl.reading.case_input import CaseInput
from medmtl.reading.nifti import read_label_map
from medmtl.task import Kind, Task, tasks_from_mapping
from medmtl.volume import Volume
from medmtl_training.importing.draft import CaseDraft, ImportOptions, SetDraft, safe_name
from medmtl_training.importing.writing import write_labels

SCHEMA = "medmtl-review/1"


@dataclass(frozen=True, kw_only=True)
class _Review:
    """The newest review of one study: `review.json`, and the folder it lies in."""

    folder: Path
    body: Mapping[str, Any]
    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        return safe_name(str(self.body["case"]))


def draft_of_workspace(source: Path, options: ImportOptions) -> SetDraft:
    """The reviewed studies of a workspace.

    Reviews of models with other tasks than most are left out and counted.

    Raises:
        UsageError: no review is there, or names of channels are missing.
        DatasetError: a review cannot be read.
    """
    found = [review for folder in sorted((source / "studies").glob("*")) if (review := _newest(folder)) is not None]
    if not found:
        raise UsageError(Code.NOT_FOUND, "the workspace holds no review", "review studies in the viewer first")
    kinds = Counter(json.dumps(review.body["tasks"], sort_keys=True) for review in found)
    most = kinds.most_common(1)[0][0]
    kept = [review for review in found if json.dumps(review.body["tasks"], sort_keys=True) == most]
    tasks = kept[0].tasks
    channels = int(kept[0].body["image"]["channels"])
    cases = [_case(source, review, tasks, unique) for review, unique in zip(kept, _names(kept), strict=True)]
    others = len(found) - len(kept)
    return SetDraft(
        name=options.name or "corrections",
        modality=options.modality or _modality(source, kept[0]),
        channels=_channels(tasks, channels),
        tasks=tasks if channels > 1 else tuple(replace(task, drawn_on=None) for task in tasks),
        cases=tuple(cases),
        description="Studies reviewed in the viewer",
        notices=(f"{others} reviews are of models with other tasks: import them on their own",) if others else (),
    )


def is_workspace(source: Path) -> bool:
    """Whether a folder is a workspace of the viewer."""
    return (source / "studies").is_dir() and (source / "uploads").is_dir()


def _newest(study: Path) -> _Review | None:
    versions = [path for path in study.glob("reviews/*") if path.name.isdecimal()]
    if not versions:
        return None
    newest = max(versions, key=lambda path: int(path.name))
    for path in sorted(newest.glob("*/review.json")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            body = None
        if not isinstance(body, dict) or body.get("schema") != SCHEMA:
            what = "a review cannot be read, or is of another version of the viewer"
            raise DatasetError(Code.BAD_DATASET, what, "save it again in this version")
        return _Review(folder=path.parent, body=body, tasks=tasks_from_mapping(body["tasks"]))
    return None


def _names(reviews: list[_Review]) -> list[str]:
    counts = Counter(review.name for review in reviews)
    names, given = [], Counter[str]()
    for review in reviews:
        given[review.name] += 1
        names.append(review.name if counts[review.name] == 1 else f"{review.name}-{given[review.name]}")
    return names


def _channels(tasks: tuple[Task, ...], count: int) -> tuple[str, ...]:
    named = list(dict.fromkeys(task.drawn_on for task in tasks if task.drawn_on))
    if count == 1:
        return ("image",)
    return tuple(named[n] if n < len(named) else f"channel_{n}" for n in range(count))


def _modality(source: Path, review: _Review) -> str:
    volume = _volumes(source, review)[0]
    if volume.modality is None:
        raise UsageError(Code.BAD_OPTION, "the studies are NIfTI, which says no modality", "give --modality")
    return volume.modality


def _input(source: Path, review: _Review) -> CaseInput:
    image = review.body["image"]
    upload = (source / str(image["upload"])).resolve()
    if not upload.is_relative_to((source / "uploads").resolve()):
        raise DatasetError(Code.BAD_DATASET, "a review names files outside the workspace", "save it again")
    for case in discover(upload, names=_channels(review.tasks, int(image["channels"]))):
        if case.name == image["case"]:
            return case
    raise DatasetError(Code.NOT_FOUND, "the study's upload is gone", "a removed study cannot be imported")


def _volumes(source: Path, review: _Review) -> tuple[Volume, ...]:
    image = review.body["image"]
    names = _channels(review.tasks, int(image["channels"]))
    wanted = names if len(names) > 1 else ()
    volumes = read_case(_input(source, review), series_uid=image.get("series_uid"), channels=wanted)
    found = "-".join(volume.content_hash for volume in volumes)
    if found != review.body["image"]["sha256"]:
        raise DatasetError(Code.BAD_DATASET, "the image is not the one that was reviewed", "review the study again")
    return volumes


def _case(source: Path, review: _Review, tasks: tuple[Task, ...], name: str) -> CaseDraft:
    annotated = review.body["annotated"]
    cells = {}
    for task in tasks:
        said = annotated.get(task.name)
        if not task.is_voxel:
            cells[task.name] = _cell(task, said)
        elif isinstance(said, list) and 0 < len(said) < len(task.labels):
            cells[f"{task.name}:annotated"] = ";".join(str(label) for label in said)
    patient = None
    if review.body["image"].get("series_uid"):
        try:
            patient = f"patient-{list_series(_input(source, review))[0].first.patient[:8]}"
        except MedmtlError:
            patient = None  # writing the case says what is wrong
    return CaseDraft(name=name, write=_writer(source, review, name), patient=patient, cells=cells)


def _cell(task: Task, said: Any) -> str:
    if said is None:
        return ""
    if task.kind is Kind.MULTILABEL:
        return ";".join(str(one) for one in said) or "none" if isinstance(said, list) else str(said)
    return str(said)


def _writer(source: Path, review: _Review, name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        volumes = _volumes(source, review)
        for index, volume in enumerate(volumes):
            suffix = f"_{index:04d}" if len(volumes) > 1 else ""
            path = folder / "images" / f"{name}{suffix}.nii.gz"
            write_atomic(path, nifti_bytes(np.asarray(volume.array), volume.grid))
        for task in review.tasks:
            said = review.body["annotated"].get(task.name)
            if task.is_voxel and said:
                names = [label.name for label in task.labels] if said is True else said
                _write_task(folder, name, review, (task, names))

    return write


def _write_task(folder: Path, name: str, review: _Review, drawn: tuple[Task, list[str]]) -> None:
    task, names = drawn
    if task.kind is Kind.REGIONS:
        read = {label: read_label_map(review.folder / task.name / f"{label}.nii.gz") for label in names}
        found = {label: array == 1 for label, (array, _) in read.items()}
        grid = next(iter(read.values()))[1]
    else:
        array, grid = read_label_map(review.folder / f"{task.name}.nii.gz")
        found = {label.name: array == label.value for label in task.labels if label.name in names}
    write_labels(folder, name, task, found, None, grid)
