"""`merged`: several data sets as one. Labels are matched by name, then by code; what does not fit is said.

Channels are matched by their place. Where sets have different numbers of them, the only image of a case stands in every
channel: a network then sees two phases that are the same, and what both sets draw on the first channel is one task.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medmtl.errors import Code, DatasetError, UsageError
from medmtl.findings.formula import names_of
from medmtl.reading.nifti import read_label_map
from medmtl.task import Kind, Label, Task
from medmtl_training.cases import Case, Dataset, with_images
from medmtl_training.cells import CaseLabel
from medmtl_training.importing.draft import CaseDraft, SetDraft, safe_name
from medmtl_training.importing.writing import copy_image, write_labels
from medmtl_training.matching import match, same_concept

SOURCE = "source"
"""Column that says which set a case comes from, for figures by source."""


@dataclass(frozen=True, kw_only=True)
class _Home:
    """Where a task of a source has gone: name of the new task, own label to new label."""

    task: str
    labels: Mapping[str, str]


class _Merging:
    """Tasks of the sets taken so far, and where each set's own tasks have gone."""

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels = channels
        self.tasks: dict[str, Task] = {}
        self.homes: list[dict[str, _Home]] = []
        self.notices: list[str] = []

    def take(self, dataset: Dataset) -> None:
        self.homes.append({})
        for task in dataset.tasks:
            known = self.tasks.get(task.name)
            if known is None:
                self._new(task, task.name, dataset.channels)
            elif known.kind is not task.kind:
                self._apart(task, dataset, f"it is {task.kind} there and {known.kind} before")
            elif task.is_voxel:
                self._labels(task, known, dataset)
            else:
                self._classes(task, known, dataset)

    def _new(self, task: Task, name: str, channels: tuple[str, ...]) -> None:
        place = _place(task, channels)
        drawn_on = self.channels[place] if task.drawn_on is not None or place else None
        self.tasks[name] = replace(task, name=name, drawn_on=drawn_on)
        self.homes[-1][task.name] = _Home(task=name, labels={label.name: label.name for label in task.labels})

    def _apart(self, task: Task, dataset: Dataset, why: str) -> None:
        name = safe_name(f"{task.name}_{dataset.name}")
        while name in self.tasks:
            name += "_2"
        self.notices.append(f"task {task.name} of {dataset.name} becomes {name}: {why}")
        self._new(task, name, dataset.channels)

    def _labels(self, task: Task, known: Task, dataset: Dataset) -> None:
        labels = list(known.labels)
        found: dict[str, str] = {}
        for label in task.labels:
            hit = match(label, known.labels)
            if hit.label is not None and hit.label.name not in found.values():
                found[label.name] = hit.label.name
                self._say_difference(f"{task.name}.{label.name}", label, hit.label, dataset)
                continue
            taken = {other.name for other in labels}
            name = label.name if label.name not in taken else safe_name(f"{label.name}_{dataset.name}")
            if hit.label is not None or name != label.name:
                self.notices.append(f"conflict {task.name}.{label.name} of {dataset.name}: {hit.by}; it becomes {name}")
            labels.append(replace(label, name=name, value=len(labels) + 1))
            found[label.name] = name
        if _place(known, self.channels) != _place(task, dataset.channels):
            self.notices.append(f"conflict {task.name} of {dataset.name}: it is drawn on another channel there")
        derived = {one.name: one for one in (*task.derived, *known.derived)}
        same_names = all(own == new for own, new in found.items())
        self.tasks[known.name] = replace(
            known, labels=tuple(labels), inside=known.inside or task.inside,
            derived=tuple(derived.values()) if same_names else known.derived,
        )  # fmt: skip
        self.homes[-1][task.name] = _Home(task=known.name, labels=found)

    def _classes(self, task: Task, known: Task, dataset: Dataset) -> None:
        found = {label.name: hit.label.name for label in task.labels if (hit := match(label, known.labels)).label}
        if len(found) < len(task.labels) or len(task.labels) != len(known.labels):
            self._apart(task, dataset, "its classes are others, and a case of the one set has no class of the other")
            return
        if known.basis != task.basis:
            self.notices.append(f"conflict {task.name} of {dataset.name}: its truth rests on {task.basis}, not "
                                f"{known.basis}")  # fmt: skip
        for label in task.labels:
            other = known.label(found[label.name])
            self._say_difference(f"{task.name}.{label.name}", label, other, dataset)
        self.homes[-1][task.name] = _Home(task=known.name, labels=found)

    def _say_difference(self, what: str, own: Label, known: Label, dataset: Dataset) -> None:
        if own.name != known.name:
            self.notices.append(f"{what} of {dataset.name} is {known.name}")
        if own.code and known.code and not same_concept(own.code, known.code):
            self.notices.append(
                f"conflict {what} of {dataset.name}: code {own.code.scheme} {own.code.value} there, "
                f"{known.code.scheme} {known.code.value} before, taken as one by its name"
            )

    def final(self) -> tuple[Task, ...]:
        """The tasks; references to what is no longer there are dropped."""
        known = {f"{task.name}.{label.name}" for task in self.tasks.values() if task.is_voxel for label in task.labels}
        tasks = []
        for task in self.tasks.values():
            own = {label.name for label in task.labels}
            derived = tuple(one for one in task.derived if not names_of(one.formula) - own - known)
            tasks.append(replace(task, derived=derived, inside=task.inside if task.inside in known else None))
        return tuple(tasks)


def _place(task: Task, channels: tuple[str, ...]) -> int:
    """Number of the channel that a task is drawn on."""
    return channels.index(task.drawn_on) if task.drawn_on in channels else 0


def merged(datasets: Sequence[Dataset], name: str | None = None) -> SetDraft:
    """A draft of one set that holds the cases of all.

    Cases and patients keep their names; where two sets share one, the set's name goes before it. Folds stay. Channels
    are those of the set with most of them; the image of a set with one stands in all of them.

    Raises:
        UsageError: fewer than two sets.
        DatasetError: other modality, several channels of another number, or a set of prepared arrays.
    """
    if len(datasets) < 2:
        raise UsageError(Code.BAD_OPTION, "one data set cannot be merged", "name two or more")
    first = max(datasets, key=lambda dataset: len(dataset.channels))  # the first of those with most channels
    for dataset in datasets:
        with_images(dataset)
        if dataset.modality != first.modality or len(dataset.channels) not in (1, len(first.channels)):
            what = f"{dataset.name} is {dataset.modality} of {len(dataset.channels)} channel(s), {first.name} is not"
            raise DatasetError(Code.MODALITY_MISMATCH, what, "train a model for each")
    merging = _Merging(first.channels)
    for dataset in datasets:
        merging.take(dataset)
        if len(dataset.channels) < len(first.channels):
            said = f"the image {dataset.channels[0]} of {dataset.name} stands in every channel: {first.channels}"
            merging.notices.append(said)
        elif dataset.channels != first.channels:
            merging.notices.append(f"channels {dataset.channels} of {dataset.name} count as {first.channels}")
    tasks = merging.final()
    doubled = _names(datasets)
    cases = [
        _draft(case, dataset, homes, (tasks, doubled, len(first.channels)))
        for dataset, homes in zip(datasets, merging.homes, strict=True)
        for case in dataset.cases
    ]
    return SetDraft(
        name=name or "_".join(safe_name(dataset.name) for dataset in datasets),
        modality=first.modality,
        channels=first.channels,
        tasks=tasks,
        cases=tuple(cases),
        licence="; ".join(f"{dataset.name}: {dataset.licence or 'not stated'}" for dataset in datasets),
        citation="; ".join(dataset.citation for dataset in datasets if dataset.citation),
        description="; ".join(f"{dataset.name}: {dataset.description}" for dataset in datasets),
        notices=tuple(merging.notices),
    )


@dataclass(frozen=True, kw_only=True)
class _Names:
    """Names that more than one set has."""

    cases: frozenset[str]
    patients: frozenset[str]


def _names(datasets: Sequence[Dataset]) -> _Names:
    cases = Counter(case.name for dataset in datasets for case in dataset.cases)
    patients = Counter(patient for dataset in datasets for patient in {case.patient for case in dataset.cases})
    return _Names(
        cases=frozenset(name for name, count in cases.items() if count > 1),
        patients=frozenset(name for name, count in patients.items() if count > 1),
    )


def _draft(
    case: Case, dataset: Dataset, homes: Mapping[str, _Home], target: tuple[tuple[Task, ...], _Names, int]
) -> CaseDraft:
    tasks, doubled, channels = target
    known = {task.name: task for task in tasks}
    name = f"{safe_name(dataset.name)}_{case.name}" if case.name in doubled.cases else case.name
    patient = f"{safe_name(dataset.name)}_{case.patient}" if case.patient in doubled.patients else case.patient
    cells = {SOURCE: dataset.name, **{column: text for column, text in case.columns.items() if column not in known}}
    for own_name, home in homes.items():
        task = known[home.task]
        if not task.is_voxel:
            cells[task.name] = _cell(case.case_labels.get(own_name), home)
        elif own_name in case.voxel_labels:
            looked_for = case.annotated.get(own_name)
            drawn = [new for own, new in home.labels.items() if looked_for is None or own in looked_for]
            if len(drawn) < len(task.labels):
                order = [label.name for label in task.labels]
                cells[f"{task.name}:annotated"] = ";".join(sorted(drawn, key=order.index))
    return CaseDraft(
        name=name,
        patient=patient,
        fold=case.fold,
        cells=cells,
        write=_writer(case, dataset, (homes, known, name), channels),
    )


def _cell(value: CaseLabel, home: _Home) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ";".join(home.labels[one] for one in value) or "none"
    return home.labels[value] if isinstance(value, str) else repr(value)


def _writer(
    case: Case, dataset: Dataset, target: tuple[Mapping[str, _Home], Mapping[str, Task], str], channels: int
) -> Callable[[Path], None]:
    homes, known, name = target

    def write(folder: Path) -> None:
        for index, path in enumerate(case.images * (channels // len(case.images))):
            suffix = f"_{index:04d}" if channels > 1 else ""
            copy_image(path, folder / "images" / f"{name}{suffix}.nii.gz")
        for own_name, files in case.voxel_labels.items():
            own, home = dataset.task(own_name), homes[own_name]
            _write_task(folder, name, (own, known[home.task], home), files)

    return write


def _write_task(folder: Path, name: str, tasks: tuple[Task, Task, _Home], files: Path | Mapping[str, Path]) -> None:
    own, task, home = tasks
    if not isinstance(files, Path):
        for label, path in files.items():
            copy_image(path, folder / task.name / home.labels[label] / f"{name}.nii.gz")
        return
    same = all(task.label(home.labels[label.name]).value == label.value for label in own.labels)
    if same and own.kind is Kind.SEGMENTATION:
        copy_image(files, folder / task.name / f"{name}.nii.gz")
        return
    array, grid = read_label_map(files)
    masks = {home.labels[label.name]: array == label.value for label in own.labels}
    write_labels(folder, name, task, masks, array == 255, grid)
