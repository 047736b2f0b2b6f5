"""The content of `findings.json`, from the answers of one case. No names and no times."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.bundle.bundle import Bundle
from medmtl.errors import Notice
from medmtl.pipeline.checks import derived_value, run_checks, trust
from medmtl.task import Kind, Label, Task
from medmtl.tasks import collect_views
from medmtl.volume import Volume

SCHEMA = "medmtl-findings/1"


def build_findings(
    case: str,
    bundle: Bundle,
    channels: tuple[Volume, ...],
    answers: Answers,
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """`findings.json` as plain values.

    Args:
        case: its name.
        bundle: the model.
        channels: the input volumes.
        answers: what was found.
        context: `engine` (what ran), `asked` (names of tasks), `warnings` (Notice), `allowed` (codes).
    """
    asked, warnings, allowed = context["asked"], list(context["warnings"]), list(context["allowed"])
    return {
        "schema": SCHEMA,
        "case": case,
        "research_use_only": True,
        "model": _model(bundle),
        "engine": context["engine"],
        "input": _input(channels, bundle.channels),
        **measure(answers, warnings, allowed, asked=asked, known=bundle.tasks),
        "warnings": [{"code": str(notice.code), "text": notice.text} for notice in warnings],
        "allowed": allowed,
    }


def measure(
    answers: Answers,
    warnings: list[Notice],
    allowed: list[str],
    *,
    asked: tuple[str, ...] | None = None,
    known: tuple[Task, ...] | None = None,
) -> dict[str, Any]:
    """What follows from masks and class probabilities alone: tasks, the views of them, checks and trust.

    Args:
        answers: what was found.
        warnings: of reading and guards; they lower the trust.
        allowed: codes of guards that were passed on request.
        asked: names of tasks to report, None for all that were answered.
        known: all tasks of the model, whose labels formulas may name; None where all were answered.
    """
    asked = asked if asked is not None else tuple(task.name for task in answers.tasks)
    known = known if known is not None else answers.tasks
    views = {name: view(answers) for name, view in collect_views().items()}
    reported = {name: value if _belongs(name, asked) else None for name, value in views.items()}
    reported["organs"] = [row for row in reported.get("organs") or () if row["task"] in asked]
    checks = run_checks(answers, reported.get("lesions"), asked=asked, known=known)
    return {
        "tasks": {task.name: _task(task, answers, known) for task in answers.tasks if task.name in asked},
        **reported,
        "checks": checks,
        "trust": trust(checks, answers, warnings, allowed),
    }


def _belongs(view_name: str, asked: tuple[str, ...]) -> bool:
    return view_name in asked or view_name == "organs"


def _model(bundle: Bundle) -> dict[str, Any]:
    keys = ("name", "title", "version", "sha256", "licence", "non_commercial", "synthetic", "citation")
    return {key: getattr(bundle, key) for key in keys}


def _input(channels: tuple[Volume, ...], names: tuple[str, ...]) -> dict[str, Any]:
    first = channels[0]
    body: dict[str, Any] = {
        "sha256": "-".join(volume.content_hash for volume in channels),
        "modality": first.modality,
        "shape": list(first.grid.shape),
        "spacing_mm": [round(value, 5) for value in first.grid.spacing],
        "affine_lps": first.grid.affine.tolist(),
    }
    if len(channels) > 1:
        body["channels"] = list(names)
        if any(volume.frame is not None for volume in channels):
            body["frames"] = [volume.frame for volume in channels]
        if any(volume.dicom is not None and volume.dicom.part is not None for volume in channels):
            body["parts"] = [volume.dicom.part for volume in channels if volume.dicom is not None]
    if first.dicom is not None:
        body["series_uids"] = [volume.dicom.series_uid for volume in channels if volume.dicom is not None]
    return body


def _task(task: Task, answers: Answers, known: tuple[Task, ...]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": str(task.kind),
        "title": _titles(task),
        "labels": [
            {"name": label.name, "value": label.value, "title": _titles(label), "color": label.color}
            for label in task.labels
        ],
        "values": _voxel_values(task, answers) if task.is_voxel else _case_values(task, answers),
    }
    if task.drawn_on is not None and task.is_voxel:
        body["drawn_on"] = task.drawn_on
    body["derived"] = [
        {"name": d.name, "title": _titles(d), "unit": d.unit, "value": derived_value(task, d, answers, known)}
        for d in task.derived
    ]
    return body


def _titles(item: Any) -> dict[str, str]:
    return {"en": item.title("en"), "zh": item.title("zh")}


def _voxel_values(task: Task, answers: Answers) -> dict[str, Any]:
    values = {}
    for label in task.labels:
        extent = answers.extents[f"{task.name}.{label.name}"]
        path = f"{task.name}.{label.name}"
        part = answers.cropped(extent.box) if extent.voxels else None
        mean = None
        if part is not None:
            image = part.images.get(task.name, part.image)
            mean = float(image[part.mask(task, label.name)].mean(dtype=np.float64))
        ml = answers.ml[path]
        values[label.name] = {
            "ml": round(ml, 4),
            "ml_interval": answers.calibration.interval_ml(path, ml),
            "voxels": answers.voxels[path],
            "truncated": extent.reaches_edge(answers.grid.shape, answers.cut_axes),
            "mean": None if mean is None else round(mean, 3),
        }
    return values


def _case_values(task: Task, answers: Answers) -> dict[str, Any]:
    found = answers.case[task.name]
    if task.kind is Kind.REGRESSION:
        return {"value": round(float(found[0]), 4), "unit": task.unit}
    probabilities = {label.name: round(float(p), 6) for label, p in zip(task.labels, found, strict=True)}
    if task.kind is Kind.MULTILABEL:
        return {"probabilities": probabilities, "present": [name for name, p in probabilities.items() if p >= 0.5]}
    best: Label = task.labels[int(found.argmax())]
    return {
        "class": best.name,
        "probabilities": probabilities,
        "calibrated": task.name in answers.calibration.classes,
        "prediction_set": answers.prediction_set(task),
    }
