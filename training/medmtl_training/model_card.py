"""The model card: made from the bundle and its measured figures, never typed by hand."""

from collections.abc import Mapping
from typing import Any

from medmtl.bundle.bundle import Bundle
from medmtl_training.evaluation.report_html import estimate, figure
from medmtl_training.run import WHOLE


def model_card(bundle: Bundle, metrics: Mapping[str, Any]) -> str:
    """Markdown: what it is, what it was trained on, what was measured on cases it did not see, what it cannot do."""
    networks = bundle.training["networks"]
    marks = [mark for mark, on in (("non-commercial", bundle.non_commercial), ("synthetic", bundle.synthetic)) if on]
    lines = [
        f"# {bundle.name} {bundle.version}",
        "",
        f"{bundle.title}. **Research use only, not for clinical decisions.**",
        "",
        f"- Reads: {bundle.modality}, channels {', '.join(bundle.channels)}",
        f"- Answers: {', '.join(_answers(bundle))}",
        f"- Trained on: {bundle.data}",
        f"- Networks: {len(networks)}, of {', '.join(str(row['cases']) for row in networks)} cases; "
        f"{bundle.training['settings']['steps']} steps on {bundle.training['device']}, "
        f"seed {bundle.training['settings']['seed']}, weighting {bundle.training['settings']['weighting']}",
        f"- Licence: {bundle.licence}{' (' + ', '.join(marks) + ')' if marks else ''}",
        f"- Cite: {bundle.citation}",
        "",
        "## Measured on cases that the answering network did not see",
        "",
        f"{metrics['cases']} cases of {metrics['patients']} patients, through `medmtl predict` at its defaults; 95 % "
        "intervals by bootstrap over patients. A structure that is absent in the truth has no Dice; what was found "
        "there all the same is given in mL." + _who_answered(bundle, metrics),
        "",
        "| what | figure | n |",
        "|---|---|---|",
        *figure_rows(metrics["tasks"]),
        "",
        "## Limits",
        "",
        *[f"- {text}" for text in bundle.limits or ("Not established.",)],
    ]
    return "\n".join(lines) + "\n"


def _who_answered(bundle: Bundle, metrics: Mapping[str, Any]) -> str:
    said = ""
    if any(str(row["weights"]).startswith(WHOLE) for row in bundle.training["networks"]):
        said += (
            f" The answers are those of {len(metrics['folds'])} networks trained by the same settings, each without "
            "one fold; the network of this model saw all cases."
        )
    if bundle.calibration.classes:
        said += " Probabilities, sets and intervals of each fold are calibrated by the other folds."
    return said


def _answers(bundle: Bundle) -> list[str]:
    return [f"{task.name} ({', '.join(label.name for label in task.labels) or task.kind})" for task in bundle.tasks]


def figure_rows(tasks: Mapping[str, Any]) -> list[str]:
    """Rows of a Markdown table: figure with its interval, and n."""
    rows = []
    for task, summary in tasks.items():
        for name, label in summary.get("labels", {}).items():
            rows.append(f"| {task}.{name}: Dice | {estimate(label['dice'])} | {label['n']} |")
            if label["n"]:
                median = figure(label["error_percent"]["median"], 1)
                rows.append(f"| {task}.{name}: volume error, median | {median} % | {label['n']} |")
            if label.get("interval_coverage"):
                held = label["interval_coverage"]
                rows.append(f"| {task}.{name}: volume inside its interval | {estimate(held)} | {held['n']} |")
            if label["n_empty_truth"]:
                false_ml = figure(label["false_ml"]["mean"], 2)
                n = label["n_empty_truth"]
                rows.append(f"| {task}.{name}: found where there is none, mean | {false_ml} mL | {n} |")
        for name, value in summary.get("derived", {}).items():
            if value["n"]:
                told = f"{estimate(value['mean_absolute_error'], 2)} {value['unit']}".strip()
                rows.append(f"| {task}.{name}: absolute error, mean | {told} | {value['n']} |")
                rows.append(f"| {task}.{name}: correlation | {estimate(value['correlation'])} | {value['n']} |")
        for key in ("auroc", "accuracy", "balanced_accuracy", "brier", "ece", "mean_absolute_error"):
            if summary.get(key):
                rows.append(f"| {task}: {key.replace('_', ' ')} | {estimate(summary[key])} | {summary['n']} |")
        if summary.get("prediction_set"):
            held = summary["prediction_set"]
            rows.append(f"| {task}: class inside its set | {estimate(held)} | {held['n']} |")
            rows.append(f"| {task}: classes in a set, mean | {figure(held['mean_size'], 2)} | {held['n']} |")
        rows += [
            f"| {task}: AUROC of {name} alone | {estimate(baseline['auroc'])} | {summary['n']} |"
            for name, baseline in summary.get("baselines", {}).items()
            if baseline["auroc"]
        ]
    return rows
