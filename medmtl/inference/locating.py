"""Where the organs of a model lie: a first look at the whole field of view, then windows around them alone.

A structure in the middle of its window is seen with all its surroundings, and the rest of the chest costs one pass of
one network. What is looked at follows from the model and the image, never from the tasks that a call asks for.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod

import numpy as np

from medmtl.findings.components import components
from medmtl.findings.extent import mask_extent
from medmtl.inference.engine import Engine
from medmtl.inference.predictor import Sweep, plan_sweep
from medmtl.inference.windows import Box, axis_starts, body_box, padding, widened
from medmtl.preparation.plan import Plan
from medmtl.preparation.prepare import Prepared
from medmtl.shapes import Mask, Shape
from medmtl.task import Kind, Task

_CANDIDATE = 0.5  # of the largest piece's voxels; which of several is the organ is for the full passes to say


@dataclass(frozen=True, kw_only=True)
class Part:
    """Tasks that are answered from the same windows.

    Attributes:
        tasks: the asked ones among them.
        sweep: the windows.
        around: the organs' tasks that the windows lie around; empty where the whole field of view is looked at.
    """

    tasks: tuple[Task, ...]
    sweep: Sweep
    around: tuple[str, ...] = ()


def plan_parts(
    prepared: Prepared, plan: Plan, engine: Engine, asked: tuple[Task, ...], tasks: tuple[Task, ...]
) -> list[Part]:
    """The windows for the asked ones of the model's `tasks`: around the organs where that is enough and they are found.

    Args:
        prepared: the case.
        plan: of the model.
        engine: what runs the networks.
        asked: what is to be answered.
        tasks: all of the model.
    """
    organs = organ_tasks(tasks, plan)
    near = answered_near(tasks, plan)
    close = tuple(task for task in asked if task.name in near)
    rest = tuple(task for task in asked if task.name not in near)
    box = locate(prepared, plan, engine, organs) if close else None
    if box is None:
        return [Part(tasks=asked, sweep=plan_sweep(prepared.image, plan))]
    names = tuple(task.name for task in organs)
    parts = [Part(tasks=close, sweep=plan_sweep(prepared.image, plan, box), around=names)]
    return parts + ([Part(tasks=rest, sweep=plan_sweep(prepared.image, plan))] if rest else [])


def organ_tasks(tasks: Sequence[Task], plan: Plan) -> tuple[Task, ...]:
    """Tasks of organs that are one piece each: what can be searched for; none where the plan says not to."""
    return tuple(
        task
        for task in tasks
        if plan.locate
        and task.is_voxel
        and task.name in plan.keep_largest
        and not any(label.category == "lesion" for label in task.labels)
    )


def answered_near(tasks: Sequence[Task], plan: Plan) -> frozenset[str]:
    """Names of the tasks whose answers lie in the organs: these, lesions in them, and classes that only they guide."""
    organs = {task.name for task in organ_tasks(tasks, plan)}
    near = organs | {task.name for task in tasks if task.is_voxel and task.host_task in organs}
    guides = {task.name for task in tasks if task.is_voxel and (not plan.guides or task.name in plan.guides)}
    if organs and guides and guides <= near:
        near |= {task.name for task in tasks if not task.is_voxel}
    return frozenset(near)


def locate(prepared: Prepared, plan: Plan, engine: Engine, organs: Sequence[Task]) -> Box | None:
    """The part of the working grid that holds the organs and a margin of one coarse voxel, a window at least.

    One unmirrored pass of the first network looks at the whole field of view in windows that do not overlap. For each
    task the largest piece above one half counts, and others of half its size. Tasks that name the same structures are
    one organ seen twice, as in two phases of a heart: the piece with the most voxels of all of them is it.

    Returns:
        None where the field of view is one window anyway, or the first look finds some task nowhere.
    """
    whole = body_box(prepared.image, plan)
    starts, image = _tiles(prepared, plan, whole)
    if not organs or len(plan_sweep(prepared.image, plan).windows()) == 1:
        return None
    names = [task.name for task in organs]
    weight = np.ones(plan.patch, dtype=np.float32)
    seen: dict[str, Mask] = {name: np.zeros(image.shape[1:], dtype=np.bool_) for name in names}

    def look(start: Shape) -> None:
        where = tuple(slice(first, first + size) for first, size in zip(start, plan.patch, strict=True))
        answer = engine.run(image[(slice(None), *where)], weight, names, 0)
        for task in organs:
            p = answer.dense[task.name]
            found = p[0] <= 0.5 if task.kind is Kind.SEGMENTATION else (p >= 0.5).any(axis=0)
            seen[task.name][where] |= found

    with ThreadPoolExecutor(engine.workers) as pool:
        list(pool.map(look, starts))
    if not all(mask.any() for mask in seen.values()):
        return None
    held = [_candidates([seen[task.name] for task in group]) for group in _same_organ(organs)]
    margin = [prod(stride[axis] for stride in plan.strides[: plan.coarse_level + 1]) for axis in range(3)]
    box = []
    for axis, (first, end) in enumerate(whole):
        offset = first - padding(_shape(whole), plan.patch)[axis][0]
        low = min(part[axis].start for part in held) + offset - margin[axis]
        high = max(part[axis].stop for part in held) + offset + margin[axis]
        box.append(widened((max(first, low), min(end, high)), plan.patch[axis], (first, end)))
    return (box[0], box[1], box[2])


def first_look_passes(prepared: Prepared, plan: Plan) -> int:
    """How many passes of a window `locate` takes."""
    return len(_tiles(prepared, plan, body_box(prepared.image, plan))[0])


def _tiles(prepared: Prepared, plan: Plan, whole: Box) -> tuple[list[Shape], np.ndarray]:
    image = prepared.image[(slice(None), *(slice(*span) for span in whole))]
    margins = padding(_shape(whole), plan.patch)
    image = np.pad(image, ((0, 0), *margins)) if np.any(margins) else image
    rows = [axis_starts(size, extent, 0.0) for size, extent in zip(image.shape[1:], plan.patch, strict=True)]
    return [(i, j, k) for i in rows[0] for j in rows[1] for k in rows[2]], image


def _shape(box: Box) -> Shape:
    i, j, k = (end - first for first, end in box)
    return (i, j, k)


def _same_organ(organs: Sequence[Task]) -> list[list[Task]]:
    """Tasks by what they outline: those with a label of one name belong together."""
    groups: list[list[Task]] = []
    for task in organs:
        named = {label.name for label in task.labels}
        mine = [group for group in groups if any(named & {label.name for label in one.labels} for one in group)]
        groups = [group for group in groups if group not in mine] + [[one for group in mine for one in group] + [task]]
    return groups


def _candidates(seen: Sequence[Mask]) -> tuple[slice, slice, slice]:
    """The box of what may be the organ, from the masks of the tasks that outline it."""
    union = np.logical_or.reduce(seen)
    pieces, count = components(union)
    sizes = np.sum([np.bincount(pieces[mask], minlength=count + 1)[1:] for mask in seen], axis=0)
    kept = sizes >= _CANDIDATE * sizes.max() if len(seen) == 1 else sizes == sizes.max()
    return mask_extent(np.concatenate([[False], kept])[pieces]).box
