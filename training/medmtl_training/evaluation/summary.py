"""Rows of cases to figures with intervals: of voxel tasks by label, of case-level tasks by kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import binomtest

from medmtl.shapes import FloatArray
from medmtl.task import Kind, Task
from medmtl_training.evaluation import classification as figures
from medmtl_training.evaluation.bootstrap import Bootstrap, Statistic, mean_of
from medmtl_training.evaluation.derived import derived_summary
from medmtl_training.evaluation.overlap import bland_altman, f1_score

MIN_CASES_OF_A_CLASS = 10
"""A subgroup has an AUROC only where this many cases are in the class and outside it."""

Row = Mapping[str, Any]
BootstrapOf = Callable[[Sequence[str]], Bootstrap]
"""Patients of the cases to their draws."""


def voxel_summary(rows: Sequence[Row], task: Task, bootstrap: BootstrapOf) -> dict[str, Any]:
    """Figures of a voxel task: `labels` {label: figures}, `lesions` where it has lesion labels, `derived` values."""
    scored = [(row["patient"], row["tasks"][task.name]) for row in rows if "labels" in row["tasks"].get(task.name, {})]
    names = list(dict.fromkeys(name for _, task_row in scored for name in task_row["labels"]))
    labels = {}
    for name in names:
        cells = [(patient, task_row["labels"][name]) for patient, task_row in scored if name in task_row["labels"]]
        labels[name] = _label_summary(cells, bootstrap)
    summary: dict[str, Any] = {"kind": str(task.kind), "n": len(scored), "labels": labels}
    counted = [(patient, task_row["lesions"]) for patient, task_row in scored if "lesions" in task_row]
    if counted:
        summary["lesions"] = _lesion_summary(counted, bootstrap)
    derived = {value.name: _derived_summary(scored, value.name, bootstrap) for value in task.derived}
    if any(figures["n"] for figures in derived.values()):
        summary["derived"] = derived
    return summary


def _derived_summary(scored: list[tuple[str, Row]], name: str, bootstrap: BootstrapOf) -> dict[str, Any]:
    known = [(patient, row["derived"][name]) for patient, row in scored if name in row.get("derived", {})]
    both = [(patient, cell) for patient, cell in known if cell["found"] is not None]
    return {**derived_summary(both, bootstrap([patient for patient, _ in both])), "not_found": len(known) - len(both)}


def _label_summary(cells: list[tuple[str, Row]], bootstrap: BootstrapOf) -> dict[str, Any]:
    present = [(patient, cell) for patient, cell in cells if cell["dice"] is not None]
    absent = [(patient, cell) for patient, cell in cells if cell["dice"] is None]
    summary: dict[str, Any] = {"n": len(present), "n_empty_truth": len(absent)}
    summary["missed"] = sum(cell["predicted_ml"] == 0 for _, cell in present)
    for key in ("dice", "nsd", "hd95_mm", "error_percent"):
        summary[key] = _spread([(patient, cell[key]) for patient, cell in present if cell[key] is not None], bootstrap)
    false = _spread([(patient, cell["false_ml"]) for patient, cell in absent], bootstrap)
    summary["false_ml"] = {**false, "cases_with": sum(cell["false_ml"] > 0 for _, cell in absent)}
    found = [cell["predicted_ml"] for _, cell in present]
    agreement = bland_altman(found, [cell["truth_ml"] for _, cell in present])
    summary["volume_ml"] = None
    if agreement is not None:
        draws = bootstrap([patient for patient, _ in present])
        summary["volume_ml"] = asdict(agreement) | _agreement_intervals(present, draws)
    held = [
        cell["interval_ml"][0] <= cell["truth_ml"] <= cell["interval_ml"][1]
        for _, cell in cells
        if cell.get("interval_ml") is not None
    ]
    if held:
        summary["interval_coverage"] = coverage(held)
    return summary


def coverage(held: Sequence[bool]) -> dict[str, Any]:
    """How often a set or interval held the truth, with the exact binomial 95 % interval (Clopper and Pearson 1934)."""
    found = binomtest(sum(held), len(held)).proportion_ci(0.95, method="exact")
    return {"value": sum(held) / len(held), "interval": [float(found.low), float(found.high)], "n": len(held)}


def _agreement_intervals(cells: list[tuple[str, Row]], draws: Bootstrap) -> dict[str, Any]:
    """95 % intervals of the bias and of the limits of agreement."""
    difference = np.array([cell["predicted_ml"] - cell["truth_ml"] for _, cell in cells], dtype=np.float64)
    found = {}
    for name, spread in (("bias", 0.0), ("lower", -1.96), ("upper", 1.96)):
        found[f"{name}_interval"] = draws.estimate(_limit_of(difference, spread)).as_json()["interval"]
    return found


def _limit_of(values: FloatArray, spread: float) -> Statistic:
    """The mean plus `spread` standard deviations (n - 1), cases repeated by their integer weight."""

    def statistic(weights: FloatArray) -> FloatArray:
        count = weights.sum(axis=1)
        mean = weights @ values / np.maximum(count, 1)
        squares = np.maximum(weights @ values**2 - count * mean**2, 0)
        result: FloatArray = mean + spread * np.sqrt(squares / np.maximum(count - 1, 1))
        return result

    return statistic


def _spread(cells: list[tuple[str, float]], bootstrap: BootstrapOf) -> dict[str, Any]:
    draws = bootstrap([patient for patient, _ in cells])
    values = [value for _, value in cells]
    median = draws.median(values).as_json()
    mean = draws.mean(values).as_json()
    return {
        "mean": mean["value"], "interval": mean["interval"], "median": median["value"],
        "median_interval": median["interval"], "n": mean["n"], "patients": mean["patients"],
    }  # fmt: skip


def _lesion_summary(counted: list[tuple[str, Row]], bootstrap: BootstrapOf) -> dict[str, Any]:
    draws = bootstrap([patient for patient, _ in counted])
    cells = [cell for _, cell in counted]
    columns = {key: np.array([cell[key] for cell in cells], dtype=np.float64) for key in _COUNTS}
    return {
        **{key: int(column.sum()) for key, column in columns.items()},
        "f1": draws.estimate(lesion_f1(cells)).as_json(),
        "false_per_case": draws.mean(columns["predicted"] - columns["matched"]).as_json(),
    }


_COUNTS = ("truth", "found", "predicted", "matched")


def lesion_f1(cells: Sequence[Row]) -> Statistic:
    """Lesion-wise F1 of the counts summed over cases."""
    columns = [np.array([cell[key] for cell in cells], dtype=np.float64) for key in _COUNTS]

    def pooled(weights: FloatArray) -> FloatArray:
        scores = [f1_score(*row) for row in zip(*(weights @ column for column in columns), strict=True)]
        return np.array([np.nan if score is None else score for score in scores])

    return pooled


def known_rows(rows: Sequence[Row], task: Task) -> list[Row]:
    """The rows whose case-level truth and answer are both known."""
    return [row for row in rows if row["tasks"].get(task.name, {}).get("truth") is not None]


def class_arrays(rows: Sequence[Row], task: Task) -> tuple[figures.IntArray, FloatArray]:
    """True class index `(cases,)` and probabilities `(cases, classes)` of rows with known truth."""
    names = [label.name for label in task.labels]
    cells = [row["tasks"][task.name] for row in rows]
    truth = np.array([names.index(cell["truth"]) for cell in cells], dtype=np.int64)
    return truth, np.array([[cell["probabilities"][name] for name in names] for cell in cells]).reshape(-1, len(names))


def case_summary(rows: Sequence[Row], task: Task, bootstrap: BootstrapOf, *, least: int = 1) -> dict[str, Any]:
    """Figures of a case-level task.

    Args:
        rows: of all cases; those without truth or answer are left out.
        task: of a case-level kind.
        bootstrap: draws for the patients of the rows used.
        least: cases needed in and outside a class for its AUROC and AUPRC.
    """
    known = known_rows(rows, task)
    summary: dict[str, Any] = {"kind": str(task.kind), "n": len(known)}
    if not known:
        return summary
    draws = bootstrap([row["patient"] for row in known])
    if task.kind is Kind.REGRESSION:
        return summary | _regression(known, task, draws)
    if task.kind is Kind.MULTILABEL:
        return summary | _multilabel(known, task, draws, least)
    truth, probabilities = class_arrays(known, task)
    summary |= class_summary(truth, probabilities, task, draws, least=least)
    cells = [row["tasks"][task.name] for row in known if row["tasks"][task.name].get("prediction_set") is not None]
    if cells:
        summary["prediction_set"] = {
            **coverage([cell["truth"] in cell["prediction_set"] for cell in cells]),
            "mean_size": sum(len(cell["prediction_set"]) for cell in cells) / len(cells),
        }
    if task.kind is Kind.ORDINAL:
        predicted = probabilities.argmax(axis=1)
        kappa = figures.quadratic_kappa(truth, predicted, len(task.labels))
        summary["quadratic_kappa"] = draws.estimate(kappa).as_json()
        summary["class_distance"] = draws.mean(np.abs(predicted - truth).astype(np.float64)).as_json()
    return summary


def class_summary(
    truth: figures.IntArray, probabilities: FloatArray, task: Task, draws: Bootstrap, *, least: int = 1
) -> dict[str, Any]:
    """Figures of one exclusive classifier: `truth` `(cases,)` class index, `probabilities` `(cases, classes)`."""
    names = [label.name for label in task.labels]
    parts = {
        name: (truth == index, probabilities[:, index])
        for index, name in enumerate(names)
        if enough(truth == index, least)
    }
    summary: dict[str, Any] = {}
    for key, figure in (("auroc", figures.auroc), ("auprc", figures.average_precision)):
        by_class = {name: figure(*part) for name, part in parts.items()}
        if len(names) == 2:
            whole = by_class.get(names[1])
        else:
            whole = figures.macro(list(by_class.values())) if len(by_class) == len(names) else None
        summary[key] = _estimate(draws, whole)
        if len(names) > 2:
            summary[f"{key}_by_class"] = {name: _estimate(draws, by_class.get(name)) for name in names}
    for key, by_case in (
        ("accuracy", figures.accuracy),
        ("balanced_accuracy", figures.balanced_accuracy),
        ("brier", figures.brier),
        ("ece", figures.calibration_error),
    ):
        summary[key] = draws.estimate(by_case(truth, probabilities)).as_json()
    if len(names) == 2:
        summary["positive"] = names[1]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (truth, probabilities.argmax(axis=1)), 1)
    summary["classes"] = {name: int(row.sum()) for name, row in zip(names, counts, strict=True)}
    summary["confusion"] = {
        name: dict(zip(names, row.tolist(), strict=True)) for name, row in zip(names, counts, strict=True)
    }
    return summary


def enough(positive: figures.BoolArray, least: int) -> bool:
    """Whether a class and its complement have `least` cases each."""
    return bool(positive.sum() >= least and (~positive).sum() >= least)


def _estimate(draws: Bootstrap, statistic: Statistic | None) -> dict[str, Any] | None:
    return None if statistic is None else draws.estimate(statistic).as_json()


def _multilabel(rows: list[Row], task: Task, draws: Bootstrap, least: int) -> dict[str, Any]:
    by_class: dict[str, Any] = {}
    for label in task.labels:
        cells = [row["tasks"][task.name] for row in rows]
        positive = np.array([label.name in cell["truth"] for cell in cells])
        score = np.array([cell["probabilities"][label.name] for cell in cells])
        both = enough(positive, least)
        by_class[label.name] = {
            "cases": int(positive.sum()),
            "auroc": _estimate(draws, figures.auroc(positive, score) if both else None),
            "auprc": _estimate(draws, figures.average_precision(positive, score) if both else None),
            "accuracy": _estimate(draws, mean_of(((score >= 0.5) == positive).astype(np.float64))),
            "brier": _estimate(draws, mean_of((score - positive) ** 2)),
        }
    return {"by_class": by_class}


def _regression(rows: list[Row], task: Task, draws: Bootstrap) -> dict[str, Any]:
    cells = [row["tasks"][task.name] for row in rows]
    truth, value = (np.array([cell[key] for cell in cells], dtype=np.float64) for key in ("truth", "value"))
    agreement = bland_altman(value, truth)
    return {
        "mean_absolute_error": draws.mean(np.abs(value - truth)).as_json(),
        "agreement": None if agreement is None else asdict(agreement),
        "unit": task.unit,
    }
