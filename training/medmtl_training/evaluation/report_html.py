"""`report.html`: the figures of one evaluation on one page that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medmtl.task import Kind, Task
from medmtl_training.evaluation import plots
from medmtl_training.evaluation.classification import equal_mass_bins, roc_points
from medmtl_training.evaluation.overlap import bland_altman
from medmtl_training.evaluation.pictures import Picture
from medmtl_training.evaluation.summary import class_arrays, known_rows

_TEMPLATE = "report.html.j2"


def report_html(
    metrics: Mapping[str, Any],
    tasks: Sequence[Task],
    pictures: Sequence[Picture] = (),
    changes: Sequence[Picture] = (),
) -> str:
    """The page for the content of `metrics.json`.

    Args:
        metrics: what `score` gave, with `comparison` where there is one.
        tasks: of the data set.
        pictures: of the worst cases.
        changes: of the largest losses against other predictions.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"figure": figure, "estimate": estimate}
    present = [task for task in tasks if task.name in metrics["tasks"]]
    return environment.get_template(_TEMPLATE).render(
        metrics=metrics,
        tasks=present,
        plots={task.name: _plots(metrics["rows"], task) for task in present},
        pictures=pictures,
        changes=changes,
    )


def figure(value: float | None, digits: int = 3) -> str:
    """A number as text, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def estimate(found: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A figure and its interval as text: `0.912 (0.880–0.940)`."""
    if not found:
        return "–"
    value = found.get("value", found.get("mean"))
    interval = found.get("interval")
    text = figure(value, digits)
    return text if interval is None else f"{text} ({figure(interval[0], digits)} to {figure(interval[1], digits)})"


def _plots(rows: Sequence[Mapping[str, Any]], task: Task) -> list[tuple[str, str]]:
    """Titles and SVG of the plots of one task."""
    if task.is_voxel:
        return _voxel_plots(rows, task)
    if task.kind in (Kind.CLASSIFICATION, Kind.ORDINAL):
        return _class_plots(rows, task)
    return []


def _voxel_plots(rows: Sequence[Mapping[str, Any]], task: Task) -> list[tuple[str, str]]:
    cells: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for row in rows:
        for label, cell in row["tasks"].get(task.name, {}).get("labels", {}).items():
            if cell["dice"] is not None:
                cells.setdefault(label, []).append((row["case"], cell))
    if not cells:
        return []
    strips = {label: [(case, cell["dice"]) for case, cell in found] for label, found in cells.items()}
    made = [("Dice of each case", plots.strip_svg(strips))]
    for label, found in cells.items():
        points = [(case, cell["truth_ml"], cell["predicted_ml"]) for case, cell in found]
        agreement = bland_altman([point[2] for point in points], [point[1] for point in points])
        if agreement is not None:
            made.append((f"Volume of {label}", plots.bland_altman_svg(points, agreement)))
    return made


def _class_plots(rows: Sequence[Mapping[str, Any]], task: Task) -> list[tuple[str, str]]:
    known = known_rows(rows, task)
    if not known:
        return []
    truth, probabilities = class_arrays(known, task)
    curves = {}
    for index, label in enumerate(task.labels):
        positive = truth == index
        if positive.any() and not positive.all() and (len(task.labels) > 2 or index == 1):
            false, true = roc_points(positive, probabilities[:, index])
            curves[label.name] = (false.tolist(), true.tolist())
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = [
        (float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in equal_mass_bins(confidence)
    ]
    made = [("ROC", plots.roc_svg(curves))] if curves else []
    return [*made, ("Calibration", plots.reliability_svg(bins))]
