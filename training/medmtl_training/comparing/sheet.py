"""What the joint training cost against its single-task twins: weights, seconds, memory, time to the same loss."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmtl_training.comparing.variants import Variant, curves
from medmtl_training.costs import step_costs
from medmtl_training.run import RunRequest


def cost_sheet(request: RunRequest, twins: Sequence[Variant]) -> dict[str, Any]:
    """Costs of the joint network and of each twin; `sum` is over the twins.

    Seconds are medians of the measured steps; memory is counted for a step, not measured; `seconds_to_loss` is, for
    each task, when the mean training loss first came down to what the worse of the two trainings ended with.
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
    reached = {
        variant.task: _race(request, variant.request, variant.task) for variant in twins if variant.task is not None
    }
    return {"joint": joint, "twins": each, "sum": total, "seconds_to_loss": reached}


def _costs(request: RunRequest) -> dict[str, Any]:
    tasks = tuple(task for task in request.dataset.tasks if not request.only or task.name in request.only)
    settings = request.config.settings
    costs = step_costs(request.config.plan, tasks, len(request.dataset.channels), settings.batch)
    paces = [pace for path in curves(request.folder, request.folds) for pace, _ in _rows(path, "")]
    return {
        "parameters": costs.parameters,
        "memory_bytes": costs.memory_bytes,
        "gflop_per_step": costs.gflop,
        "seconds_per_step": statistics.median(paces) if paces else None,
    }


def _race(joint: RunRequest, twin: RunRequest, task: str) -> dict[str, float | None]:
    """Seconds until either training had a task's loss down to the worse of their last ones, over the folds' mean."""
    both = [[_rows(path, task) for path in curves(request.folder, request.folds)] for request in (joint, twin)]
    ends = [rows[-1][1] for runs in both for rows in runs if rows]
    if not ends:
        return {"joint": None, "twin": None}
    target = max(loss for loss in ends if loss is not None) if any(loss is not None for loss in ends) else None
    return {name: _reached(runs, target) for name, runs in zip(("joint", "twin"), both, strict=True)}


def _reached(runs: list[list[tuple[float, float | None]]], target: float | None) -> float | None:
    times = []
    for rows in runs:
        passed = 0.0
        for seconds, loss in rows:
            passed += seconds
            if target is not None and loss is not None and loss <= target:
                times.append(passed)
                break
    return statistics.fmean(times) if times else None


def _rows(path: Path, task: str) -> list[tuple[float, float | None]]:
    """Seconds and a task's loss of each row of `curves.csv`; a step's seconds where no task is named."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found, before = [], 0
    for row in rows:
        steps, before = int(row["step"]) - before, int(row["step"])
        loss = row.get(f"loss_{task}") or None
        pace = float(row["seconds_per_step"])
        found.append((pace * steps if task else pace, float(loss) if loss else None))
    return found
