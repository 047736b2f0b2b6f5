"""`Task`: what a data set annotates and a bundle answers, as written in `dataset.yaml` and `bundle.yaml`.

Everything downstream (heads, losses, metrics, reports, viewer) depends on a task's kind, never on its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from medmtl.errors import Code, DatasetError
from medmtl.findings.formula import names_of


class Kind(StrEnum):
    """How a task is answered."""

    SEGMENTATION = "segmentation"  # one label per voxel, exclusive
    REGIONS = "regions"  # binary masks that may overlap
    CLASSIFICATION = "classification"  # one class per case
    ORDINAL = "ordinal"  # one class per case, classes in order
    MULTILABEL = "multilabel"  # any number of classes per case
    REGRESSION = "regression"  # one number per case


VOXEL_KINDS = frozenset({Kind.SEGMENTATION, Kind.REGIONS})


@dataclass(frozen=True, kw_only=True)
class CodedConcept:
    """A coded concept (PS3.3 8.8): coding scheme designator, code value, code meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Label:
    """One structure or class of a task.

    Attributes:
        name: the key, unique in its task.
        value: integer in label maps, 1..254; for classes the index, from 0.
        titles: language to display text.
        color: "#RRGGBB".
        code: what it is; None where no code exists.
        category: "organ" or "lesion" for structures.
        laterality: "left", "right" or None.
        modifier: a further concept, "Anterior" say.
    """

    name: str
    value: int
    titles: Mapping[str, str]
    color: str = "#888888"
    code: CodedConcept | None = None
    category: str | None = None
    laterality: str | None = None
    modifier: CodedConcept | None = None

    def title(self, language: str = "en") -> str:
        """Display text in `language`, English or the name where there is none."""
        return self.titles.get(language) or self.titles.get("en") or self.name


_KNOWN_VALUES: Mapping[str, Mapping[str, str]] = {
    "lv_ejection_fraction": {"en": "left ventricular ejection fraction", "zh": "左心室射血分数"},
    "rv_ejection_fraction": {"en": "right ventricular ejection fraction", "zh": "右心室射血分数"},
    "lv_stroke_volume": {"en": "left ventricular stroke volume", "zh": "左心室每搏量"},
    "rv_stroke_volume": {"en": "right ventricular stroke volume", "zh": "右心室每搏量"},
    "myocardial_mass": {"en": "myocardial mass", "zh": "心肌质量"},
    "infarct_percent_of_myocardium": {"en": "infarct percent of myocardium", "zh": "梗死占心肌的百分比"},
    "lesion_percent_of_liver": {"en": "lesion percent of liver", "zh": "病灶占肝脏的百分比"},
    "hippocampus_volume": {"en": "hippocampus volume", "zh": "海马体积"},
}
"""Titles of derived values whose bundle gives none."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A value computed from volumes in mL by a `formula` over own labels and `task.label` of others, and its code."""

    name: str
    unit: str
    formula: str
    titles: Mapping[str, str] = field(default_factory=dict)
    code: CodedConcept | None = None

    def title(self, language: str = "en") -> str:
        """Display text in `language`; where none is given that of a well-known name, else made from the name."""
        titles = self.titles or _KNOWN_VALUES.get(self.name, {})
        return titles.get(language) or titles.get("en") or self.name.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        name: "lesions", "organs", "diagnosis" or any further one.
        kind: how it is answered.
        labels: structures (voxel kinds) or classes (case kinds), in order; empty for regression.
        inside: "task.label" of the structure that hosts this task's labels, None where any place is right.
        derived: values computed from the volumes.
        basis: what the case-level truth rests on: pathology, readers, scan or clinical.
        drawn_on: name of the channel the task is drawn on.
        unit: of a regression value.
        auxiliary: trained, not reported.
        titles: language to display text.
    """

    name: str
    kind: Kind
    labels: tuple[Label, ...]
    inside: str | None = None
    derived: tuple[Derived, ...] = ()
    basis: str | None = None
    drawn_on: str | None = None
    unit: str = ""
    auxiliary: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_voxel(self) -> bool:
        """Whether the answer is a map over voxels."""
        return self.kind in VOXEL_KINDS

    @property
    def outputs(self) -> int:
        """Channels of the head: background counts for exclusive labels only."""
        if self.kind is Kind.SEGMENTATION:
            return len(self.labels) + 1
        return 1 if self.kind is Kind.REGRESSION else len(self.labels)

    @property
    def host_task(self) -> str | None:
        """Name of the task that holds the host structure, None without one."""
        return self.inside.split(".")[0] if self.inside else None

    def label(self, name: str) -> Label:
        """The label called `name`.

        Raises:
            KeyError: there is none.
        """
        for label in self.labels:
            if label.name == name:
                return label
        raise KeyError(name)

    def title(self, language: str = "en") -> str:
        """Display text in `language`."""
        return self.titles.get(language) or self.titles.get("en") or self.name.replace("_", " ").capitalize()


def tasks_from_mapping(mapping: Mapping[str, Any]) -> tuple[Task, ...]:
    """Tasks of the `tasks:` section of `dataset.yaml` or `bundle.yaml`, in its order.

    Raises:
        DatasetError: an unknown key or kind, a doubled name or value, a name that cannot be a file's, an `inside` or
            a formula that names nothing.
    """
    tasks = tuple(_checked_task(name, body) for name, body in mapping.items())
    known = {f"{task.name}.{label.name}" for task in tasks if task.is_voxel for label in task.labels}
    for task in tasks:
        if task.inside is not None and task.inside not in known:
            raise _bad(f"task {task.name} lies inside {task.inside}, which is no label of this data set")
        own = {label.name for label in task.labels} if task.is_voxel else set()
        for derived in task.derived:
            if foreign := names_of(derived.formula) - own - known:
                raise _bad(f"{derived.name} of task {task.name} reads {min(foreign)}, which is no label")
    return tasks


def tasks_to_mapping(tasks: tuple[Task, ...]) -> dict[str, Any]:
    """The `tasks:` section that `tasks_from_mapping` reads back equal."""
    return {task.name: _task_to_mapping(task) for task in tasks}


def _bad(what: str) -> DatasetError:
    return DatasetError(Code.BAD_DATASET, what, "correct dataset.yaml")


_NAME = re.compile(r"\w[\w+-]*")
_TASK_KEYS = {
    "kind", "labels", "classes", "inside", "derived", "basis", "drawn_on", "unit", "auxiliary", "title",
}  # fmt: skip
_LABEL_KEYS = {"value", "name", "title", "color", "code", "category", "laterality", "modifier", "meaning"}


def _checked_task(name: Any, body: Any) -> Task:
    # names become files and folders: one with a slash in a foreign bundle would write outside the results
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad(f"{name!r} is no name for a task; use letters, digits, - and _")
    try:
        return _task(name, body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _bad(f"task {name} cannot be read ({type(error).__name__}: {error})") from None


def _task(name: str, body: Any) -> Task:
    if not isinstance(body, Mapping):
        raise _bad(f"task {name} is not a mapping")
    unknown = set(body) - _TASK_KEYS
    if unknown:
        raise _bad(f"task {name} has unknown keys {sorted(unknown)}")
    try:
        kind = Kind(body.get("kind", ""))
    except ValueError:
        raise _bad(f"task {name} has kind {body.get('kind')!r}, not one of {[str(k) for k in Kind]}") from None
    rows = body.get("labels") if kind in VOXEL_KINDS else body.get("classes", [])
    labels = tuple(_label(name, row, index, kind) for index, row in enumerate(rows or []))
    if not labels and kind is not Kind.REGRESSION:
        raise _bad(f"task {name} has no {'labels' if kind in VOXEL_KINDS else 'classes'}")
    if len({label.name for label in labels}) < len(labels) or len({label.value for label in labels}) < len(labels):
        raise _bad(f"task {name} has two labels of one name or value")
    if kind is Kind.SEGMENTATION and [label.value for label in labels] != list(range(1, len(labels) + 1)):
        raise _bad(f"task {name} numbers its labels {[label.value for label in labels]}, not 1, 2, 3 ...")
    derived = tuple(_derived(name, row) for row in body.get("derived", []))
    return Task(
        name=name,
        kind=kind,
        labels=labels,
        inside=body.get("inside"),
        derived=derived,
        basis=body.get("basis"),
        drawn_on=body.get("drawn_on"),
        unit=body.get("unit", ""),
        auxiliary=bool(body.get("auxiliary", False)),
        titles=_titles(body.get("title")),
    )


def _derived(task: str, row: Any) -> Derived:
    unknown = set(row) - {"name", "unit", "formula", "title", "code"}
    if unknown:
        raise _bad(f"a derived value of task {task} has unknown keys {sorted(unknown)}")
    return Derived(
        name=row["name"],
        unit=row.get("unit", ""),
        formula=str(row["formula"]),
        titles=_titles(row.get("title")),
        code=_code(row.get("code")),
    )


def _label(task: str, row: Any, index: int, kind: Kind) -> Label:
    if isinstance(row, str):
        row = {"name": row}
    if not isinstance(row, Mapping) or "name" not in row or set(row) - _LABEL_KEYS:
        raise _bad(f"a label of task {task} has no name or an unknown key: {row}")
    if not _NAME.fullmatch(str(row["name"])):
        raise _bad(f"{row['name']!r} is no name for a label of task {task}; use letters, digits, - and _")
    value = int(row.get("value", index + 1 if kind in VOXEL_KINDS else index))
    if kind not in VOXEL_KINDS and value != index:
        raise _bad(f"class {row['name']} of task {task} has value {value}, not its place {index}")
    if kind in VOXEL_KINDS and not 1 <= value <= 254:
        raise _bad(f"label {row['name']} of task {task} has value {value}, outside 1..254")
    return Label(
        name=str(row["name"]),
        value=value,
        titles=_titles(row.get("title")),
        color=str(row.get("color", "#888888")),
        code=_code(row.get("code")),
        category=row.get("category"),
        laterality=row.get("laterality"),
        modifier=_code(row.get("modifier")),
    )


def _titles(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    return {"en": value} if isinstance(value, str) else {str(k): str(v) for k, v in value.items()}


def _code(value: Any) -> CodedConcept | None:
    if value is None:
        return None
    return CodedConcept(scheme=str(value["scheme"]), value=str(value["value"]), meaning=str(value["meaning"]))


def _code_to_mapping(code: CodedConcept) -> dict[str, str]:
    return {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}


def _label_to_mapping(label: Label) -> dict[str, Any]:
    row: dict[str, Any] = {"value": label.value, "name": label.name, "title": dict(label.titles), "color": label.color}
    if label.code:
        row["code"] = _code_to_mapping(label.code)
    if label.modifier:
        row["modifier"] = _code_to_mapping(label.modifier)
    row |= {k: v for k, v in (("category", label.category), ("laterality", label.laterality)) if v}
    return row


def _derived_to_mapping(derived: Derived) -> dict[str, Any]:
    row: dict[str, Any] = {"name": derived.name, "unit": derived.unit, "formula": derived.formula}
    if derived.titles:
        row["title"] = dict(derived.titles)
    if derived.code:
        row["code"] = _code_to_mapping(derived.code)
    return row


def _task_to_mapping(task: Task) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": str(task.kind)}
    if task.labels:
        body["labels" if task.is_voxel else "classes"] = [_label_to_mapping(label) for label in task.labels]
    for key in ("inside", "basis", "drawn_on", "unit", "auxiliary"):
        if getattr(task, key):
            body[key] = getattr(task, key)
    if task.titles:
        body["title"] = dict(task.titles)
    if task.derived:
        body["derived"] = [_derived_to_mapping(derived) for derived in task.derived]
    return body
