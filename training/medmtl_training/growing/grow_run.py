"""Fine-tunes a run that added a task, reports what was forgotten, and promotes the result or not."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from medmtl_training.comparing.report import difference_rows, table
from medmtl_training.evaluation.predictions import open_predictions
from medmtl_training.evaluation.score import ScoreSettings, score
from medmtl_training.growing.add_task import Grown, fine_tuning
from medmtl_training.growing.promotion import Decision, Margins, decide
from medmtl_training.heldout import answer_unseen
from medmtl_training.publish import write_bundle
from medmtl_training.run import RunRequest, TrainedNetwork, train_run

_HEADER = ["task", "figure", "difference (95 % interval)", "cases", "verdict"]


def fine_tune(grown: Grown, networks: list[TrainedNetwork], name: str, margins: Margins) -> Decision:
    """Trains on in `RUN/fine_tune`; the bundle of the run is replaced only where the decision allows it.

    Writes `RUN/forgetting.md`: fine-tuned minus frozen, for every task that has held-out truth.

    Raises:
        TrainingError, DatasetError: the training cannot go on, or a case cannot be answered.
    """
    request = fine_tuning(grown, networks, name)
    tuned = train_run(request)
    device = request.hardware.device.type
    bundle = write_bundle(request.folder / "bundle", grown.dataset, request.config, tuned, device)
    held_out = tuple(case for case in grown.dataset.cases if case.fold in request.folds)
    answers = answer_unseen(bundle, replace(grown.dataset, cases=held_out), request.folder / "predictions")
    rows = [_rows(grown, request, folder) for folder in (answers, grown.request.folder / "predictions")]
    decision = decide(rows[0], rows[1], grown.dataset.tasks, margins)
    report = "\n".join(forgetting_report(decision))
    (grown.request.folder / "forgetting.md").write_text(report + "\n", encoding="utf-8")
    if decision.promoted:
        shutil.rmtree(grown.request.folder / "bundle")
        shutil.copytree(request.folder / "bundle", grown.request.folder / "bundle")
    return decision


def forgetting_report(decision: Decision) -> Iterator[str]:
    """Lines of markdown."""
    yield "# What fine-tuning changed"
    yield "Fine-tuned minus frozen, on held-out cases. Frozen, old tasks answer as in the model before, to the bit."
    yield ""
    yield from table(_HEADER, difference_rows(decision.rows))
    yield ""
    yield "Promoted." if decision.promoted else "Not promoted: the bundle of the run is the frozen one."
    for reason in decision.reasons:
        yield f"- {reason}"


def _rows(grown: Grown, request: RunRequest, answers: Any) -> list[dict[str, Any]]:
    cases = [case for case in grown.dataset.cases if case.fold in request.folds]
    found = score(open_predictions(answers, grown.dataset), grown.dataset, cases, ScoreSettings(by=()))
    rows: list[dict[str, Any]] = found["rows"]
    return rows
