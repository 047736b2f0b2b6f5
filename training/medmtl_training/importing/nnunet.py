"""nnU-Net's raw format: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, `splits_final.json`.

Region classes become a task of kind `regions`, the ignore label the value 255.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medmtl.errors import Code, DatasetError, UsageError
from medmtl.task import Kind, Task
from medmtl_training.importing.draft import (
    CaseDraft,
    ImportOptions,
    SetDraft,
    modality_of,
    safe_name,
    structure,
    voxel_tasks,
)
from medmtl_training.importing.writing import copy_image, masks_of_values, write_labels

IGNORE = "ignore"
_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """How a source's label maps become tasks.

    Attributes:
        tasks: each with the integers of its labels.
        known: every integer the source declares, 0 among them.
        ignored: the integer that is neither trained on nor scored, None where there is none.
    """

    tasks: tuple[tuple[Task, Mapping[str, tuple[int, ...]]], ...]
    known: frozenset[int]
    ignored: int | None = None

    def write(self, path: Path, folder: Path, case: str) -> None:
        """The label map at `path` as the tasks' own files under `folder`."""
        for task, values in self.tasks:
            found, array, grid = masks_of_values(path, values, self.known)
            write_labels(folder, case, task, found, None if self.ignored is None else array == self.ignored, grid)


def draft_of_nnunet(source: Path, options: ImportOptions) -> SetDraft:
    """The set in an nnU-Net raw folder.

    Raises:
        UsageError, DatasetError: `dataset.json` or the splits cannot be used.
    """
    head = read_json(source / "dataset.json")
    channels = head.get("channel_names") or head.get("modality")
    if not isinstance(channels, dict) or not isinstance(head.get("labels"), dict):
        raise bad_source("dataset.json lacks channel_names or labels")
    names = tuple(safe_name(str(channels[key])) for key in sorted(channels, key=int))
    rule = label_rule(head["labels"], options.task)
    ending = str(head.get("file_ending") or ".nii.gz")
    if ending not in _ENDINGS:
        raise bad_source(f"the images are {ending}, not NIfTI", "convert them to .nii.gz")
    draft = SetDraft(
        name=options.name or safe_name(re.sub(r"^Dataset\d+_", "", source.resolve().name)),
        modality=modality_of(options, [str(name) for name in channels.values()]),
        channels=_different(names),
        tasks=tuple(task for task, _ in rule.tasks),
        cases=(),
        licence=str(head.get("licence") or head.get("license") or ""),
        citation=str(head.get("reference") or ""),
        description=str(head.get("description") or ""),
        notices=_notices(head["labels"], rule),
    )
    files = case_files(source / "imagesTr", (ending,))
    folds, notices = _splits(source, options)
    draft = replace(draft, notices=(*draft.notices, *notices))
    return draft_of_files(draft, files, options, rule=rule, masks=source / "labelsTr", folds=folds)


def draft_of_files(
    draft: SetDraft,
    files: Mapping[str, Sequence[Path]],
    options: ImportOptions,
    *,
    rule: LabelRule | None = None,
    masks: Path | None = None,
    folds: Mapping[str, int] | None = None,
) -> SetDraft:
    """`draft` with a case for each entry of `files`, and their label maps from `masks`."""
    masks = masks or options.masks
    if rule is None and masks is not None:
        rule = LabelRule(tasks=voxel_tasks({"structure": 1}, options.task), known=frozenset({0, 1}))
        draft = replace(draft, tasks=(*(task for task, _ in rule.tasks), *draft.tasks))
    cases = []
    for name, paths in sorted(files.items()):
        label = (
            next((masks / f"{name}{e}" for e in _ENDINGS if (masks / f"{name}{e}").is_file()), None) if masks else None
        )
        write = _writer(name, tuple(paths), len(draft.channels), label, rule)
        cases.append(CaseDraft(name=name, write=write, fold=(folds or {}).get(name)))
    return replace(draft, cases=tuple(cases))


def case_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Case name to its images in channel order: NAME_0000, NAME_0001 ..., or NAME alone."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        ending = next((ending for ending in endings if path.name.endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        stem = path.name[: -len(ending)]
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        name, channel = (match[1], int(match[2])) if match else (stem, 0)
        found.setdefault(safe_name(name), {})[channel] = path
    return {name: [paths[channel] for channel in sorted(paths)] for name, paths in found.items()}


def _writer(
    name: str, images: tuple[Path, ...], channels: int, label: Path | None, rule: LabelRule | None
) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        if len(images) != channels:
            what = f"the case has {len(images)} images, the set {channels} channels"
            raise DatasetError(Code.CHANNEL_MISSING, what, "complete the source")
        for index, path in enumerate(images):
            suffix = f"_{index:04d}" if channels > 1 else ""
            copy_image(path, folder / "images" / f"{name}{suffix}.nii.gz")
        if label is not None and rule is not None:
            rule.write(label, folder, name)

    return write


def label_rule(labels: Mapping[str, Any], task: str | None) -> LabelRule:
    """How the label maps that `dataset.json` declares become tasks; one task called `task` where that is given.

    Raises:
        DatasetError: nothing but background is declared.
    """
    values: dict[str, tuple[int, ...]] = {}
    ignored = None
    for name, value in labels.items():
        integers = tuple(int(n) for n in value) if isinstance(value, list) else (int(value),)
        if name.lower() == IGNORE:
            ignored = integers[0]
        elif integers != (0,):
            values[name] = integers
    if not values:
        raise bad_source("dataset.json declares no label but background")
    known = frozenset({0, *(n for integers in values.values() for n in integers)}) | (
        frozenset() if ignored is None else frozenset({ignored})
    )
    if any(len(integers) > 1 for integers in values.values()):
        regions = tuple(structure(name, place) for place, name in enumerate(values, 1))
        if any(label.category == "lesion" for label in regions):  # what overlaps a lesion is a part of it
            regions = tuple(replace(label, category="lesion") for label in regions)
        chosen = task or ("lesions" if any(label.category == "lesion" for label in regions) else "organs")
        integers_of = {label.name: values[name] for label, name in zip(regions, values, strict=True)}
        made = Task(name=chosen, kind=Kind.REGIONS, labels=regions)
        return LabelRule(tasks=((made, integers_of),), known=known, ignored=ignored)
    exclusive = {name: integers[0] for name, integers in values.items()}
    return LabelRule(tasks=voxel_tasks(exclusive, task), known=known, ignored=ignored)


def _notices(labels: Mapping[str, Any], rule: LabelRule) -> tuple[str, ...]:
    said = []
    if len(rule.tasks) == 2:
        host = rule.tasks[1][0].labels[0].name
        said.append(f"{host} now includes the lesions in it, which are a task of their own; --task keeps one map")
    if rule.ignored is not None:
        said.append(f"label {rule.ignored} is ignored (255)")
    return tuple(said)


def _splits(source: Path, options: ImportOptions) -> tuple[dict[str, int], list[str]]:
    """Case to the split that holds it out. nnU-Net keeps the file beside the preprocessed data."""
    places = [options.splits] if options.splits else [
        source / "splits_final.json",
        source.parent.parent / "nnUNet_preprocessed" / source.name / "splits_final.json",
    ]  # fmt: skip
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        if options.splits:
            raise UsageError(Code.NOT_FOUND, "there is no splits file of that name", "check --splits")
        return {}, ["no splits_final.json: cases are dealt into five folds"]
    splits = read_json(path)
    if not isinstance(splits, list) or not all(isinstance(split, dict) and "val" in split for split in splits):
        raise bad_source("splits_final.json is no list of train and val")
    folds: dict[str, int] = {}
    doubled = 0
    for number, split in enumerate(splits):
        for name in split["val"]:
            doubled += safe_name(str(name)) in folds
            folds.setdefault(safe_name(str(name)), number)
    return folds, [f"{doubled} cases are held out by two splits: the first is taken"] if doubled else []


def _different(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names))


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        DatasetError: `bad-dataset`.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise bad_source(f"{path.name} is missing or no JSON") from None


def bad_source(what: str, todo: str = "correct the source, or name its make with --format") -> DatasetError:
    """The refusal of a source that is not what it should be."""
    return DatasetError(Code.BAD_DATASET, what, todo)
