"""Prints an evaluation's figures on all cases, and without those of one value of a column.

.venv/bin/python scripts/figures_without.py RUN/evaluation/metrics.json DATASET slice_step_mm=5

Intervals are over patients, so that two cases of one patient are one unit. A mean over all structures that were drawn
stands below, where there are several: a structure that is absent is not averaged.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.evaluation.bootstrap import Bootstrap
from medmtl_training.evaluation.report_html import estimate
from medmtl_training.evaluation.summary import case_summary, voxel_summary
from medmtl_training.model_card import figure_rows

Row = Mapping[str, Any]


def main(metrics: Path, dataset: Path, left_out: str) -> None:
    """Prints a Markdown table."""
    column, _, value = left_out.partition("=")
    rows: list[Row] = json.loads(metrics.read_text(encoding="utf-8"))["rows"]
    kept = [row for row in rows if row["columns"].get(column) != value]
    known, _ = read_dataset(dataset)
    whole, rest = figures(known, rows), figures(known, kept)
    print(f"| | all, {len(rows)} cases | without {column} {value}, {len(kept)} cases |\n|---|---|---|")
    for name, text in whole.items():
        print(f"| {name} | {text} | {rest.get(name, '–')} |")


def figures(dataset: Dataset, rows: Sequence[Row]) -> dict[str, str]:
    """Name of each figure to its value with interval, as in the model card."""
    summaries: dict[str, Any] = {}
    for task in dataset.tasks:
        held = [row for row in rows if task.name in row["tasks"]]
        if held:
            summaries[task.name] = (voxel_summary if task.is_voxel else case_summary)(held, task, Bootstrap)
    found = {}
    for line in figure_rows(summaries):
        name, text, _ = (cell.strip() for cell in line.strip("|").split("|"))
        found[name] = text
    found["mean Dice of all structures"] = mean_dice(dataset, rows)
    return found


def mean_dice(dataset: Dataset, rows: Sequence[Row]) -> str:
    """Mean over cases of a case's mean Dice of the structures that it has."""
    cells = []
    for row in rows:
        labels = [
            row["tasks"].get(task.name, {}).get("labels", {}).get(label.name, {}).get("dice")
            for task in dataset.tasks
            if task.is_voxel
            for label in task.labels
        ]
        present = [dice for dice in labels if dice is not None]
        cells += [(row["patient"], sum(present) / len(present))] if present else []
    return estimate(Bootstrap([patient for patient, _ in cells]).mean([dice for _, dice in cells]).as_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
