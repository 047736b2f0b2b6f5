"""`lesions`: a lesion is one connected component of the union of the lesion labels."""

from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.findings.components import components
from medmtl.findings.measurement import centroid_lps, plane_axes_mm, slice_range
from medmtl.shapes import Mask
from medmtl.task import Task

NAME = "lesions"


def view(answers: Answers) -> dict[str, Any] | None:
    """Totals and a row per lesion, the largest first."""
    task = answers.task(NAME)
    if task is None or not task.is_voxel:
        return None
    minimum = max(1, int(np.ceil(answers.minimum_lesion_ml / answers.grid.voxel_ml - 1e-9)))
    pieces, count = components(answers.any_mask(task), minimum)
    host = answers.host_mask(task)
    items = [_item(answers, task, pieces == n, n, host) for n in range(1, count + 1)]
    total = float(sum(item["ml"] for item in items))
    host_ml = answers.ml.get(task.inside) if task.inside else None
    percent = round(100.0 * total / host_ml, 3) if host_ml else None
    totals = {"count": count, "ml": round(total, 4), "host": task.inside, "percent_of_host": percent}
    return {"totals": totals, "items": items}


def _item(answers: Answers, task: Task, piece: Mask, number: int, host: Mask | None) -> dict[str, Any]:
    long_mm, short_mm = plane_axes_mm(piece, answers.grid, answers.slice_axis)
    by_label = {
        label.name: round(int((piece & answers.mask(task, label.name)).sum()) * answers.grid.voxel_ml, 4)
        for label in task.labels
    }
    return {
        "id": number,
        "ml": round(int(piece.sum()) * answers.grid.voxel_ml, 4),
        "ml_by_label": by_label,
        "long_axis_mm": round(long_mm, 2),
        "short_axis_mm": round(short_mm, 2),
        "centroid_lps_mm": [round(value, 2) for value in centroid_lps(piece, answers.grid)],
        "slice_range": list(slice_range(piece, answers.slice_axis)),
        "host": task.inside,
        "inside_host": None if host is None else round(float(host[piece].mean()), 4),
        "confidence": round(float(answers.foreground[task.name][piece].mean()), 4),
    }
