"""Trains what a joint run is compared with, answers its held-out cases, and says what came out."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medmtl.task import Task
from medmtl_training.cases import Dataset
from medmtl_training.comparing.report import write_report
from medmtl_training.comparing.sheet import cost_sheet
from medmtl_training.comparing.variants import FOLDER, JOINT, Variant, trained_config, variants
from medmtl_training.comparing.verdicts import advice, affinity, judged
from medmtl_training.evaluation.compare import compare
from medmtl_training.evaluation.predictions import open_predictions
from medmtl_training.evaluation.score import ScoreSettings, score
from medmtl_training.gradients.meter import in_words, pairs, read_looks
from medmtl_training.heldout import answer_unseen
from medmtl_training.publish import write_bundle
from medmtl_training.run import RunRequest, train_run

log = logging.getLogger(__name__)

SCHEMA = "medmtl-comparison-1"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison: the joint run, its data set with images, and the tasks that are reported."""

    request: RunRequest
    dataset: Dataset
    tasks: tuple[Task, ...]


def compare_run(request: RunRequest, dataset: Dataset) -> dict[str, Any]:
    """Trains the variants of a finished run with held-out answers; writes `RUN/compare/comparison.json` and reports.

    Raises:
        TrainingError, DatasetError: a training cannot go on, or a case cannot be answered.
    """
    config = trained_config(request)
    joint = replace(request, config=config)
    shown = Comparison(
        request=joint, dataset=dataset, tasks=tuple(task for task in dataset.tasks if not task.auxiliary)
    )
    rows = {JOINT: _rows(shown, request.folder / "predictions", dataset.tasks)}
    further = variants(joint, config)
    for variant in further:
        log.info("compare: %s", variant.name)
        rows[variant.name] = _train_and_answer(shown, variant)
    body = _body(shown, further, rows)
    write_report(request.folder / FOLDER, body)
    return body


def _train_and_answer(shown: Comparison, variant: Variant) -> list[dict[str, Any]]:
    request = variant.request
    networks = train_run(request)
    tasks = shown.dataset.tasks
    if variant.task is not None:  # alone it has neither host nor partners for its formulas
        own = next(task for task in tasks if task.name == variant.task)
        tasks = (replace(own, inside=None, derived=()),)
    data = replace(shown.dataset, tasks=tasks)
    bundle = write_bundle(request.folder / "bundle", data, request.config, networks, request.hardware.device.type)
    held_out = tuple(case for case in data.cases if case.fold in request.folds)
    answers = answer_unseen(bundle, replace(data, cases=held_out), request.folder / "predictions")
    return _rows(shown, answers, tasks)


def _rows(shown: Comparison, answers: Path, tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    data = replace(shown.dataset, tasks=tasks)
    cases = [case for case in data.cases if case.fold in shown.request.folds]
    settings = ScoreSettings(by=())
    rows: list[dict[str, Any]] = score(open_predictions(answers, data), data, cases, settings)["rows"]
    return rows


def _body(shown: Comparison, further: list[Variant], rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    def against(name: str, tasks: tuple[Task, ...], *, transfer: bool = False) -> list[dict[str, Any]]:
        return judged(compare(rows[JOINT], rows[name], tasks), tasks, name, transfer=transfer)

    twins = [variant for variant in further if variant.task is not None]
    by_twin = [
        row
        for twin in twins
        for row in against(twin.name, tuple(t for t in shown.tasks if t.name == twin.task), transfer=True)
    ]
    looks = [
        found
        for fold in shown.request.folds
        for found in read_looks(shown.request.folder / f"fold_{fold}" / "gradients.csv")
    ]
    matrix = affinity(pairs(looks), [task.name for task in shown.tasks])
    layers = sorted({look.layer for look in looks})
    parts = [(variant.name, variant.fraction) for variant in further if variant.fraction < 1.0]
    return {
        "schema": SCHEMA,
        "dataset": shown.dataset.name,
        "folds": list(shown.request.folds),
        "steps": shown.request.config.settings.steps,
        "seed": shown.request.config.settings.seed,
        "weighting": shown.request.config.settings.weighting,
        "sharing": shown.request.config.plan.sharing,
        "twins": by_twin,
        "equal": against("equal", shown.tasks) if "equal" in rows else [],
        "fractions": [{"fraction": share, "rows": against(name, shown.tasks)} for name, share in parts],
        "affinity": matrix,
        "cosines": {
            layer: [{"one": p.one, "other": p.other, "cosine": p.cosine, "opposed": p.opposed, "looks": p.looks}
                    for p in pairs(looks, layer)]
            for layer in layers
        },
        "conflicts": list(in_words(looks)),
        "advice": list(advice(by_twin, matrix)),
        "costs": cost_sheet(shown.request, twins),
    }  # fmt: skip
