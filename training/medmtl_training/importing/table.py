"""CSV tables of classes: `Name,Subtype` and their like, joined to cases by name."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medmtl.errors import Code, UsageError
from medmtl.task import Kind, Label, Task
from medmtl_training.importing.draft import ImportOptions, SetDraft, safe_name

KEYS = ("case", "name", "case_id", "id", "image", "file", "filename", "path", "accession", "accession_number")
CLASS_WORDS = ("diagnosis", "subtype", "class", "label", "target", "type")
_PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV by case.

    Attributes:
        rows: case name to its cells, without the key.
        columns: names of the further columns.
        classes: column to the task made of it.
        names: column to {cell: class name}.
    """

    rows: Mapping[str, Mapping[str, str]]
    columns: tuple[str, ...]
    classes: Mapping[str, Task]
    names: Mapping[str, Mapping[str, str]]

    def cells(self, case: str) -> tuple[dict[str, str], str | None, int | None]:
        """Of a case: columns of `cases.csv` (classes by task name), patient, fold; empty where it has no row."""
        row = self.rows.get(case, {})
        cells = {}
        patient, fold = None, None
        for column in self.columns:
            text = row.get(column, "")
            if column in self.classes:
                cells[self.classes[column].name] = self.names[column].get(text, "")
            elif column.lower() in _PATIENT:
                patient = text or None
            elif column.lower() == "fold":
                fold = int(text) if text.isdecimal() else None
            else:
                cells[column] = text
        return cells, patient, fold


def read_table(path: Path, class_columns: Mapping[str, str]) -> Table:
    """The table in `path`; columns named like classes become classification tasks.

    Args:
        path: of the CSV, with a column case, name or id.
        class_columns: column to task name, where the user says it.

    Raises:
        UsageError: `bad-option`, the table cannot be read, a case has two rows, a column is not there.
    """
    lines = _lines(path)
    header = [name.strip() for name in lines[0]]
    key = next((place for place, name in enumerate(header) if name.lower() in KEYS), 0)
    columns = tuple(name for place, name in enumerate(header) if place != key)
    rows: dict[str, dict[str, str]] = {}
    for line in lines[1:]:
        name = case_name(line[key])
        if name in rows:
            raise UsageError(Code.BAD_OPTION, "the table has two rows of one case", "keep one of them")
        rows[name] = {column: line[header.index(column)].strip() for column in columns}
    missing = [column for column in class_columns if column not in columns]
    if missing:
        raise UsageError(Code.BAD_OPTION, f"the table has no column {missing[0]}", f"it has {', '.join(columns)}")
    chosen = dict(class_columns) or _guessed(columns)
    tasks, names = {}, {}
    for column, task in chosen.items():
        found = sorted({row[column] for row in rows.values() if row[column]}, key=_order)
        if not 2 <= len(found) <= 50:
            what = f"column {column} has {len(found)} different values and is no class"
            raise UsageError(Code.BAD_OPTION, what, "name another with --class-column")
        names[column] = {text: _class_name(column, text) for text in found}
        labels = tuple(Label(name=names[column][text], value=n, titles={}) for n, text in enumerate(found))
        tasks[column] = Task(name=task, kind=Kind.CLASSIFICATION, labels=labels)
    return Table(rows=rows, columns=columns, classes=tasks, names=names)


def joined(draft: SetDraft, table: Table) -> SetDraft:
    """The draft with the table's classes and columns; cases without a row have none of them."""
    cases, absent = [], 0
    called = {case.name: named_in(table, case.name, draft.aliases.get(case.name, "")) for case in draft.cases}
    for case in draft.cases:
        cells, patient, fold = table.cells(called[case.name] or "")
        absent += called[case.name] is None
        cases.append(
            replace(case, cells={**case.cells, **cells}, patient=case.patient or patient,
                    fold=case.fold if case.fold is not None else fold)
        )  # fmt: skip
    foreign = len(set(table.rows) - set(called.values()))
    notices = []
    if absent:
        notices.append(f"{absent} cases have no row in the table: their classes are not known")
    if foreign:
        notices.append(f"{foreign} rows of the table name no case")
    tasks = (*draft.tasks, *table.classes.values())
    return replace(draft, cases=tuple(cases), tasks=tasks, notices=(*draft.notices, *notices))


def named_in(table: Table, case: str, alias: str) -> str | None:
    """What the table calls a case: its name, or its alias; None where it has no row."""
    return next((name for name in (case, case_name(alias)) if name in table.rows), None)


def draft_of_table(path: Path, options: ImportOptions) -> SetDraft:
    """The set of a CSV whose images lie in a folder, `NAME.nii.gz` or `NAME_0000.nii.gz`.

    Raises:
        UsageError: the table or the folders cannot be used.
    """
    from medmtl_training.importing.draft import modality_of
    from medmtl_training.importing.nnunet import case_files, draft_of_files

    folder = options.images or next(
        (path.parent / name for name in ("images", "imagesTr") if (path.parent / name).is_dir()), path.parent
    )
    files = case_files(folder, (".nii.gz", ".nii"))
    if not files:
        raise UsageError(Code.NOT_FOUND, "the folder of images holds no NIfTI", "name it with --images")
    table = read_table(path, options.class_columns)
    wanted = {name: paths for name, paths in files.items() if name in table.rows}
    count = max((len(paths) for paths in wanted.values()), default=1)
    channels = tuple(f"channel_{n}" for n in range(count)) if count > 1 else ("image",)
    draft = SetDraft(
        name=options.name or safe_name(path.stem),
        modality=modality_of(options, ()),
        channels=channels,
        tasks=(),
        cases=(),
        notices=_missing_images(table, files),
    )
    return joined(draft_of_files(draft, wanted, options), table)


def _missing_images(table: Table, files: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    missing = len(set(table.rows) - set(files))
    return (f"{missing} rows of the table have no image",) if missing else ()


def case_name(text: str) -> str:
    """The case a cell names: without folder, ending and channel number."""
    name = Path(text.strip()).name
    return safe_name(re.sub(r"(_0000)?(\.nii(\.gz)?)?$", "", name))


def _lines(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UsageError(Code.BAD_OPTION, "the table is no CSV in UTF-8", "write it as UTF-8 with commas") from None
    if len(lines) < 2 or any(len(line) != len(lines[0]) for line in lines):
        raise UsageError(Code.BAD_OPTION, "the table has no rows, or rows of different length", "correct the table")
    return lines


def _guessed(columns: Sequence[str]) -> dict[str, str]:
    found = [column for column in columns if column.lower() in CLASS_WORDS]
    return {found[0]: "diagnosis"} if len(found) == 1 else {column: safe_name(column).lower() for column in found}


def _order(text: str) -> tuple[bool, float, str]:
    number = text.isdecimal()
    return (not number, float(text) if number else 0.0, text)


def _class_name(column: str, text: str) -> str:
    return f"{safe_name(column).lower()}_{text}" if text[:1].isdecimal() else safe_name(text)
