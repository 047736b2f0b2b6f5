"""`write_set`: a draft to a data set on disk, complete or not at all."""

import csv
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from medmtl.errors import Code, DatasetError, MedmtlError, OutputError, UsageError
from medmtl.geometry.grid import Grid
from medmtl.outputs.files import cannot_write, gzip_bytes, write_atomic
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl.reading.nifti import read_label_map
from medmtl.shapes import LabelMap
from medmtl.task import Kind, Task, tasks_to_mapping
from medmtl_training.importing.draft import CaseDraft, SetDraft

FOLDS = 5
IGNORED = 255


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        cases: number of cases in the set.
        refused: cases that were left out, with their errors.
        notices: of the draft, and of the writing.
    """

    cases: int
    refused: tuple[tuple[str, MedmtlError], ...]
    notices: tuple[str, ...]


def write_set(draft: SetDraft, target: Path, progress: Callable[[str], None] = lambda case: None) -> Written:
    """Writes `draft` to the folder `target`, which appears once it is complete.

    A case that cannot be written is left out and comes back with its error. Where the source has no folds, patients
    are dealt into five.

    Raises:
        UsageError: `bad-option`, the target holds something.
        DatasetError: `bad-cases`, no case could be written.
        OutputError: the disk does not take it.
    """
    check_target(target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    kept: list[CaseDraft] = []
    refused: list[tuple[str, MedmtlError]] = []
    try:
        (partial / "images").mkdir(parents=True)
        for case in draft.cases:
            try:
                case.write(partial)
                kept.append(case)
            except OutputError:
                raise
            except MedmtlError as error:
                refused.append((case.name, error))
                _remove(partial, case.name)
            progress(case.name)
        if not kept:
            raise _nothing(refused)
        write_atomic(partial / "dataset.yaml", _head(draft))
        write_atomic(partial / "cases.csv", case_list(kept, draft.tasks))
        partial.replace(target)
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Written(cases=len(kept), refused=tuple(refused), notices=(*draft.notices, *_words(kept)))


def check_target(target: Path) -> None:
    """Nothing, where a data set may be written to `target`.

    Raises:
        UsageError: `bad-option`.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(Code.BAD_OPTION, "the folder for the data set is not empty", "name a new folder")


def _nothing(refused: Sequence[tuple[str, MedmtlError]]) -> MedmtlError:
    if refused:
        name, error = refused[0]
        return DatasetError(error.code, f"no case could be imported; {name}: {error.what}", error.todo)
    return DatasetError(Code.BAD_CASES, "the source holds no case", "check the path, and --format")


def _remove(folder: Path, case: str) -> None:
    for path in folder.rglob("*.nii.gz"):
        if path.name in (f"{case}.nii.gz",) or path.name[: -len("_0000.nii.gz")] == case:
            path.unlink()


def _head(draft: SetDraft) -> bytes:
    head = {
        "name": draft.name,
        "modality": draft.modality,
        "description": draft.description,
        "channels": list(draft.channels),
        "tasks": tasks_to_mapping(draft.tasks),
        "licence": draft.licence,
        "citation": draft.citation,
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=110).encode()


def case_list(cases: Sequence[CaseDraft], tasks: Sequence[Task]) -> bytes:
    """`cases.csv`: case, patient where one is known, fold, then the further columns in the order they appear."""
    with_patients = any(case.patient for case in cases)
    folds = _folds(cases, tasks)
    columns = list(dict.fromkeys(column for case in cases for column in case.cells))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *(["patient"] if with_patients else []), "fold", *columns])
    for case in cases:
        patient = [case.patient or case.name] if with_patients else []
        cells = [case.cells.get(column, "") for column in columns]
        writer.writerow([case.name, *patient, folds.get(case.name, ""), *cells])
    return text.getvalue().encode()


def _folds(cases: Sequence[CaseDraft], tasks: Sequence[Task]) -> dict[str, int]:
    """The folds given; other patients are dealt out class by class, so that folds are alike."""
    groups: dict[str, list[CaseDraft]] = {}
    for case in cases:
        groups.setdefault(case.patient or case.name, []).append(case)
    given = {patient: case.fold for patient, group in groups.items() for case in group[::-1] if case.fold is not None}
    numbers = sorted(set(given.values())) or list(range(min(FOLDS, len(groups))))
    if len(groups) < 2:
        return {}
    columns = [task.name for task in tasks if not task.is_voxel and task.kind is not Kind.REGRESSION]

    def kind(patient: str) -> tuple[str, ...]:
        return tuple(max(case.cells.get(column, "") for case in groups[patient]) for column in columns)

    dealt = sorted(
        (patient for patient in groups if patient not in given), key=lambda patient: (kind(patient), patient)
    )
    given |= {patient: numbers[place % len(numbers)] for place, patient in enumerate(dealt)}
    return {
        case.name: case.fold if case.fold is not None else given[patient]
        for patient, group in groups.items()
        for case in group
    }


def _words(cases: Sequence[CaseDraft]) -> list[str]:
    if any(case.patient for case in cases):
        return []
    return ["the source does not say which cases are of one patient: add a column patient to cases.csv"]


def copy_image(source: Path, target: Path) -> None:
    """A NIfTI as it is; one that is not packed is packed.

    Raises:
        DatasetError: `unreadable`, there is no such file, or it is no NIfTI by name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.name.endswith(".nii.gz"):
            shutil.copyfile(source, target)
        elif source.name.endswith(".nii"):
            write_atomic(target, gzip_bytes(source.read_bytes()))
        else:
            what = f"an image is no NIfTI ({''.join(source.suffixes)})"
            raise DatasetError(Code.NOT_AN_IMAGE, what, "convert it to .nii.gz")
    except FileNotFoundError:
        raise DatasetError(Code.UNREADABLE, "an image of the case is missing", "complete the source") from None


def write_labels(folder: Path, name: str, task: Task, found: Mapping[str, np.ndarray], ignored: object, grid: Grid
                 ) -> None:  # fmt: skip
    """The map, or for regions the masks, of one task of one case.

    Args:
        folder: of the data set.
        name: of the case.
        task: whose labels they are.
        found: label name to its mask `(i, j, k)`.
        ignored: mask of voxels that are neither trained on nor scored, or None.
        grid: of the masks.
    """
    if task.kind is Kind.REGIONS:
        for name_of_label, mask in found.items():
            binary = mask.astype(np.uint8)
            if ignored is not None:
                binary[np.asarray(ignored)] = IGNORED
            write_atomic(folder / task.name / name_of_label / f"{name}.nii.gz", nifti_bytes(binary, grid))
        return
    array = np.zeros(grid.shape, dtype=np.uint8)
    for label in task.labels:
        if label.name in found:
            array[found[label.name]] = label.value
    if ignored is not None:
        array[np.asarray(ignored)] = IGNORED
    write_atomic(folder / task.name / f"{name}.nii.gz", nifti_bytes(array, grid))


def masks_of_values(
    path: Path, values: Mapping[str, tuple[int, ...]], known: frozenset[int]
) -> tuple[dict[str, np.ndarray], LabelMap, Grid]:
    """Label name to mask from a map of integers, the map, and its grid.

    Args:
        path: of the label map.
        values: label name to the integers that belong to it.
        known: every integer the source declares; 0 too.

    Raises:
        DatasetError: `bad-label-value`.
        StudyError: the file cannot be read.
    """
    array, grid = read_label_map(path)
    foreign = sorted({int(value) for value in np.unique(array)} - known)
    if foreign:
        what = f"the label map holds {foreign[:5]}, which the source does not declare"
        raise DatasetError(Code.BAD_LABEL_VALUE, what, "correct the map, or declare the value")
    return {name: np.isin(array, integers) for name, integers in values.items()}, array, grid
