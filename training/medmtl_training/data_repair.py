"""`repair_dataset`: a copy of a data set in which everything is mended that needs no judgement.

- A label map on another grid than its image takes the image's header, where shape and directions of axes agree.
- Voxels whose value the task does not have are ignored (255).
- Of cases that are equal in every image, label and column, the first stays.
- Where `cases.csv` has no patients, every case becomes one. Cases of one exam, and of one patient, go into one fold.
- What cannot be used stays behind: cases whose image or row is at fault, label maps that cannot be read or do not fit,
  files that belong to no case.
"""

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmtl.errors import Code, MedmtlError, UsageError
from medmtl.geometry.grid import Grid
from medmtl.outputs.files import cannot_write, write_atomic
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset, survey_dataset
from medmtl_training.cells import VoxelLabel
from medmtl_training.data_check import DataReport, Severity, Twins
from medmtl_training.evaluation.voxels import IGNORED

ALIGNED_COSINE = 0.99
"""Axes further apart than that may be flipped ones, and then the voxels would have to move, not the header."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One thing that is otherwise in the copy.

    Attributes:
        code: of the fault that is mended.
        case: name of the case, None where it concerns the whole set.
        done: what was done.
    """

    code: Code
    case: str | None
    done: str

    def as_json(self) -> dict[str, str | None]:
        """Plain values."""
        return {"code": str(self.code), "case": self.case, "done": self.done}


def repair_dataset(root: Path, report: DataReport, target: Path) -> tuple[Repair, ...]:
    """What was mended in the copy of `root` at `target`; `root` itself is only read.

    Args:
        root: folder of the data set.
        report: of `check_dataset` for that folder.
        target: a folder that does not exist yet or is empty; it appears once it is complete.

    Raises:
        UsageError: `bad-option`, the target holds something or lies in the data set.
        DatasetError: the data set cannot be read at all.
        OutputError: the copy cannot be written.
    """
    dataset, _, _ = survey_dataset(root)
    check_target(root, target)
    plan = _Plan.of(dataset, report)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for source, place in _files(dataset, plan):
            (partial / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, partial / place)
        relabelled = [repair for case in plan.kept for repair in _mended_labels(dataset, case, report, partial)]
        if plan.changes_list:
            write_atomic(partial / "cases.csv", _case_list(root, plan))
        partial.replace(target)
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return (*plan.repairs, *relabelled, *_left_behind(report))


def check_target(root: Path, target: Path) -> None:
    """Nothing, where a copy of `root` may be written to `target`.

    Raises:
        UsageError: `bad-option`, the target holds something or lies in the data set.
    """
    if target.resolve() == root.resolve() or root.resolve() in target.resolve().parents:
        raise UsageError(Code.BAD_OPTION, "the repaired copy would lie in the data set itself", "name another folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(Code.BAD_OPTION, "the folder for the repaired copy is not empty", "name a new folder")


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What becomes of the case list: the cases that stay, their patients and folds where these are new."""

    kept: tuple[Case, ...]
    patients: dict[str, str]
    folds: dict[str, int]
    repairs: tuple[Repair, ...]

    @property
    def changes_list(self) -> bool:
        return bool(self.repairs)

    @classmethod
    def of(cls, dataset: Dataset, report: DataReport) -> "_Plan":
        repairs = [*_unusable(report), *_needless(dataset, report)]
        dropped = {repair.case for repair in repairs}
        listed = {case.name: case for case in reversed(dataset.cases)}  # of two rows of one name the first
        kept = tuple(case for name, case in reversed(listed.items()) if name not in dropped)
        patients = _patients(kept, report.twins)
        folds = _folds(kept, patients)
        if any(fault.code is Code.NO_PATIENT_COLUMN for fault in report.faults):
            done = (
                "every case is a patient in the new column patient, save twins of one exam; correct it if you know more"
            )
            repairs.append(Repair(code=Code.NO_PATIENT_COLUMN, case=None, done=done))
        repairs += _moved(kept, patients, folds, {pair.second for pair in report.twins if pair.exact})
        return cls(kept=kept, patients=patients, folds=folds, repairs=tuple(repairs))


def _moved(kept: Sequence[Case], patients: dict[str, str], folds: dict[str, int], exact: set[str]) -> Iterator[Repair]:
    for case in kept:
        regrouped = patients[case.name] != case.patient
        moved = f"moved to fold {folds[case.name]}" if case.name in folds else ""
        if regrouped:
            code = Code.DUPLICATE_IMAGE if case.name in exact else Code.NEAR_DUPLICATE
            done = f"has the patient {patients[case.name]}{' and ' if moved else ''}{moved}"
            yield Repair(code=code, case=case.name, done=done)
        elif moved:
            yield Repair(code=Code.PATIENT_IN_TWO_FOLDS, case=case.name, done=moved)


_GROUPING = {Code.DUPLICATE_IMAGE, Code.NEAR_DUPLICATE, Code.PATIENT_IN_TWO_FOLDS}


def _unusable(report: DataReport) -> Iterator[Repair]:
    """Cases to leave out: those whose image or row is at fault."""
    seen: set[str] = set()
    for fault in report.faults:
        if fault.severity is Severity.ERROR and fault.task is None and fault.case and fault.code not in _GROUPING:
            twice = fault.what.endswith("listed twice")
            if fault.case not in seen and not twice:
                yield Repair(code=fault.code, case=fault.case, done=f"left out, since {fault.what}")
            seen.add(fault.case)


def _needless(dataset: Dataset, report: DataReport) -> Iterator[Repair]:
    """Cases to leave out: of equal ones all but the first."""
    dropped: set[str] = set()
    for pair in report.twins:
        if not pair.exact or dropped & {pair.first, pair.second}:
            continue
        if _all_equal(dataset.case(pair.first), dataset.case(pair.second)):
            dropped.add(pair.second)
            done = f"left out, since {pair.first} is equal in every image, label and column"
            yield Repair(code=Code.DUPLICATE_IMAGE, case=pair.second, done=done)


def _folds(cases: Sequence[Case], patients: dict[str, str]) -> dict[str, int]:
    """Case name to its fold where that is to change: the fold of a patient is the first one given to a case of it."""
    given: dict[str, int] = {}
    for case in cases:
        if case.fold is not None:
            given.setdefault(patients[case.name], case.fold)
    wanted = [(case, given.get(patients[case.name])) for case in cases]
    return {case.name: fold for case, fold in wanted if fold is not None and fold != case.fold}


def _patients(cases: Sequence[Case], twins: Sequence[Twins]) -> dict[str, str]:
    """Case name to its patient; cases of one exam have that of the first, and so has every case of that patient."""
    patients = {case.name: case.patient for case in cases}
    for pair in twins:
        if pair.first in patients and pair.second in patients:
            keep, gone = patients[pair.first], patients[pair.second]
            patients |= {name: keep for name, patient in patients.items() if patient == gone}
    return patients


def _all_equal(first: Case, second: Case) -> bool:
    """Whether nothing but name, patient and fold tells the two apart; what cannot be read is equal to nothing."""
    rows = [(case.case_labels, case.annotated, case.columns, set(case.voxel_labels)) for case in (first, second)]
    if rows[0] != rows[1]:
        return False
    try:
        for one, two in zip(first.images, second.images, strict=True):
            volumes = read_nifti(one), read_nifti(two)
            same_voxels = np.array_equal(volumes[0].array, volumes[1].array)
            if not (same_voxels and volumes[0].grid.same_as(volumes[1].grid)):
                return False
        for task, label in first.voxel_labels.items():
            files = dict(_label_files(label)), dict(_label_files(second.voxel_labels[task]))
            if files[0].keys() != files[1].keys():
                return False
            if any(
                not np.array_equal(read_label_map(files[0][n])[0], read_label_map(files[1][n])[0]) for n in files[0]
            ):
                return False
    except MedmtlError:
        return False
    return True


def _label_files(label: VoxelLabel) -> Iterator[tuple[str, Path]]:
    yield from [("", label)] if isinstance(label, Path) else label.items()


def _files(dataset: Dataset, plan: _Plan) -> Iterator[tuple[Path, Path]]:
    """Files of the copy: source, and place in the data set's folder."""
    root = dataset.root
    for path in sorted(root.iterdir()):
        if path.is_file():
            yield path, path.relative_to(root)
    for case in plan.kept:
        labels = [path for label in case.voxel_labels.values() for _, path in _label_files(label)]
        for path in (*case.images, *labels):
            yield path, path.relative_to(root)


def _mended_labels(dataset: Dataset, case: Case, report: DataReport, copy: Path) -> Iterator[Repair]:
    faults = {fault.task: fault for fault in report.faults
              if fault.case == case.name and fault.task and fault.severity is Severity.ERROR}  # fmt: skip
    for name_of_task, fault in faults.items():
        task = dataset.task(str(name_of_task))
        for name, path in _label_files(case.voxel_labels[task.name]):
            what = f"{task.name} {name}".rstrip()
            done = _mended(dataset, case, task, path, copy)
            if done:
                yield Repair(code=fault.code, case=case.name, done=f"{what} {done}")


def _mended(dataset: Dataset, case: Case, task: Task, path: Path, copy: Path) -> str:
    """What was done to one label map of the copy; empty where nothing is wrong with it."""
    place = copy / path.relative_to(dataset.root)
    channel = dataset.channels.index(task.drawn_on) if task.drawn_on else 0
    try:
        grid = read_nifti(case.images[channel]).grid
        array, found = read_label_map(path)
    except MedmtlError as error:
        place.unlink()
        return f"stays behind, since {error.what}"
    said = []
    known = {label.value for label in task.labels} if task.kind is Kind.SEGMENTATION else {1}
    foreign = ~np.isin(array, [0, IGNORED, *known])
    if foreign.any():
        array = np.where(foreign, np.uint8(IGNORED), array)
        said.append(f"has {int(foreign.sum())} voxels of undeclared values, which are ignored now")
    if not grid.same_as(found):
        if not _is_aligned(grid, found):
            place.unlink()
            return "stays behind, since it does not lie on its image"
        said.append("has the header of its image")
    if said:
        write_atomic(place, nifti_bytes(array, grid))
    return " and ".join(said)


def _is_aligned(image: Grid, label: Grid) -> bool:
    """Whether the voxels of both correspond one to one, as far as shape and axes can tell."""
    cosines = np.sum(image.affine[:3, :3] * label.affine[:3, :3], axis=0) / np.multiply(image.spacing, label.spacing)
    return image.shape == label.shape and bool((cosines >= ALIGNED_COSINE).all())


def _case_list(root: Path, plan: _Plan) -> bytes:
    """`cases.csv` of the copy."""
    with (root / "cases.csv").open(encoding="utf-8-sig", newline="") as stream:
        lines = [[cell.strip() for cell in line] for line in csv.reader(stream, strict=True) if line]
    head = lines[0]
    with_patients = "patient" in head
    left = {case.name for case in plan.kept}
    place = head.index("case")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, line in enumerate(lines):
        name = line[place]
        if number > 0 and name not in left:
            continue
        cells = list(line)
        if number > 0:
            left.remove(name)  # a second row of that name stays behind
            if name in plan.folds:
                cells[head.index("fold")] = str(plan.folds[name])
            if with_patients and plan.patients[name] != (cells[head.index("patient")] or name):
                cells[head.index("patient")] = plan.patients[name]
        if not with_patients:
            cells.insert(place + 1, plan.patients[name] if number > 0 else "patient")
        writer.writerow(cells)
    return text.getvalue().encode()


def _left_behind(report: DataReport) -> Iterator[Repair]:
    for fault in report.faults:
        if fault.code is Code.UNLISTED_FILE:
            yield Repair(code=fault.code, case=None, done=f"{fault.what}: it stays behind")
