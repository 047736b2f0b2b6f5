"""Makes docs/results.md from the `metrics.json` of the shipped models.

.venv/bin/python scripts/make_results_doc.py
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.bundle.catalogue import shipped_folder
from medmtl_training.evaluation.report_html import estimate, figure
from medmtl_training.model_card import figure_rows

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Results

Made by `scripts/make_results_doc.py` from the `metrics.json` of the shipped models. Every figure is on cases that the
answering network did not see, through `medmtl predict` at its defaults; intervals are 95 %, by bootstrap over patients.
An absent structure has no Dice; what was found there is given in mL ("where none is"). No figure here holds for other
hospitals.
"""
LEAST = 4  # cases of a group that get a column


def main() -> None:
    """Writes the page."""
    parts = [HEAD]
    for path in sorted(shipped_folder().glob("*/metrics.json")):
        parts.append(section(read_bundle(path.parent), json.loads(path.read_text(encoding="utf-8"))))
    (ROOT / "docs" / "results.md").write_text("\n".join(parts), encoding="utf-8")


def section(bundle: Bundle, metrics: Mapping[str, Any]) -> str:
    """Tables of one model: all held-out cases, then by the columns of its table of cases."""
    settings, networks = bundle.training["settings"], bundle.training["networks"]
    lines = [
        f"## {bundle.name} {bundle.version}",
        "",
        f"{bundle.title}. {metrics['cases']} held-out cases of {metrics['patients']} patients, folds "
        f"{', '.join(str(fold) for fold in metrics['folds'])}. Each network: {settings['steps']} steps of "
        f"{settings['batch']} crops on {bundle.training['device']}, seed {settings['seed']}, weighting "
        f"{settings['weighting']}, {', '.join(str(row['cases']) for row in networks)} training cases.",
        "",
        "```",
        f"medmtl train DATASET -o RUN --config training/configs/{bundle.name}.yaml --folds "
        f"{','.join(str(fold) for fold in metrics['folds'])}",
        "medmtl evaluate RUN DATASET --folds 0",
        "```",
        "",
        *structures(metrics["tasks"]),
        *derived(metrics["tasks"]),
        *cases(metrics["tasks"]),
    ]
    for column, groups in metrics["subgroups"].items():
        shown = {name: group for name, group in groups.items() if group["cases"] >= LEAST}
        if len(groups) > 1 and shown:
            lines += ["", f"### By {column.replace('_', ' ')}", "", *by_group(shown)]
            few = [f"{name} ({group['cases']})" for name, group in groups.items() if name not in shown]
            lines += ["", f"Too few cases for a column: {', '.join(few)}."] if few else []
    return "\n".join(lines) + "\n"


def structures(tasks: Mapping[str, Any]) -> list[str]:
    """A row per structure: overlap, surface, volume."""
    head = ["", "Dice", "NSD at 2 mm", "HD95 mm", "volume error, median", "inside its interval", "n", "where none is"]
    rows = [_row(head), _row(["---"] * len(head))]
    for task, summary in tasks.items():
        for name, label in summary.get("labels", {}).items():
            error, empty = label["error_percent"]["median"], label["n_empty_truth"]
            cells = [
                f"{task}.{name}",
                *(estimate(label[key]) for key in ("dice", "nsd")),
                estimate(label["hd95_mm"], 1),
                "–" if error is None else f"{error:.1f} %",
                estimate(label.get("interval_coverage")),
                str(label["n"]),
                f"{figure(label['false_ml']['mean'], 2)} mL, n {empty}" if empty else "–",
            ]
            rows.append(_row(cells))
    return rows if len(rows) > 2 else []


def derived(tasks: Mapping[str, Any]) -> list[str]:
    """A row per derived value: ejection fractions, masses, shares."""
    head = ["", "absolute error, mean", "median", "correlation", "bias (limits of agreement)", "n", "not found"]
    rows = []
    for task, summary in tasks.items():
        for name, value in summary.get("derived", {}).items():
            unit, agreement = value["unit"], value["agreement"]
            limits = "–"
            if agreement:
                limits = " to ".join(figure(agreement[key], 1) for key in ("lower", "upper"))
                limits = f"{figure(agreement['bias'], 1)} ({limits}) {unit}"
            errors = [f"{estimate(value[key], 1)} {unit}" for key in ("mean_absolute_error", "median_absolute_error")]
            counts = [str(value["n"]), str(value["not_found"])]
            rows.append(_row([f"{task}.{name}", *errors, estimate(value["correlation"]), limits, *counts]))
    return ["", _row(head), _row(["---"] * len(head)), *rows] if rows else []


def cases(tasks: Mapping[str, Any]) -> list[str]:
    """Figures of the case-level tasks, with their baselines, and classes against classes."""
    lines = []
    for task, summary in tasks.items():
        rows = figure_rows({task: summary}) if "labels" not in summary else []
        lines += ["", "| | | n |", "|---|---|---|", *rows] if rows else []
        if rows and (table := summary.get("confusion")):
            names = list(table)
            lines += ["", _row([f"{task}: truth \\ answer", *names]), _row(["---"] * (1 + len(names)))]
            lines += [_row([truth, *(str(table[truth].get(name, 0)) for name in names)]) for truth in names]
    return lines


def by_group(groups: Mapping[str, Any]) -> list[str]:
    """A column per group: Dice of each structure, what was found where none is, accuracy and AUROC of each class."""
    rows: dict[str, dict[str, str]] = {}
    for group, content in groups.items():
        for task, summary in content["tasks"].items():
            for name, label in summary.get("labels", {}).items():
                if label["n"]:
                    rows.setdefault(f"{task}.{name}: Dice", {})[group] = f"{estimate(label['dice'])}, n {label['n']}"
                if label["n_empty_truth"]:
                    found = f"{figure(label['false_ml']['mean'], 2)} mL, n {label['n_empty_truth']}"
                    rows.setdefault(f"{task}.{name}: where none is", {})[group] = found
            for key in ("auroc", "accuracy"):
                if summary.get(key):
                    rows.setdefault(f"{task}: {key}", {})[group] = f"{estimate(summary[key])}, n {summary['n']}"
    head = ["", *(f"{name}: {content['cases']} cases" for name, content in groups.items())]
    body = [_row([row, *(cells.get(group, "–") for group in groups)]) for row, cells in rows.items()]
    return [_row(head), _row(["---"] * len(head)), *body]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
