"""`lesions`: a lesion is one connected component of the union of the lesion labels."""

from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.findings.calibration import UNION
from medmtl.findings.components import components
from medmtl.findings.extent import Box, label_extents, mask_extent
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
    held = mask_extent(answers.any_mask(task))
    pieces, _ = components(answers.any_mask(task)[held.box], minimum)
    items = []
    for number, extent in sorted(label_extents(pieces).items()):
        i, j, k = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(held.box, extent.box, strict=True))
        items.append(_item(answers.cropped((i, j, k)), task, pieces[extent.box] == number, number, (i, j, k)))
    total = float(sum(item["ml"] for item in items))
    host_ml = answers.ml.get(task.inside) if task.inside else None
    percent = round(100.0 * total / host_ml, 3) if host_ml else None
    whole = f"{task.name}.{task.labels[0].name if len(task.labels) == 1 else UNION}"
    totals = {
        "count": len(items),
        "ml": round(total, 4),
        "ml_interval": answers.calibration.interval_ml(whole, total),
        "host": task.inside,
        "percent_of_host": percent,
        "confidence_calibrated": task.name in answers.calibration.lesions,
    }
    return {"totals": totals, "items": items}


def _item(answers: Answers, task: Task, piece: Mask, number: int, box: Box) -> dict[str, Any]:
    """A row for the lesion `piece`, all that `answers` holds of the box around it."""
    host = answers.host_mask(task)
    first = box[answers.slice_axis].start
    long_mm, short_mm = plane_axes_mm(piece, answers.grid, answers.slice_axis)
    by_label = {
        label.name: round(int((piece & answers.mask(task, label.name)).sum()) * answers.grid.voxel_ml, 4)
        for label in task.labels
    }
    foreground = answers.foreground.get(task.name)
    ml = int(piece.sum()) * answers.grid.voxel_ml
    mean = None if foreground is None else float(foreground[piece].mean(dtype=np.float64))
    known = answers.calibration.lesions.get(task.name)
    confidence = mean if known is None or mean is None else known.confidence(mean, ml)
    return {
        "id": number,
        "ml": round(ml, 4),
        "ml_by_label": by_label,
        "long_axis_mm": round(long_mm, 2),
        "short_axis_mm": round(short_mm, 2),
        "centroid_lps_mm": [round(value, 2) for value in centroid_lps(piece, answers.grid)],
        "slice_range": [first + index for index in slice_range(piece, answers.slice_axis)],
        "host": task.inside,
        "inside_host": None if host is None else round(float(host[piece].mean()), 4),
        "mean_probability": None if mean is None else round(mean, 4),
        "confidence": None if confidence is None else round(confidence, 4),
    }
