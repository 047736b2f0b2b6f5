"""`diagnose`: the main job for one case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.errors import Code, Notice, UsageError
from medmtl.findings.calibration import Calibration, scaled_probabilities
from medmtl.findings.components import keep_largest
from medmtl.findings.extent import mask_extent
from medmtl.inference.influence import guiding_structures, logits_without
from medmtl.inference.label_maps import LabelMap
from medmtl.inference.locating import Part, plan_parts
from medmtl.inference.predictor import Progress, needed_tasks, run_windows
from medmtl.pipeline.findings_json import build_findings
from medmtl.pipeline.guards import check_guards, provenance_notices
from medmtl.pipeline.model import Model
from medmtl.preparation.plan import Orientation
from medmtl.preparation.prepare import Prepared, prepare
from medmtl.result import CaseResult
from medmtl.shapes import FloatArray, ProbabilityArray
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
    parts = plan_parts(prepared, bundle.plan, model.engine, tasks, bundle.tasks)
    answers, probabilities = _answers(prepared, parts, channels, model, (request.keep_probabilities, progress))
    told = [*request.notices, *(notice for volume in channels for notice in volume.notices), *seen, *passed]
    warnings = list(dict.fromkeys(told))  # the phases of one series share what reading met
    engine = {
        **model.engine.describe(),
        "networks": model.engine.networks,
        "mirroring": list(bundle.plan.mirror),
        "overlap": bundle.plan.overlap,
        "windows_around": [name for part in parts for name in part.around],
    }
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
        channel_names=bundle.channels,
    )


def _answers(
    prepared: Prepared,
    parts: list[Part],
    channels: tuple[Volume, ...],
    model: Model,
    wishes: tuple[bool, Progress | None],
) -> tuple[Answers, dict[str, ProbabilityArray]]:
    plan = model.bundle.plan
    keep_probabilities, progress = wishes
    tasks = tuple(task for task in model.bundle.tasks if any(task in part.tasks for part in parts))
    maps: dict[str, LabelMap] = {}
    sums: dict[int, FloatArray] = {}
    for part in parts:
        own = {
            task.name: LabelMap(
                task, prepared, part.sweep, foreground=_has_lesions(task), probabilities=keep_probabilities
            )
            for task in part.tasks
            if task.is_voxel
        }
        sums |= run_windows(prepared, plan, model.engine, part.tasks, part.sweep, own, progress)
        for found in own.values():
            found.finish()
        maps |= own
    case = model.engine.case(sums, prepared.grid.voxel_ml, [task.name for task in tasks]) if sums else {}
    masks = {name: found.mask for name, found in maps.items()}
    for name in plan.keep_largest:
        if name in masks:
            masks[name] = keep_largest(masks[name])
    answers = Answers(
        tasks=tasks,
        grid=prepared.source,
        image=channels[0].array,
        images={name: volume.array for name, volume in _drawn(tasks, channels, model.bundle.channels)},
        own_grids={
            name: volume.own.grid
            for name, volume in _drawn(tasks, channels, model.bundle.channels)
            if not volume.own.grid.same_as(prepared.source)
        },
        masks=masks,
        foreground={name: found.foreground for name, found in maps.items() if found.foreground is not None},
        case={task.name: _case(task, case[task.name], model.bundle.calibration) for task in tasks if task.name in case},
        influence=_influence(model, tasks, sums, prepared.grid.voxel_ml),
        calibration=model.bundle.calibration,
        slice_axis=prepared.turn.order[2] if plan.orientation is Orientation.ACQUIRED else 2,
        planned_stack=plan.orientation is Orientation.ACQUIRED,
        minimum_lesion_ml=plan.minimum_lesion_ml,
    )
    kept = {name: found.probabilities for name, found in maps.items() if found.probabilities is not None}
    return _inside_hosts(answers), kept


def _drawn(tasks: tuple[Task, ...], channels: tuple[Volume, ...], names: tuple[str, ...]) -> list[tuple[str, Volume]]:
    """Voxel tasks that are drawn on a further channel, with it."""
    further = dict(zip(names[1:], channels[1:], strict=True))
    return [(task.name, further[task.drawn_on]) for task in tasks if task.is_voxel and task.drawn_on in further]


def _influence(
    model: Model, tasks: tuple[Task, ...], sums: Mapping[int, FloatArray], voxel_ml: float
) -> dict[str, dict[str, float]]:
    """Task of classes to {structure: what its class gains in probability from what was read inside the structure}."""
    structures = guiding_structures(model.bundle.tasks, model.bundle.plan)
    found = {}
    for task in tasks:
        if sums and task.kind in (Kind.CLASSIFICATION, Kind.ORDINAL):
            logits = model.engine.case(sums, voxel_ml, [task.name])[task.name]
            bare = logits_without(model.engine, sums, voxel_ml, task.name, structures)
            whole = _case(task, logits, model.bundle.calibration)
            best = int(whole.argmax())
            parts = {name: _case(task, row, model.bundle.calibration) for name, row in bare.items()}
            found[task.name] = {name: float(whole[best] - part[best]) for name, part in parts.items()}
    return found


def _inside_hosts(answers: Answers) -> Answers:
    """Lesion voxels only where a structure of their host's task lies: what is outside the organs is none of theirs."""
    for task in answers.tasks:
        host_task = answers.task(task.host_task) if task.host_task else None
        if host_task is not None and task.kind is Kind.SEGMENTATION:
            whole = answers.masks[task.name]
            held = mask_extent(whole > 0)
            if held.voxels:
                hosts = answers.cropped(held.box).any_mask(host_task)
                np.multiply(whole[held.box], hosts, out=whole[held.box])
    return answers


def _has_lesions(task: Task) -> bool:
    return any(label.category == "lesion" for label in task.labels)


def _case(task: Task, logits: FloatArray, calibration: Calibration) -> FloatArray:
    if task.kind is Kind.REGRESSION:
        return logits
    if task.kind is Kind.MULTILABEL:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    known = calibration.classes.get(task.name)
    return scaled_probabilities(logits, 1.0 if known is None else known.temperature)
