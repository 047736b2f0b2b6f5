"""DICOM studies with SEG or RTSTRUCT: structures are known by name or code, the image by what the object refers to."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from medmtl.errors import Code, DatasetError, MedmtlError, UsageError
from medmtl.outputs.files import write_atomic
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl.reading.any_volume import discover
from medmtl.reading.case_input import CaseInput, InputKind
from medmtl.reading.choice import choose
from medmtl.reading.dicom_series import Series
from medmtl.reading.study import read_series, series_of
from medmtl.shapes import Mask
from medmtl.task import Kind, Label, Task, tasks_from_mapping
from medmtl_training.importing.dicom_objects import Drawn, read_drawn
from medmtl_training.importing.draft import CaseDraft, ImportOptions, SetDraft, safe_name, structure
from medmtl_training.importing.table import Table, named_in, read_table
from medmtl_training.importing.writing import write_labels
from medmtl_training.matching import match

_OBJECTS = ("SEG", "RTSTRUCT")


@dataclass(frozen=True, kw_only=True)
class _Study:
    """One image series with what was drawn on it."""

    name: str
    patient: str
    modality: str
    series: Series
    drawn: tuple[Drawn, ...]
    accession: str


def draft_of_dicom(source: Path, options: ImportOptions) -> SetDraft:
    """The set of a folder of studies.

    Cases are called `study-` with eight digits of the hashed study UID, patients alike: no identity enters the set.
    Without `options.labels` the tasks `lesions` and `organs` are made of the structures found. In a study with
    lesions, a lesion label that is not there was looked for and is absent; an organ that is not there was not drawn.

    Raises:
        UsageError: nothing to import, or the modality is not clear.
        DatasetError: the wanted labels cannot be read.
    """
    table = read_table(options.table, options.class_columns) if options.table else None
    found = [one for case in discover(source) if case.kind is InputKind.DICOM for one in _studies(case, table)]
    refused = [draft for draft in found if isinstance(draft, CaseDraft)]
    studies = [study for study in found if isinstance(study, _Study)]
    if not studies:
        if refused:
            refused[0].write(Path())  # says what stands in the way
        raise UsageError(Code.NOT_FOUND, "no study with a SEG or RTSTRUCT was found", "check the folder")
    modality = options.modality or Counter(study.modality for study in studies).most_common(1)[0][0]
    tasks = _wanted(options) if options.labels else _tasks_of([drawn for study in studies for drawn in study.drawn])
    notices: Counter[str] = Counter()
    cases = [_draft(study, tasks, modality, notices) for study in studies]
    if options.linkage is not None:
        _write_linkage(options.linkage, studies)
    return SetDraft(
        name=options.name or safe_name(source.resolve().name),
        modality=modality,
        channels=(modality,),
        tasks=tasks,
        cases=(*cases, *refused),
        notices=tuple(f"{text} ({count} times)" if count > 1 else text for text, count in notices.items()),
        aliases={study.name: study.accession for study in studies},
    )


def _studies(case: CaseInput, table: Table | None) -> list["_Study | CaseDraft"]:
    if case.error is not None:
        return [_refused(case.name, case.error)]
    if case.archive:
        return [_refused(case.name, UsageError(Code.BAD_OPTION, "the study lies in a zip", "unpack it first"))]
    try:
        series = series_of(case.paths, case.study_uid)
        drawn = [
            structure
            for one in series
            if one.first.modality in _OBJECTS
            for instance in one.instances
            for structure in read_drawn(instance.path)
        ]
    except MedmtlError as error:
        return [_refused(case.name, error)]
    images: dict[str, Series] = {}  # of the parts of a series the first that can be read
    for one in sorted(series, key=lambda one: one.error is not None):
        if one.first.modality not in _OBJECTS:
            images.setdefault(one.first.series_uid, one)
    usable = [one for one in images.values() if one.error is None]
    if not drawn:
        return _with_a_class(case, usable, table)
    by_image: dict[str, list[Drawn]] = {}
    for structure_ in drawn:
        uid = structure_.series_uid if structure_.series_uid in images else ""
        by_image.setdefault(uid or (usable[0].first.series_uid if len(usable) == 1 else ""), []).append(structure_)
    found: list[_Study | CaseDraft] = []
    for number, (uid, parts) in enumerate(by_image.items(), start=1):
        name = case.name if len(by_image) == 1 else f"{case.name}-s{number}"
        image = images.get(uid)
        if image is None or image.error is not None:
            what = "the series that the structures were drawn on is not there"
            absent = DatasetError(Code.CHANNEL_MISSING, what, "export it with the study")
            found.append(_refused(name, (image.error if image else None) or absent))
            continue
        found.append(_study(name, image, parts))
    return found


def _study(name: str, image: Series, drawn: Sequence[Drawn]) -> _Study:
    return _Study(
        name=name,
        patient=f"patient-{image.first.patient[:8]}",
        modality=image.first.modality,
        series=image,
        drawn=tuple(drawn),
        accession=_accession(image),
    )


def _with_a_class(case: CaseInput, usable: Sequence[Series], table: Table | None) -> "list[_Study | CaseDraft]":
    """A study on which nothing was drawn counts where the table has a row for it."""
    if table is None or not usable:
        return []
    study = _study(case.name, choose(usable).taken[0], ())
    return [study] if named_in(table, study.name, study.accession) is not None else []


def _refused(name: str, error: MedmtlError) -> CaseDraft:
    def write(folder: Path) -> None:
        raise error

    return CaseDraft(name=name, write=write)


def _wanted(options: ImportOptions) -> tuple[Task, ...]:
    try:
        body = yaml.safe_load(Path(str(options.labels)).read_text(encoding="utf-8"))
        tasks = body["tasks"]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        todo = "give a dataset.yaml with the section tasks"
        raise DatasetError(Code.BAD_DATASET, "the wanted labels cannot be read", todo) from None
    return tasks_from_mapping(tasks)


def _label(drawn: Drawn, value: int) -> Label:
    category = None if drawn.lesion is None else "lesion" if drawn.lesion else "organ"
    name = drawn.tracking.partition(".")[2] or drawn.name or (drawn.code.meaning if drawn.code else "")
    made = structure(name, value, drawn.code, category=category, laterality=drawn.laterality)
    return replace(made, titles={"en": drawn.name.strip() or made.title()}, modifier=drawn.modifier)


def _tasks_of(drawn: Sequence[Drawn]) -> tuple[Task, ...]:
    labels: dict[str, list[Label]] = {}
    for one in drawn:
        label = _label(one, 1)
        task = "lesions" if label.category == "lesion" else "organs"
        known = labels.setdefault(task, [])
        if match(label, known).label is None:
            taken = {other.name for other in known}
            name = label.name if label.name not in taken else f"{label.name}_{len(known) + 1}"
            known.append(replace(label, name=name, value=len(known) + 1))
    return tuple(
        Task(name=name, kind=Kind.SEGMENTATION, labels=tuple(labels[name]))
        for name in ("lesions", "organs")
        if name in labels
    )


def _draft(study: _Study, tasks: tuple[Task, ...], modality: str, notices: Counter[str]) -> CaseDraft:
    chosen: dict[str, dict[str, list[Drawn]]] = {}
    for drawn in study.drawn:
        task, label, why = _place(drawn, tasks)
        if task is None or label is None:
            notices[f"structure {safe_name(drawn.name)} was not imported: {why}"] += 1
        else:
            chosen.setdefault(task.name, {}).setdefault(label.name, []).append(drawn)
    cells = {}
    for task in tasks:
        names = [
            label.name for label in task.labels if label.category == "lesion" or label.name in chosen.get(task.name, {})
        ]
        if task.name in chosen and len(names) < len(task.labels):
            cells[f"{task.name}:annotated"] = ";".join(names)
    return CaseDraft(name=study.name, patient=study.patient, cells=cells, write=_writer(study, chosen, tasks, modality))


def _place(drawn: Drawn, tasks: tuple[Task, ...]) -> tuple[Task | None, Label | None, str]:
    """The task and label of a structure, or why there is none."""
    wanted = _label(drawn, 1)
    task_name = drawn.tracking.partition(".")[0]
    why = "no task has voxels"
    voxel = sorted((task for task in tasks if task.is_voxel), key=lambda task: task.name != task_name)
    for by in ("name", "code"):
        for task in voxel:
            found = match(wanted, task.labels, (drawn.name,))
            if found.label is not None and found.by == by:
                return task, found.label, by
            why = found.by if found.label is None else why
    return None, None, why


def _writer(
    study: _Study, chosen: dict[str, dict[str, list[Drawn]]], tasks: tuple[Task, ...], modality: str
) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        if study.modality != modality:
            what = f"the study is {study.modality}, the set {modality}"
            raise DatasetError(Code.MODALITY_MISMATCH, what, "import it into a set of its own")
        volume = read_series(study.series)
        masks: dict[str, dict[str, Mask]] = {
            task: {
                name: np.logical_or.reduce([one.mask(volume.grid) for one in parts]) for name, parts in labels.items()
            }
            for task, labels in chosen.items()
        }
        write_atomic(folder / "images" / f"{study.name}.nii.gz", nifti_bytes(volume.array, volume.grid))
        for task in tasks:
            if task.name in masks:
                found = masks[task.name]
                if task.kind is Kind.SEGMENTATION:  # what lies in another structure is drawn over it
                    found = _small_last(found)
                write_labels(folder, study.name, _ordered(task, found), found, None, volume.grid)

    return write


def _small_last(found: dict[str, Mask]) -> dict[str, Mask]:
    """Exclusive masks: of two that overlap the smaller keeps the voxels."""
    result: dict[str, Mask] = {}
    taken: Mask | None = None
    for name in sorted(found, key=lambda name: (int(found[name].sum()), name)):
        result[name] = found[name] if taken is None else found[name] & ~taken
        taken = found[name] if taken is None else taken | found[name]
    return result


def _ordered(task: Task, found: dict[str, Mask]) -> Task:
    if task.kind is Kind.REGIONS:
        return replace(task, labels=tuple(label for label in task.labels if label.name in found))
    return task


def _accession(series: Series) -> str:
    import pydicom

    head = pydicom.dcmread(series.first.path, stop_before_pixels=True, specific_tags=["AccessionNumber"])
    return str(head.get("AccessionNumber", "") or "")


def _write_linkage(path: Path, studies: Sequence[_Study]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "accession", "study_uid"])
    for study in studies:
        writer.writerow([study.name, study.accession, study.series.first.study_uid])
    write_atomic(path, text.getvalue().encode())
    path.chmod(0o600)
