"""`diagnose`: the main job for one case."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.errors import Code, Notice, UsageError
from medmtl.findings.components import keep_largest
from medmtl.inference.predictor import Prediction, Progress, needed_tasks, predict
from medmtl.pipeline.findings_json import build_findings
from medmtl.pipeline.guards import check_guards, provenance_notices
from medmtl.pipeline.model import Model
from medmtl.preparation.plan import Orientation
from medmtl.preparation.prepare import Prepared, prepare
from medmtl.result import CaseResult
from medmtl.shapes import FloatArray, ProbabilityArray, VoxelArray
from medmtl.task import Kind, Task
from medmtl.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted for a case.

    Attributes:
        tasks: names of tasks; None asks all that the model answers.
        allowed: guards to pass, by code.
        keep_probabilities: whether maps of probabilities are kept for writing.
        notices: warnings met before, on choosing the series say.
    """

    tasks: tuple[str, ...] | None = None
    allowed: tuple[str, ...] = ()
    keep_probabilities: bool = False
    notices: tuple[Notice, ...] = field(default=())


def diagnose(
    case: str, channels: tuple[Volume, ...], model: Model, request: Request, progress: Progress | None = None
) -> CaseResult:
    """Lesions, organs and diagnosis of one case, on its own voxels.

    Raises:
        UsageError: `unknown-task`.
        GuardError: the study does not fit the model.
        StudyError: channels that do not belong together, or an image of one value.
    """
    bundle = model.bundle
    asked = request.tasks if request.tasks is not None else bundle.task_names
    unknown = [name for name in asked if name not in bundle.task_names]
    if unknown:
        what = f"the model {bundle.name} has no task {', '.join(unknown)}"
        raise UsageError(Code.UNKNOWN_TASK, what, f"choose from {', '.join(bundle.task_names)}")
    if len(channels) != len(bundle.channels):
        what = f"the model {bundle.name} reads {len(bundle.channels)} channels, this case has {len(channels)}"
        raise UsageError(Code.CHANNEL_MISSING, what, f"give {', '.join(bundle.channels)} as NAME_0000, NAME_0001 ...")
    passed = check_guards(channels[0], bundle, request.allowed)
    seen = provenance_notices(channels, bundle)
    needed = needed_tasks(asked, bundle.tasks)
    tasks = tuple(task for task in bundle.tasks if task.name in needed)
    prepared = prepare(channels, bundle.plan)
    prediction = predict(prepared, bundle.plan, model.engine, tasks, progress)
    answers, probabilities = _answers(prepared, prediction, tasks, channels[0], model)
    warnings = [*request.notices, *(notice for volume in channels for notice in volume.notices), *seen, *passed]
    engine = {**model.engine.describe(), "mirroring": list(bundle.plan.mirror)}
    context: Mapping[str, Any] = {
        "engine": engine,
        "asked": tuple(task.name for task in tasks if task.name in asked),
        "warnings": warnings,
        "allowed": [notice.code for notice in passed],
    }
    reported = tuple(task for task in tasks if task.name in asked)
    return CaseResult(
        case=case,
        channels=channels,
        tasks=reported,
        masks={name: found for name, found in answers.masks.items() if name in asked},
        probabilities={name: p for name, p in probabilities.items() if name in asked and request.keep_probabilities},
        findings=build_findings(case, bundle, channels, answers, context),
    )


def _answers(
    prepared: Prepared, prediction: Prediction, tasks: tuple[Task, ...], volume: Volume, model: Model
) -> tuple[Answers, dict[str, ProbabilityArray]]:
    plan = model.bundle.plan
    probabilities = {
        name: np.stack([prepared.back(channel) for channel in found]) for name, found in prediction.dense.items()
    }
    masks = {task.name: _mask(task, probabilities[task.name]) for task in tasks if task.is_voxel}
    for name in plan.keep_largest:
        if name in masks:
            masks[name] = keep_largest(masks[name])
    answers = Answers(
        tasks=tasks,
        grid=prepared.source,
        image=volume.array,
        masks=masks,
        foreground={task.name: _foreground(task, probabilities[task.name]) for task in tasks if task.is_voxel},
        case={
            task.name: _case(task, prediction.case[task.name], model.bundle.calibration.get(task.name, {}))
            for task in tasks
            if task.name in prediction.case
        },
        calibrated=frozenset(name for name, row in model.bundle.calibration.items() if row),
        slice_axis=prepared.turn.order[2] if plan.orientation is Orientation.ACQUIRED else 2,
        planned_stack=plan.orientation is Orientation.ACQUIRED,
        minimum_lesion_ml=plan.minimum_lesion_ml,
    )
    return _inside_hosts(answers), probabilities


def _inside_hosts(answers: Answers) -> Answers:
    """Lesion voxels only where a structure of their host's task lies: what is outside the organs is none of theirs."""
    masks = dict(answers.masks)
    for task in answers.tasks:
        host_task = answers.task(task.host_task) if task.host_task else None
        if host_task is None or task.kind is not Kind.SEGMENTATION:
            continue
        masks[task.name] = np.where(answers.any_mask(host_task), masks[task.name], 0).astype(np.uint8)
    return replace(answers, masks=masks)


def _mask(task: Task, probabilities: ProbabilityArray) -> VoxelArray:
    if task.kind is Kind.REGIONS:
        return probabilities >= 0.5
    values = np.array([0, *(label.value for label in task.labels)], dtype=np.uint8)
    return values[probabilities.argmax(axis=0)]


def _foreground(task: Task, probabilities: ProbabilityArray) -> VoxelArray:
    if task.kind is Kind.REGIONS:
        return np.asarray(probabilities.max(axis=0))
    return np.asarray(1.0 - probabilities[0])


def _case(task: Task, logits: FloatArray, calibration: Mapping[str, float]) -> FloatArray:
    if task.kind is Kind.REGRESSION:
        return logits
    scaled = logits / calibration.get("temperature", 1.0)
    if task.kind is Kind.MULTILABEL:
        return np.asarray(1.0 / (1.0 + np.exp(-scaled)))
    share = np.exp(scaled - scaled.max())
    return np.asarray(share / share.sum())
