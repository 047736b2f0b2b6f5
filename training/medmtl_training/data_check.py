"""`check_dataset`: is a data set sound, case by case, with a repair for every fault."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, DatasetError, MedmtlError
from medmtl.geometry.grid import Grid
from medmtl.reading.nifti import read_nifti
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset, read_dataset
from medmtl_training.evaluation.voxels import check_grids, read_masks

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
    """

    code: Code
    severity: Severity
    case: str | None
    what: str
    repair: str


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What a data set holds and what is wrong with it.

    Attributes:
        name: of the data set; its folder's name where `dataset.yaml` cannot be read.
        cases: number of cases.
        patients: number of patients.
        faults: errors first.
        coverage: voxel task to {label: {"annotated": cases, "present": cases}}, case-level task to {class: cases}.
    """

    name: str
    cases: int = 0
    patients: int = 0
    faults: tuple[Fault, ...] = ()
    coverage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Number of faults that stand in the way of training."""
        return sum(fault.severity is Severity.ERROR for fault in self.faults)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        faults = [
            {"code": str(f.code), "severity": str(f.severity), "case": f.case, "what": f.what, "repair": f.repair}
            for f in self.faults
        ]
        return {
            "dataset": self.name, "cases": self.cases, "patients": self.patients, "errors": self.errors,
            "warnings": len(self.faults) - self.errors, "coverage": self.coverage, "findings": faults,
        }  # fmt: skip


def check_dataset(root: Path, progress: Callable[[str], None] = lambda case: None) -> DataReport:
    """Everything that is wrong with the data set in `root`; reads every image and label once."""
    try:
        dataset, notices = read_dataset(root)
    except DatasetError as error:
        return DataReport(name=root.name, faults=(_fault(error, None),))
    checker = _Checker(dataset)
    for notice in notices:
        checker.warn(notice.code, None, notice.text, "add the column patient to cases.csv")
    for case in dataset.cases:
        checker.case(case)
        progress(case.name)
    checker.whole()
    return DataReport(
        name=dataset.name,
        cases=len(dataset.cases),
        patients=len({case.patient for case in dataset.cases}),
        faults=tuple(sorted(checker.faults, key=lambda fault: (fault.severity, fault.code, fault.case or ""))),
        coverage=checker.coverage,
    )


def _fault(error: MedmtlError, case: str | None) -> Fault:
    return Fault(code=error.code, severity=Severity.ERROR, case=case, what=error.what, repair=error.todo)


class _Checker:
    """Collects the faults of one data set."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._images: dict[str, Case] = {}
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
            if volume.array.min() == volume.array.max():
                what = f"image {channel} has the same value everywhere"
                self.faults.append(
                    _fault(DatasetError(Code.CONSTANT_IMAGE, what, "export it again or remove the case"), case.name)
                )
            self._duplicate(case, np.ascontiguousarray(volume.array))
        known = [grid for grid in grids if grid is not None]
        for grid in known[1:]:
            self._same_grid(known[0], grid, case, "a further channel")
        return grids

    def _duplicate(self, case: Case, array: Any) -> None:
        content = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode() + array.tobytes()).hexdigest()
        twin = self._images.setdefault(content, case)
        if twin is case:
            return
        leaks = twin.patient != case.patient
        repair = "remove one of the two" + (", or give both one patient and one fold" if leaks else "")
        severity = Severity.ERROR if leaks else Severity.WARNING
        what = f"the image has the same voxels as that of {twin.name}"
        self.faults.append(
            Fault(code=Code.DUPLICATE_IMAGE, severity=severity, case=case.name, what=what, repair=repair)
        )

    def _same_grid(self, expected: Grid, found: Grid, case: Case, what: str) -> None:
        try:
            check_grids(expected, found, what)
        except DatasetError as error:
            self.faults.append(_fault(error, case.name))

    def _voxel_task(self, case: Case, task: Task, grids: list[Grid | None]) -> None:
        annotated = case.annotated.get(task.name)
        try:
            found = read_masks(task, case.voxel_labels[task.name], annotated, "truth")
        except MedmtlError as error:
            self.faults.append(_fault(error, case.name))
            return
        grid = grids[self._dataset.channels.index(task.drawn_on) if task.drawn_on else 0]
        if grid is not None:
            self._same_grid(grid, found.grid, case, f"{task.name} of the truth")
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
