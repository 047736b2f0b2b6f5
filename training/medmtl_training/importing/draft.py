"""`SetDraft`: what an importer found, before anything is written; and the names that may stand in a data set."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medmtl.errors import Code, UsageError
from medmtl.task import CodedConcept, Kind, Label, Task

LESION_WORDS = re.compile(
    r"tumou?r|lesion|nodule|cancer|carcinoma|metasta|infarct|cyst|h(?:a)?emorrhage|stroke|plaque|mass|abscess", re.I
)


@dataclass(frozen=True, kw_only=True)
class CaseDraft:
    """One case that is to be written.

    Attributes:
        name: of the case, safe as a file name.
        write: writes images and label maps under the folder it is given; raises `MedmtlError` where it cannot.
        patient: whose it is, None where that is not known.
        fold: held-out fold, None where none is given.
        cells: further columns of `cases.csv`, case-level tasks and `TASK:annotated` among them.
    """

    name: str
    write: Callable[[Path], None]
    patient: str | None = None
    fold: int | None = None
    cells: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SetDraft:
    """One data set that is to be written.

    Attributes:
        name, modality, channels, tasks, licence, citation, description: of `dataset.yaml`.
        cases: in the order of `cases.csv`.
        notices: what the user should know, a sentence each.
        aliases: case to another name that a table may call it by, an accession number say; never written.
    """

    name: str
    modality: str
    channels: tuple[str, ...]
    tasks: tuple[Task, ...]
    cases: tuple[CaseDraft, ...]
    licence: str = ""
    citation: str = ""
    description: str = ""
    notices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user said beside the source.

    Attributes:
        name: of the data set; None takes the source's.
        modality: "CT" or "MR"; None where the source says it.
        task: name of the voxel task; None chooses by the labels.
        table: CSV with classes and further columns, joined by case.
        class_columns: column of the table to task name; empty takes columns that are named like classes.
        images, masks: folders of a CSV's images, and of a voxel task's label maps.
        splits: `splits_final.json` of nnU-Net.
        labels: `dataset.yaml` whose tasks name the wanted structures.
        linkage: file that keeps which case is which study.
    """

    name: str | None = None
    modality: str | None = None
    task: str | None = None
    table: Path | None = None
    class_columns: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None
    masks: Path | None = None
    splits: Path | None = None
    labels: Path | None = None
    linkage: Path | None = None


def safe_name(text: str) -> str:
    """A name that a label, task or file may have, made from `text`."""
    return re.sub(r"[^\w+-]+", "_", text.strip()).strip("_-+") or "unnamed"


def modality_of(options: ImportOptions, words: Sequence[str]) -> str:
    """CT or MR, from `--modality` or from the names of the channels.

    Raises:
        UsageError: `bad-option`, neither says it.
    """
    if options.modality is not None:
        return options.modality.upper()
    text = " ".join(words).upper()
    if re.search(r"\bCT\b|CT\b", text):
        return "CT"
    if re.search(r"\bMRI?\b|MR|T1|T2|FLAIR|DWI|ADC|LGE|CINE|DCE|PD\b", text):
        return "MR"
    raise UsageError(Code.BAD_OPTION, "the source does not say whether it is CT or MR", "give --modality")


def structure(name: str, value: int, code: CodedConcept | None = None, **further: str | None) -> Label:
    """A label called like the source calls it; lesions are known by their names unless `category` says it."""
    category = further.get("category") or ("lesion" if LESION_WORDS.search(name) else "organ")
    return Label(
        name=safe_name(name).lower(),
        value=value,
        titles={"en": name.strip()[:1].upper() + name.strip()[1:].replace("_", " ")},
        color=_COLOURS[(value - 1) % len(_COLOURS)],
        code=code,
        category=category,
        laterality=further.get("laterality"),
    )


_COLOURS = (
    "#4F9DDE",
    "#6CC08B",
    "#E8B23A",
    "#E4572E",
    "#9D6CA2",
    "#C66F4C",
    "#5FA3C7",
    "#D98B5F",
    "#8BAA45",
    "#D1495B",
)


def voxel_tasks(names: Mapping[str, int], task: str | None) -> tuple[tuple[Task, Mapping[str, tuple[int, ...]]], ...]:
    """Tasks for exclusive labels, each with the source's values of its labels.

    One organ with lesions becomes two tasks: the organ with what lies in it, and the lesions inside that organ. All
    else is one task, called `task`, or by what its labels are.

    Args:
        names: label to its value in the source.
        task: name of the one task wanted, None to choose.
    """
    lesions = {name for name in names if LESION_WORDS.search(name)}
    organs = [name for name in names if name not in lesions]
    if task is None and len(organs) == 1 and lesions:
        host = structure(organs[0], 1)
        inside = tuple(structure(name, place) for place, name in enumerate(sorted(lesions, key=names.__getitem__), 1))
        values = {label.name: (names[name],) for label, name in zip(inside, sorted(lesions, key=names.__getitem__),
                                                                   strict=True)}  # fmt: skip
        return (
            (Task(name="lesions", kind=Kind.SEGMENTATION, labels=inside, inside=f"organs.{host.name}"), values),
            (Task(name="organs", kind=Kind.SEGMENTATION, labels=(host,)), {host.name: tuple(names.values())}),
        )
    chosen = task or ("lesions" if not organs else "organs")
    ordered = sorted(names, key=names.__getitem__)
    labels = tuple(structure(name, place) for place, name in enumerate(ordered, 1))
    return (
        (
            Task(name=chosen, kind=Kind.SEGMENTATION, labels=labels),
            {label.name: (names[name],) for label, name in zip(labels, ordered, strict=True)},
        ),
    )
