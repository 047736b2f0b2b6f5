"""A reader's word on a case: corrected masks and decisions to a new result, measured as the model's was."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.errors import Code, Notice
from medmtl.findings.components import components
from medmtl.findings.extent import Box, mask_extent
from medmtl.pipeline.findings_json import measure
from medmtl.pipeline.stored import Rules
from medmtl.result import CaseResult
from medmtl.shapes import FloatArray, VoxelArray
from medmtl.task import Kind, Task
from medmtl.tasks import collect_views

LESIONS = "lesions"
_Rejected = tuple[Box, VoxelArray]
"""A box of the volume and which of its voxels are a rejected lesion's."""
_MODELS_OWN = ("mean_probability", "confidence")


class Decision(StrEnum):
    """What a reader says of one finding."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"  # the model's, drawn otherwise
    ADDED = "added"  # drawn where the model has none
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Word:
    """A decision and what was said with it; `chosen` is the reader's own class."""

    decision: Decision = Decision.OPEN
    comment: str = ""
    chosen: str = ""


@dataclass(frozen=True, kw_only=True)
class Review:
    """Everything a reader said of one version of a case.

    Attributes:
        version: number of the version that it makes.
        reader: as typed.
        comment: on the whole case.
        lesions: lesion number of the version it was made from, to the word on it.
        structures: "task.label" of structures other than lesions.
        classes: case-level task to the word on it; "lesions" stands for an empty list of lesions.
    """

    version: int
    reader: str
    comment: str = ""
    lesions: Mapping[int, Word] = field(default_factory=dict)
    structures: Mapping[str, Word] = field(default_factory=dict)
    classes: Mapping[str, Word] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Revision:
    """What a review made of a case.

    Attributes:
        result: without what was rejected; its findings hold `review`.
        lesions: every lesion that is drawn, rejected ones too: an item of `findings.json` and the word on it.
        structures: every structure but lesions, to the word on it.
        classes: as in the review.
    """

    result: CaseResult
    lesions: tuple[tuple[dict[str, Any], Word], ...]
    structures: Mapping[str, Word]
    classes: Mapping[str, Word]


def revise(
    model: CaseResult, rules: Rules, drawn: Mapping[str, VoxelArray], base: Mapping[str, VoxelArray], review: Review
) -> Revision:
    """Findings of the drawn masks without what the reader rejected.

    Lesions keep the decision of the lesion of the former version that they share most voxels with. Their numbers are
    those of all drawn lesions, so that a rejected one leaves a gap and no other changes its number. Case-level
    answers stay the model's. Confidence is kept by lesions that are as the model drew them and null for others.

    Args:
        model: the model's own result.
        rules: of the model.
        drawn: maps as the reader left them, rejected findings still in them, on the model's grid.
        base: the same of the version that the review was made on.
        review: what the reader said.
    """
    answers = _answers(model, rules, drawn)
    lesions, rejected = _lesions(model, answers, base, review)
    structures = {}
    for task in model.tasks:
        if task.is_voxel and task.name != LESIONS:
            changed = changed_labels(task, drawn[task.name], model.masks[task.name])
            for label in task.labels:
                path = f"{task.name}.{label.name}"
                structures[path] = _structure(review.structures.get(path, Word()), label.name in changed)
    masks = dict(drawn)
    if rejected is not None:
        box, gone = rejected
        masks[LESIONS] = masks[LESIONS].copy(order="K")
        masks[LESIONS][(..., *box)][..., gone] = 0
    for task in model.tasks:
        names = {x.name for x in task.labels if _is(structures, f"{task.name}.{x.name}", Decision.REJECTED)}
        if names:
            masks[task.name] = _without(masks[task.name], task, names)
    revised = _answers(model, rules, masks)
    findings = measure(revised, _warnings(model), model.findings["allowed"], known=rules.tasks)
    if findings[LESIONS] is not None:
        findings[LESIONS]["items"] = [item for item, word in lesions if word.decision is not Decision.REJECTED]
    _drop_intervals(findings, model, masks)
    told = {**findings, "diagnosis": model.findings["diagnosis"], "review": _told(model, review, lesions, structures)}
    told["tasks"] = {
        name: model.findings["tasks"][name] | {"derived": body["derived"]} if name in answers.case else body
        for name, body in findings["tasks"].items()
    }
    result = replace(model, masks=masks, probabilities={}, findings={**model.findings, **told})
    return Revision(result=result, lesions=lesions, structures=structures, classes=dict(review.classes))


def changed_labels(task: Task, masks: VoxelArray, others: VoxelArray) -> frozenset[str]:
    """Names of the structures of a voxel task that hold other voxels in one map than in the other."""
    if masks is others:
        return frozenset()
    if task.kind is Kind.REGIONS:
        pairs = zip(task.labels, masks, others, strict=True)
        return frozenset(label.name for label, one, other in pairs if not np.array_equal(one, other))
    where = masks != others
    box = mask_extent(where).box
    values = {int(value) for one in (masks, others) for value in np.unique(one[box][where[box]])}
    return frozenset(label.name for label in task.labels if label.value in values)


def _drop_intervals(findings: dict[str, Any], model: CaseResult, masks: Mapping[str, VoxelArray]) -> None:
    """Intervals speak of the model's errors: what a reader drew has none."""
    changed = {
        (task.name, name)
        for task in model.tasks
        if task.is_voxel
        for name in changed_labels(task, masks[task.name], model.masks[task.name])
    }
    for task_name, name in changed:
        findings["tasks"][task_name]["values"][name]["ml_interval"] = None
    for row in findings["organs"]:
        if (row["task"], row["name"]) in changed:
            row["ml_interval"] = None
    if any(task_name == LESIONS for task_name, _ in changed):
        findings[LESIONS]["totals"]["ml_interval"] = None


def _answers(model: CaseResult, rules: Rules, masks: Mapping[str, VoxelArray]) -> Answers:
    values = {name: body["values"] for name, body in model.findings["tasks"].items()}
    channels = {task.name: model.channel_of(task.name) for task in model.tasks if task.is_voxel}
    further = {name: model.channels[number] for name, number in channels.items() if number}
    return Answers(
        tasks=model.tasks,
        grid=model.volume.grid,
        image=model.volume.array,
        images={name: volume.array for name, volume in further.items()},
        own_grids={n: v.own.grid for n, v in further.items() if not v.own.grid.same_as(model.volume.grid)},
        masks=masks,
        foreground={},
        case={task.name: _case(task, values[task.name]) for task in model.tasks if not task.is_voxel},
        calibration=rules.calibration,
        slice_axis=rules.slice_axis,
        planned_stack=rules.planned_stack,
        minimum_lesion_ml=rules.minimum_lesion_ml,
    )


def _case(task: Task, values: Mapping[str, Any]) -> FloatArray:
    if task.kind is Kind.REGRESSION:
        return np.array([values["value"]], dtype=np.float64)
    return np.array([values["probabilities"][label.name] for label in task.labels], dtype=np.float64)


def _warnings(model: CaseResult) -> list[Notice]:
    # what outputs met after the trust was judged is said, and no reason to doubt
    said = [row for row in model.findings["warnings"] if row["code"] != Code.NO_DICOM_OUTPUT]
    return [Notice(code=Code(row["code"]), text=row["text"]) for row in said]


def _lesions(
    model: CaseResult, answers: Answers, base: Mapping[str, VoxelArray], review: Review
) -> tuple[tuple[tuple[dict[str, Any], Word], ...], _Rejected | None]:
    """Every drawn lesion with the word on it, and where the rejected ones lie."""
    task = answers.task(LESIONS)
    found = collect_views()[LESIONS](answers)
    if task is None or not found or not found["items"]:
        return (), None
    minimum = max(1, int(np.ceil(answers.minimum_lesion_ml / answers.grid.voxel_ml - 1e-9)))
    versions = (answers.masks[LESIONS], base[LESIONS], model.masks[LESIONS])
    box = _hull([mask_extent(_union(masks)).box for masks in versions])
    pieces, before, original = (components(_union(masks[(..., *box)]), minimum)[0] for masks in versions)
    sizes = np.bincount(original.ravel())
    known = {item["id"]: item for item in model.findings[LESIONS]["items"]}
    rows = []
    for item in found["items"]:
        here = pieces == item["id"]
        count = int(here.sum())
        of_model, share = _most(original[here])
        is_models = of_model > 0 and share == count == int(sizes[of_model])
        word = _carried(before[here], count, review)
        if is_models and known[of_model]["ml_by_label"] == item["ml_by_label"]:
            item = {**item, **{key: known[of_model][key] for key in ("mean_probability", "confidence")}}
            if word.decision in (Decision.CORRECTED, Decision.ADDED):
                word = replace(word, decision=Decision.OPEN)
        elif word.decision is not Decision.REJECTED:
            word = replace(word, decision=Decision.CORRECTED if of_model else Decision.ADDED)
        rows.append((item, word))
    gone = [item["id"] for item, word in rows if word.decision is Decision.REJECTED]
    return tuple(rows), (box, np.isin(pieces, gone)) if gone else None


def _hull(boxes: list[Box]) -> Box:
    """The smallest box that holds all of the boxes; empty ones count for nothing."""
    held = [box for box in boxes if box[0].stop > box[0].start]
    ends = [slice(min(box[n].start for box in held), max(box[n].stop for box in held)) for n in range(3)]
    return (ends[0], ends[1], ends[2])


def _carried(before: VoxelArray, count: int, review: Review) -> Word:
    """The word on the lesion of the former version that shares most voxels; a rejection needs half of the lesion."""
    number, share = _most(before)
    word = review.lesions.get(number, Word())
    return Word(comment=word.comment) if word.decision is Decision.REJECTED and 2 * share < count else word


def _union(masks: VoxelArray) -> VoxelArray:
    return np.asarray(masks.any(axis=0) if masks.ndim == 4 else masks > 0)


def _most(numbers: VoxelArray) -> tuple[int, int]:
    """The lesion that holds most of the voxels, 0 where none does, and how many it holds."""
    counts = np.bincount(numbers[numbers > 0], minlength=1)
    return (int(counts.argmax()), int(counts.max())) if counts.any() else (0, 0)


def _structure(word: Word, changed: bool) -> Word:
    if word.decision is Decision.REJECTED:
        return word
    if changed:
        return replace(word, decision=Decision.CORRECTED)
    return replace(word, decision=Decision.OPEN) if word.decision is Decision.CORRECTED else word


def _is(structures: Mapping[str, Word], path: str, decision: Decision) -> bool:
    return path in structures and structures[path].decision is decision


def _without(masks: VoxelArray, task: Task, names: set[str]) -> VoxelArray:
    if task.kind is Kind.REGIONS:
        kept = np.array([label.name not in names for label in task.labels])
        return np.asarray(masks & kept[:, None, None, None])
    gone = [label.value for label in task.labels if label.name in names]
    return np.where(np.isin(masks, gone), 0, masks).astype(masks.dtype)


def _told(
    model: CaseResult,
    review: Review,
    lesions: tuple[tuple[dict[str, Any], Word], ...],
    structures: Mapping[str, Word],
) -> dict[str, Any]:
    """`review` of `findings.json`: who, which version, and what was decided; no times."""
    marked = (Decision.ACCEPTED, Decision.CORRECTED, Decision.ADDED, Decision.REJECTED)
    rows = {str(d): [item["id"] for item, word in lesions if word.decision is d] for d in marked}
    paths = {str(d): [path for path, word in structures.items() if word.decision is d] for d in marked}
    classes = {}
    for task in model.tasks:
        word = review.classes.get(task.name, Word())
        if not task.is_voxel and word.decision is not Decision.OPEN:
            classes[task.name] = {"decision": str(word.decision), "class": word.chosen or None}
    return {
        "version": review.version,
        "reader": review.reader,
        "comment": review.comment,
        "lesions": rows,
        "structures": {key: held for key, held in paths.items() if key != Decision.ADDED},
        "classes": classes,
    }
