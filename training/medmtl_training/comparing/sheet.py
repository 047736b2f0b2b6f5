"""What the joint training cost against its single-task twins: weights, seconds, memory, time to the same Dice."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medmtl_training.comparing.variants import Variant, curves
from medmtl_training.costs import step_costs
from medmtl_training.run import RunRequest
from medmtl_training.watching import read_dice


def cost_sheet(request: RunRequest, twins: Sequence[Variant]) -> dict[str, Any]:
    """Costs of the joint network and of each twin; `sum` is over the twins.

    Seconds are medians of the measured steps; memory is counted for a step, not measured; `race` is, for each task,
    when either training first had the Dice on held-out crops (a case-level task: the mean training loss) that the worse
    of the two ended with, in seconds of training alone. Its `all` is the joint training until it had every task
    there, and all twins one after the other.
    """
    joint = _costs(request)
    each = {variant.task: _costs(variant.request) for variant in twins if variant.task is not None}
    total = {
        key: sum(found[key] for found in each.values())
        if all(found[key] is not None for found in each.values())
        else None
        for key in ("parameters", "seconds_per_step")
    }
    total["memory_bytes"] = max((found["memory_bytes"] for found in each.values()), default=None)
    race = {
        variant.task: _race(request, variant.request, variant.task) for variant in twins if variant.task is not None
    }
    return {"joint": joint, "twins": each, "sum": total, "race": {**race, "all": _together(list(race.values()))}}


def _costs(request: RunRequest) -> dict[str, Any]:
    tasks = tuple(task for task in request.dataset.tasks if not request.only or task.name in request.only)
    settings = request.config.settings
    costs = step_costs(request.config.plan, tasks, len(request.dataset.channels), settings.batch)
    paces = [pace for path in curves(request.folder, request.folds) for pace, _, _ in _rows(path, "")]
    return {
        "parameters": costs.parameters,
        "memory_bytes": costs.memory_bytes,
        "gflop_per_step": costs.gflop,
        "seconds_per_step": statistics.median(paces) if paces else None,
    }


Points = list[tuple[float, float]]
"""Seconds of training, and a figure that grows as it gets better."""


def _race(joint: RunRequest, twin: RunRequest, task: str) -> dict[str, Any]:
    """Seconds until either training had the worse of their last figures of a task, over the folds' mean."""
    both = [[_points(path, task) for path in curves(request.folder, request.folds)] for request in (joint, twin)]
    ends = [points[-1][1] for runs in both for points in runs if points]
    dice = all((path.parent / "dice.csv").exists() for path in curves(joint.folder, joint.folds)) and any(
        read_dice(path.parent, task) for path in curves(joint.folder, joint.folds)
    )
    target = min(ends, default=None)
    reached = {name: _reached(runs, target) for name, runs in zip(("joint", "twin"), both, strict=True)}
    return {"figure": "dice" if dice else "loss", "target": None if target is None else abs(target), **reached}


def _points(path: Path, task: str) -> Points:
    """Of one network: Dice at the looks at held-out crops, else losses with their sign turned."""
    paces, passed, at = _rows(path, task), 0.0, {0: 0.0}
    for seconds, _, step in paces:
        passed += seconds
        at[step] = passed
    looks = read_dice(path.parent, task)
    if looks:
        steps, times = list(at), list(at.values())
        return [(float(np.interp(step, steps, times)), dice) for step, dice in looks]
    return [(at[step], -loss) for _, loss, step in paces if loss is not None]


def _reached(runs: list[Points], target: float | None) -> float | None:
    first = [next((seconds for seconds, value in run if target is not None and value >= target), None) for run in runs]
    times = [seconds for seconds in first if seconds is not None]
    return statistics.fmean(times) if times else None


def _together(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    joint, twin = ([row[name] for row in rows] for name in ("joint", "twin"))
    return {
        "joint": max(joint) if joint and None not in joint else None,
        "twin": sum(twin) if twin and None not in twin else None,
    }


def _rows(path: Path, task: str) -> list[tuple[float, float | None, int]]:
    """Seconds of each row's steps, a task's loss and the last of the steps, from `curves.csv`.

    Where no task is named, the seconds are those of one step.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found, before = [], 0
    for row in rows:
        steps, before = int(row["step"]) - before, int(row["step"])
        loss = row.get(f"loss_{task}") or None
        pace = float(row["seconds_per_step"])
        found.append((pace * steps if task else pace, float(loss) if loss else None, before))
    return found
