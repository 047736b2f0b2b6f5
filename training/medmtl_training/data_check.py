"""`check_dataset`: is a data set sound, case by case, with a repair for every fault."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, DatasetError, MedmtlError
from medmtl.geometry.grid import Grid
from medmtl.reading.nifti import read_nifti
from medmtl.task import Kind, Task
from medmtl.volume import Volume
from medmtl_training.cases import Case, Dataset, survey_dataset, with_images
from medmtl_training.evaluation.voxels import check_grids, read_masks
from medmtl_training.near_duplicates import Sketch, shared_pairs, sketch_of
from medmtl_training.shortcuts import CaseLook, Shortcut, shortcut_table

FEW_CASES = 10
"""A class with fewer cases is reported as rare."""


class Severity(StrEnum):
    """Whether training must not start (error) or somebody should look (warning)."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong or odd.

    Attributes:
        code: what kind of fault.
        severity: error or warning.
        case: name of the case, None where it concerns the whole set.
        what: what is wrong.
        repair: what to do about it.
        task: the voxel task whose labels are meant, None for the image or the case as a whole.
    """

    code: Code
    severity: Severity
    case: str | None
    what: str
    repair: str
    task: str | None = None


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Two cases that hold the same exam.

    Attributes:
        first: name of the case listed first.
        second: name of the other.
        share: part of the sampled runs of voxels that both images hold, 0..1.
        exact: whether the voxels are the same.
    """

    first: str
    second: str
    share: float
    exact: bool


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What a data set holds and what is wrong with it.

    Attributes:
        name: of the data set; its folder's name where `dataset.yaml` cannot be read.
        cases: number of cases.
        patients: number of patients.
        faults: errors first.
        coverage: voxel task to {label: {"annotated": cases, "present": cases}}, case-level task to {class: cases}.
        matrix: case to {task: names that were annotated, or the class that is known}; a task that is absent is missing.
        twins: cases that hold the same exam, those of one patient among them.
        shortcuts: how well each class can be guessed without looking at the anatomy.
    """

    name: str
    cases: int = 0
    patients: int = 0
    faults: tuple[Fault, ...] = ()
    coverage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    matrix: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    twins: tuple[Twins, ...] = ()
    shortcuts: tuple[Shortcut, ...] = ()

    @property
    def errors(self) -> int:
        """Number of faults that stand in the way of training."""
        return sum(fault.severity is Severity.ERROR for fault in self.faults)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        faults = [
            {
                "code": str(f.code),
                "severity": str(f.severity),
                "case": f.case,
                "task": f.task,
                "what": f.what,
                "repair": f.repair,
            }
            for f in self.faults
        ]
        twins = [{"cases": [t.first, t.second], "share": t.share, "exact": t.exact} for t in self.twins]
        return {
            "dataset": self.name, "cases": self.cases, "patients": self.patients, "errors": self.errors,
            "warnings": len(self.faults) - self.errors, "coverage": self.coverage,
            "coverage_matrix": self.matrix, "findings": faults,
            "same_exam": twins, "shortcuts": [shortcut.as_json() for shortcut in self.shortcuts],
        }  # fmt: skip


def check_dataset(root: Path, progress: Callable[[str], None] = lambda case: None) -> DataReport:
    """Everything that is wrong with the data set in `root`; reads every image and label once."""
    try:
        dataset, notices, found = survey_dataset(root)
        with_images(dataset)
    except DatasetError as error:
        return DataReport(name=root.name, faults=(_fault(error, None),))
    checker = _Checker(dataset)
    checker.faults += [_fault(error, case) for case, error in found]
    for notice in notices:
        checker.warn(notice.code, None, notice.text, "add the column patient to cases.csv")
    for case in dataset.cases:
        checker.case(case)
        progress(case.name)
    checker.whole()
    twins = checker.twins()
    shortcuts = checker.shortcuts()
    return DataReport(
        name=dataset.name,
        cases=len(dataset.cases),
        patients=len({case.patient for case in dataset.cases}),
        faults=tuple(sorted(checker.faults, key=lambda fault: (fault.severity, fault.code, fault.case or ""))),
        coverage=checker.coverage,
        matrix={case.name: _row(case, dataset) for case in dataset.cases},
        twins=twins,
        shortcuts=shortcuts,
    )


def _fault(error: MedmtlError, case: str | None, task: str | None = None) -> Fault:
    return Fault(code=error.code, severity=Severity.ERROR, case=case, what=error.what, repair=error.todo, task=task)


def _row(case: Case, dataset: Dataset) -> dict[str, Any]:
    """One row of the coverage matrix."""
    cells: dict[str, Any] = {}
    for task in dataset.tasks:
        if task.is_voxel and task.name in case.voxel_labels:
            drawn = case.annotated.get(task.name)
            cells[task.name] = [label.name for label in task.labels if drawn is None or label.name in drawn]
        elif not task.is_voxel and case.case_labels.get(task.name) is not None:
            cells[task.name] = case.case_labels[task.name]
    return cells


class _Checker:
    """Collects the faults of one data set."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._images: dict[str, list[Case]] = {}
        self._sketches: list[tuple[Case, Sketch]] = []
        self._looks: dict[str, CaseLook] = {}
        self.faults: list[Fault] = []
        self.coverage: dict[str, dict[str, Any]] = {}
        for task in dataset.tasks:
            empty = {"annotated": 0, "present": 0} if task.is_voxel else 0
            names = [label.name for label in task.labels] or ["known"]
            self.coverage[task.name] = {name: dict(empty) if isinstance(empty, dict) else empty for name in names}

    def warn(self, code: Code, case: str | None, what: str, repair: str) -> None:
        self.faults.append(Fault(code=code, severity=Severity.WARNING, case=case, what=what, repair=repair))

    def case(self, case: Case) -> None:
        grids = self._read_images(case)
        for task in self._dataset.tasks:
            if task.is_voxel and task.name in case.voxel_labels:
                self._voxel_task(case, task, grids)
            elif not task.is_voxel:
                self._count_classes(case, task)
        if not any(case.has(task) for task in self._dataset.tasks):
            self.warn(Code.NOT_ANNOTATED, case.name, "the case has no label at all", "annotate it or remove its row")

    def whole(self) -> None:
        for task in self._dataset.tasks:
            if task.is_voxel:
                self._unlisted(task.name, [label.name for label in task.labels] if task.kind is Kind.REGIONS else None)
                continue
            for name, cases in self.coverage[task.name].items():
                if task.kind is not Kind.REGRESSION and cases < FEW_CASES:
                    what = f"class {name} of {task.name} has {cases} cases"
                    self.warn(Code.RARE_CLASS, None, what, "add cases, or merge the class with another")
        self._unlisted("images", None)

    def _read_images(self, case: Case) -> list[Grid | None]:
        grids: list[Grid | None] = []
        for path, channel in zip(case.images, self._dataset.channels, strict=True):
            try:
                volume = read_nifti(path)
            except MedmtlError as error:
                self.faults.append(_fault(error, case.name))
                grids.append(None)
                continue
            grids.append(volume.grid)
            self._voxels(case, channel, volume)
        known = [grid for grid in grids if grid is not None]
        for grid in known[1:]:
            self._same_grid((known[0], grid), case, "a further channel")
        return grids

    def _voxels(self, case: Case, channel: str, volume: Volume) -> None:
        array = np.ascontiguousarray(volume.array)
        lowest = array.min()
        if lowest == array.max():
            what = f"image {channel} has the same value everywhere"
            self.faults.append(
                _fault(DatasetError(Code.CONSTANT_IMAGE, what, "export it again or remove the case"), case.name)
            )
        if case.name not in self._looks:
            padding = float(np.count_nonzero(array == lowest) / array.size)
            self._looks[case.name] = CaseLook(grid=volume.grid, padding=padding)
        content = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode() + array.tobytes()).hexdigest()
        holders = self._images.setdefault(content, [])
        if case not in holders:
            holders.append(case)
        self._sketches.append((case, sketch_of(volume)))

    def twins(self) -> tuple[Twins, ...]:
        """Cases that hold the same exam; the faults that follow are kept."""
        order = {case.name: place for place, case in enumerate(self._dataset.cases)}
        shares: dict[tuple[str, str], float] = {}
        for pair in shared_pairs([sketch for _, sketch in self._sketches]):
            names = {self._sketches[pair.first][0].name, self._sketches[pair.second][0].name}
            if len(names) == 2:
                first, second = sorted(names, key=order.__getitem__)
                shares[first, second] = max(pair.share, shares.get((first, second), 0.0))
        exact: set[tuple[str, str]] = set()
        for holders in self._images.values():
            for case in holders[1:]:
                if (holders[0].name, case.name) not in exact:
                    self._duplicate(holders[0], case)
                exact |= {(one.name, two.name) for one, two in combinations(holders, 2)}
        for (first, second), share in shares.items():
            if (first, second) not in exact:
                self._near_duplicate(self._dataset.case(first), self._dataset.case(second), share)
        pairs = sorted(shares.keys() | exact, key=lambda pair: (order[pair[0]], order[pair[1]]))
        return tuple(
            Twins(first=first, second=second, share=shares.get((first, second), 1.0), exact=(first, second) in exact)
            for first, second in pairs
        )

    def _duplicate(self, twin: Case, case: Case) -> None:
        leaks = twin.patient != case.patient
        repair = "remove one of the two" + (", or give both one patient and one fold" if leaks else "")
        severity = Severity.ERROR if leaks else Severity.WARNING
        what = f"the image has the same voxels as that of {twin.name}"
        self.faults.append(
            Fault(code=Code.DUPLICATE_IMAGE, severity=severity, case=case.name, what=what, repair=repair)
        )

    def _near_duplicate(self, twin: Case, case: Case, share: float) -> None:
        if twin.patient == case.patient:
            return  # parts of one exam may overlap; they stay together in every fold
        severity = Severity.WARNING if twin.fold == case.fold else Severity.ERROR
        what = f"the image is nearly that of {twin.name} ({share:.0%} of its runs of voxels are in both)"
        repair = "remove one of the two, or give both one patient and one fold"
        self.faults.append(Fault(code=Code.NEAR_DUPLICATE, severity=severity, case=case.name, what=what, repair=repair))

    def shortcuts(self) -> tuple[Shortcut, ...]:
        """The whole table; the clear ones are kept as warnings."""
        table = shortcut_table(self._dataset, self._looks)
        for row in table:
            if row.is_clear:
                what = f"{row.feature} alone tells {row.label} of {row.task} with AUC {row.auc:.2f}"
                repair = "balance it over the classes, and see that the model beats this figure"
                self.warn(Code.SHORTCUT, None, what, repair)
        return table

    def _same_grid(self, grids: tuple[Grid, Grid], case: Case, what: str, task: str | None = None) -> None:
        try:
            check_grids(*grids, what)
        except DatasetError as error:
            self.faults.append(_fault(error, case.name, task))

    def _voxel_task(self, case: Case, task: Task, grids: list[Grid | None]) -> None:
        annotated = case.annotated.get(task.name)
        try:
            found = read_masks(task, case.voxel_labels[task.name], annotated, "truth")
        except MedmtlError as error:
            self.faults.append(_fault(error, case.name, task.name))
            return
        grid = grids[self._dataset.channels.index(task.drawn_on) if task.drawn_on else 0]
        if grid is not None:
            self._same_grid((grid, found.grid), case, f"{task.name} of the truth", task.name)
        for label in task.labels:
            if label.name not in found.masks:
                continue
            present = bool(found.masks[label.name].any())
            counts = self.coverage[task.name][label.name]
            counts["annotated"] += 1
            counts["present"] += present
            if not present and label.category != "lesion":
                repair = (
                    f"draw it, or name what was drawn in the column {task.name}:annotated, if it is not truly absent"
                )
                self.warn(Code.EMPTY_LABEL, case.name, f"{task.name} has no voxel of {label.name}", repair)

    def _count_classes(self, case: Case, task: Task) -> None:
        truth = case.case_labels.get(task.name)
        if truth is None:
            return
        names = truth if isinstance(truth, tuple) else (truth if isinstance(truth, str) else "known",)
        for name in names:
            self.coverage[task.name][name] += 1

    def _unlisted(self, folder: str, parts: list[str] | None) -> None:
        names = {case.name for case in self._dataset.cases}
        for place in [folder] if parts is None else [f"{folder}/{part}" for part in parts]:
            path = self._dataset.root / place
            for file in sorted(path.iterdir()) if path.is_dir() else []:
                stem = file.name.removesuffix(".nii.gz")
                if file.name.endswith(".nii.gz") and not ({stem, stem[:-5]} & names):
                    what = f"{place}/ holds a file {stem} that cases.csv does not list"
                    self.warn(Code.UNLISTED_FILE, None, what, "add a row to cases.csv or remove the file")
