"""`Dataset` and `Case`: what a data set folder holds, from `dataset.yaml` and `cases.csv`.

Reads names and paths only, no voxels, and needs nothing beyond PyYAML: a machine with a bare PyTorch imports it.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medmtl.errors import Code, DatasetError, Notice
from medmtl.task import Kind, Task, tasks_from_mapping
from medmtl_training.cells import (
    ANNOTATED,
    CaseLabel,
    VoxelLabel,
    annotated_labels,
    bad_cases,
    case_label,
    fold_number,
)

PREPARED = "prepared"
"""Folder of a prepared data set: the arrays of `medmtl data prepare`, in place of images and labels."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One study of a data set.

    Attributes:
        name: unique in its data set; the stem of its files.
        patient: whose study it is; the case's own name where `cases.csv` does not say.
        fold: held-out fold, None where none is given (then it is in every training part).
        images: path of each channel, in the data set's order.
        voxel_labels: voxel task name to its file or files; a task that is absent here is not annotated.
        case_labels: case-level task name to its truth, None where not known; every case-level task has a key.
        annotated: voxel task name to the labels that were looked for, None where all were; only annotated tasks.
        columns: the further columns of `cases.csv` as text, for subgroups and baselines.
    """

    name: str
    patient: str
    fold: int | None
    images: tuple[Path, ...]
    voxel_labels: Mapping[str, VoxelLabel] = field(default_factory=dict)
    case_labels: Mapping[str, CaseLabel] = field(default_factory=dict)
    annotated: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def has(self, task: Task) -> bool:
        """Whether the truth of `task` is known, in part at least."""
        return task.name in self.voxel_labels if task.is_voxel else self.case_labels.get(task.name) is not None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A folder of annotated cases.

    Attributes:
        root: the folder.
        name: of the data set, as in `dataset.yaml`.
        modality: "CT" or "MR".
        channels: name of each image of a case, in file order.
        tasks: what is annotated, in the order of `dataset.yaml`.
        licence: of the images and labels; empty where none is stated.
        citation: what to cite; empty where none is stated.
        description: one line.
        cases: in the order of `cases.csv`.
        prepared: folder of prepared arrays, None where the cases have their images.
    """

    root: Path
    name: str
    modality: str
    channels: tuple[str, ...]
    tasks: tuple[Task, ...]
    licence: str
    citation: str
    description: str
    cases: tuple[Case, ...]
    prepared: Path | None = None

    @property
    def folds(self) -> tuple[int, ...]:
        """The fold numbers in use, ascending."""
        return tuple(sorted({case.fold for case in self.cases if case.fold is not None}))

    def fold(self, number: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """Training cases and held-out cases of fold `number`; no patient is in both.

        Raises:
            DatasetError: `bad-cases` where no case is in that fold.
        """
        held_out = tuple(case for case in self.cases if case.fold == number)
        if not held_out:
            known = ", ".join(str(n) for n in self.folds) or "none"
            raise DatasetError(Code.BAD_CASES, f"no case is in fold {number}", f"folds in cases.csv: {known}")
        return tuple(case for case in self.cases if case.fold != number), held_out

    def task(self, name: str) -> Task:
        """The task called `name`.

        Raises:
            KeyError: there is none.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)

    def case(self, name: str) -> Case:
        """The case called `name`.

        Raises:
            KeyError: there is none.
        """
        for case in self.cases:
            if case.name == name:
                return case
        raise KeyError(name)


def read_dataset(root: Path | str) -> tuple[Dataset, tuple[Notice, ...]]:
    """The data set in the folder `root` and what is to be warned of (`no-patient-column`).

    Reads `dataset.yaml` and `cases.csv` and looks which files are there; opens no image.

    Raises:
        DatasetError: `bad-dataset` (no folder, a missing or malformed `dataset.yaml`), `bad-cases` (a missing image,
            a doubled case, an unknown class, a malformed `cases.csv`), `patient-in-two-folds`.
    """
    dataset, notices, faults = survey_dataset(root)
    if faults:
        raise faults[0][1]
    return dataset, notices


def with_images(dataset: Dataset) -> Dataset:
    """`dataset`, where its cases have their images.

    Raises:
        DatasetError: `bad-dataset`, it holds prepared arrays.
    """
    if dataset.prepared is not None:
        raise _bad_dataset("the set holds prepared arrays", "give the one with the images")
    return dataset


def survey_dataset(root: Path | str) -> tuple[Dataset, tuple[Notice, ...], tuple[tuple[str, DatasetError], ...]]:
    """As `read_dataset`, going on past faults of single cases: these come back with the case's name.

    A case whose row or files are wrong is not in the data set; one whose patient is in two folds is.

    Raises:
        DatasetError: `dataset.yaml` or the form of `cases.csv` is wrong.
    """
    folder = Path(root)
    head = _read_head(folder)
    tasks = tasks_from_mapping(head["tasks"])
    channels = tuple(str(name) for name in head["channels"])
    for task in tasks:
        if task.drawn_on is not None and task.drawn_on not in channels:
            raise _bad_dataset(f"task {task.name} is drawn on {task.drawn_on}, which is no channel")
    columns, rows = _read_rows(folder)
    _check_columns(columns, tasks)
    prepared = folder / PREPARED if (folder / PREPARED).is_dir() and not (folder / "images").is_dir() else None
    reader = _CaseReader(folder=folder, channels=channels, tasks=tasks, columns=columns, prepared=prepared is not None)
    cases: list[Case] = []
    faults: list[tuple[str, DatasetError]] = []
    for line, row in enumerate(rows, start=2):
        try:
            cases.append(reader.case(row, line))
        except DatasetError as error:
            faults.append((row["case"], error))
    cases, doubled = _once(cases)
    faults += [*doubled, *_split_patients(cases)]
    notices: tuple[Notice, ...] = ()
    if "patient" not in columns:
        text = "cases.csv has no column patient: every case is taken for a patient of its own"
        notices = (Notice(code=Code.NO_PATIENT_COLUMN, text=text),)
    dataset = Dataset(
        root=folder,
        name=str(head["name"]),
        modality=str(head["modality"]).upper(),
        channels=channels,
        tasks=tasks,
        licence=str(head.get("licence") or head.get("license") or ""),
        citation=str(head.get("citation") or ""),
        description=str(head.get("description") or ""),
        cases=tuple(cases),
        prepared=prepared,
    )
    return dataset, notices, tuple(faults)


def _bad_dataset(what: str, todo: str = "correct dataset.yaml") -> DatasetError:
    return DatasetError(Code.BAD_DATASET, what, todo)


def _read_head(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / "dataset.yaml").read_text(encoding="utf-8")
    except OSError:
        todo = "give a folder with dataset.yaml, cases.csv and images/"
        raise _bad_dataset("there is no readable dataset.yaml", todo) from None
    except UnicodeDecodeError:
        raise _bad_dataset("dataset.yaml is not UTF-8 text") from None
    try:
        head = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise _bad_dataset(f"dataset.yaml is not valid YAML{line}") from None
    if not isinstance(head, dict):
        raise _bad_dataset("dataset.yaml is not a mapping")
    missing = [key for key in ("name", "modality", "channels", "tasks") if not head.get(key)]
    if missing:
        raise _bad_dataset(f"dataset.yaml lacks {', '.join(missing)}")
    channels = head["channels"]
    if not isinstance(channels, list) or len({str(name) for name in channels}) < len(channels):
        raise _bad_dataset("channels is not a list of different names")
    if not isinstance(head["tasks"], dict):
        raise _bad_dataset("tasks is not a mapping")
    return head


def _read_rows(folder: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    try:
        with (folder / "cases.csv").open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream, strict=True) if line]
    except OSError:
        raise bad_cases("there is no readable cases.csv", "write one with a column case") from None
    except (UnicodeDecodeError, csv.Error):
        raise bad_cases("cases.csv is not UTF-8 text with commas") from None
    if len(lines) < 2:
        raise bad_cases("cases.csv lists no case")
    columns = tuple(name.strip() for name in lines[0])
    if "case" not in columns:
        raise bad_cases("cases.csv has no column case")
    if len(set(columns)) < len(columns):
        raise bad_cases("cases.csv has two columns of one name")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise bad_cases(f"row {number} of cases.csv has {len(line)} cells, not {len(columns)}")
    return columns, [dict(zip(columns, (cell.strip() for cell in line), strict=True)) for line in lines[1:]]


def _check_columns(columns: Iterable[str], tasks: tuple[Task, ...]) -> None:
    voxel_tasks = {task.name for task in tasks if task.is_voxel}
    for column in columns:
        if column.endswith(ANNOTATED) and column.removesuffix(ANNOTATED) not in voxel_tasks:
            raise bad_cases(f"column {column} belongs to no voxel task")
        if column in voxel_tasks:
            raise bad_cases(f"column {column} names a voxel task, whose labels stand in the folder {column}")


def _once(cases: list[Case]) -> tuple[list[Case], list[tuple[str, DatasetError]]]:
    """The first row of every name, and what is to be said of the others."""
    first: dict[str, Case] = {}
    doubled = []
    for case in cases:
        if case.name in first:
            doubled.append((case.name, bad_cases(f"case {case.name} is listed twice")))
        first.setdefault(case.name, case)
    return list(first.values()), doubled


def _split_patients(cases: list[Case]) -> list[tuple[str, DatasetError]]:
    fold_of: dict[str, int | None] = {}
    faults = []
    for case in cases:
        if fold_of.setdefault(case.patient, case.fold) != case.fold:
            what = f"the patient of case {case.name} is in two folds"
            todo = "give all cases of a patient one fold in cases.csv"
            faults.append((case.name, DatasetError(Code.PATIENT_IN_TWO_FOLDS, what, todo)))
    return faults


class _CaseReader:
    """Rows of `cases.csv` to cases; lists each folder once."""

    def __init__(
        self,
        *,
        folder: Path,
        channels: tuple[str, ...],
        tasks: tuple[Task, ...],
        columns: tuple[str, ...],
        prepared: bool = False,
    ) -> None:
        self._folder = folder
        self._prepared = prepared
        self._channels = channels
        self._tasks = tasks
        used = {"case", "patient", "fold"} | {task.name for task in tasks}
        self._further = [name for name in columns if name not in used and not name.endswith(ANNOTATED)]
        self._listings: dict[str, frozenset[str]] = {}

    def case(self, row: Mapping[str, str], number: int) -> Case:
        name = row["case"]
        if not name or name in (".", "..") or re.search(r"[/\\\x00]", name):
            raise bad_cases(f"row {number} of cases.csv has a case name that is no file name")
        voxel_labels: dict[str, VoxelLabel] = {}
        annotated: dict[str, frozenset[str] | None] = {}
        case_labels: dict[str, CaseLabel] = {}
        for task in self._tasks:
            if not task.is_voxel:
                case_labels[task.name] = case_label(task, name, row.get(task.name, ""))
                continue
            found = self._voxel_label(task, name)
            if found is not None:
                voxel_labels[task.name] = found
                annotated[task.name] = annotated_labels(task, name, row.get(task.name + ANNOTATED, ""), found)
        return Case(
            name=name,
            patient=row.get("patient") or name,
            fold=fold_number(name, row.get("fold", "")),
            images=self._images(name),
            voxel_labels=voxel_labels,
            case_labels=case_labels,
            annotated=annotated,
            columns={column: row[column] for column in self._further},
        )

    def _find(self, folder: str, file: str) -> Path | None:
        if folder not in self._listings:
            path = self._folder / folder
            self._listings[folder] = frozenset(os.listdir(path)) if path.is_dir() else frozenset()
        return self._folder / folder / file if file in self._listings[folder] else None

    def _images(self, case: str) -> tuple[Path, ...]:
        if self._prepared:
            if self._find(f"{PREPARED}/{case}", "case.json") is None:
                raise bad_cases(f"{PREPARED}/{case} is missing", "prepare the data set again")
            return ()
        single = self._find("images", f"{case}.nii.gz") if len(self._channels) == 1 else None
        if single is not None:
            return (single,)
        paths = []
        for index, channel in enumerate(self._channels):
            path = self._find("images", f"{case}_{index:04d}.nii.gz")
            if path is None:
                name = f"{case}.nii.gz" if len(self._channels) == 1 else f"{case}_{index:04d}.nii.gz ({channel})"
                raise bad_cases(f"images/{name} is missing", "add the file or remove the row from cases.csv")
            paths.append(path)
        return tuple(paths)

    def _voxel_label(self, task: Task, case: str) -> VoxelLabel | None:
        if self._prepared:
            return self._find(f"{PREPARED}/{case}", f"{task.name}.npy")
        file = f"{case}.nii.gz"
        if task.kind is Kind.SEGMENTATION:
            return self._find(task.name, file)
        found = {label.name: self._find(f"{task.name}/{label.name}", file) for label in task.labels}
        return {name: path for name, path in found.items() if path is not None} or None
