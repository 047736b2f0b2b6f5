"""`score`: a predictions folder against a data set, as the plain content of `metrics.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from medmtl.shapes import FloatArray
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset
from medmtl_training.evaluation import baselines, classification
from medmtl_training.evaluation.bootstrap import DRAWS, Bootstrap, difference_of
from medmtl_training.evaluation.calibrate import cross_fitted, fit_calibration
from medmtl_training.evaluation.case_scores import CaseScorer, lesion_volumes
from medmtl_training.evaluation.multilabel import multilabel_baselines
from medmtl_training.evaluation.overlap import MATCH_IOU
from medmtl_training.evaluation.predictions import Predictions
from medmtl_training.evaluation.subgroups import SLICE_STEP, subgroups
from medmtl_training.evaluation.summary import (
    MIN_CASES_OF_A_CLASS,
    case_summary,
    class_arrays,
    class_summary,
    known_rows,
    voxel_summary,
)
from medmtl_training.evaluation.voxels import image_geometry, slice_step_mm

SCHEMA = "medmtl-metrics-1"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """How to score.

    Attributes:
        by: columns of `cases.csv` to give every figure by; `slice_step_mm` is derived where it is no column.
        baseline_columns: groups of further columns; each group is one shortcut baseline of every classifier.
        same_patient: groups of case names that are one patient, whatever `cases.csv` says.
        tolerance_mm: of the normalised surface Dice.
        cross_fit: whether each fold's answers are calibrated by the other folds' before they are scored.
        draws: bootstrap draws.
        seed: of the bootstrap.
    """

    by: tuple[str, ...] = (SLICE_STEP,)
    baseline_columns: tuple[tuple[str, ...], ...] = ()
    same_patient: tuple[tuple[str, ...], ...] = ()
    tolerance_mm: float = 2.0
    cross_fit: bool = False
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One scoring: what was read, for the steps that follow."""

    dataset: Dataset
    settings: ScoreSettings
    rows: Sequence[Mapping[str, Any]]

    def bootstrap(self, patients: Sequence[str]) -> Bootstrap:
        """Draws for these patients."""
        return _draws(tuple(patients), self.settings.draws, self.settings.seed)


@lru_cache(maxsize=8)  # labels of one task mostly rest on the same cases
def _draws(patients: tuple[str, ...], draws: int, seed: int) -> Bootstrap:
    return Bootstrap(patients, draws=draws, seed=seed)


def score(
    predictions: Predictions,
    dataset: Dataset,
    cases: Sequence[Case],
    settings: ScoreSettings,
    progress: Progress = lambda case: None,
) -> dict[str, Any]:
    """Every figure of `predictions` on `cases` of `dataset`: plain values for `metrics.json`.

    Cases without a prediction are listed under `missing` and enter no figure. With `cross_fit` the calibration that all
    of them support stands under `calibration`.

    Args:
        predictions: what was answered.
        dataset: the truth; shortcut baselines are fitted on all its cases.
        cases: those to score.
        settings: how.
        progress: called with the name of each case when it is done.

    Raises:
        DatasetError: `grid-mismatch`, `bad-label-value`, `bad-dataset`.
        StudyError: a file cannot be read.
        UsageError: `bad-option` for a column that `cases.csv` does not have.
    """
    dataset = _regrouped(dataset, settings.same_patient)
    names = {case.name for case in cases}
    scorer = CaseScorer(tasks=dataset.tasks, tolerance_mm=settings.tolerance_mm)
    rows: list[Mapping[str, Any]] = []
    for case in dataset.cases:
        if case.name in names and case.name in predictions.cases:
            step = f"{slice_step_mm(image_geometry(case.images[0])[1]):.3g}"
            columns = {SLICE_STEP: step, "fold": str(case.fold), **case.columns}
            rows.append({**scorer.row(case, predictions), "columns": columns})
            progress(case.name)
    calibration = {}
    if settings.cross_fit:
        calibration = {"calibration": fit_calibration(rows, dataset.tasks).to_mapping()}
        rows = cross_fitted(rows, dataset.tasks)
    run = _Run(dataset=dataset, settings=settings, rows=rows)
    return {
        "schema": SCHEMA,
        "dataset": dataset.name,
        "cases": len(rows),
        "patients": len({row["patient"] for row in rows}),
        "folds": sorted({row["fold"] for row in rows if row["fold"] is not None}),
        "missing": sorted(names - predictions.cases),
        "rules": rules(settings),
        "tasks": _task_summaries(run),
        "subgroups": _subgroup_summaries(run),
        **calibration,
        "rows": rows,
    }


def rules(settings: ScoreSettings) -> dict[str, str]:
    """Metric to one sentence that says how it is counted."""
    return {
        "dice": "Mean over cases whose truth is not empty; an empty truth is never counted as 1, a missed one is 0.",
        "false_ml": "Volume found in cases whose truth is empty, averaged over those cases.",
        "hd95_mm": "Larger of the two directed 95th percentiles, by area, of the distance between voxel faces; none "
        "where the truth is empty or the structure was missed (counted as missed).",
        "nsd": f"Part of both surfaces' area within {settings.tolerance_mm:g} mm of the other; 0 where the structure "
        "was missed, none where the truth is empty.",
        "error_percent": "Absolute volume error in percent of the true volume, over cases whose truth is not empty.",
        "volume_ml": "Bland-Altman figures, found minus true mL, over cases whose truth is not empty.",
        "lesions": "Components of 26 neighbours of the union of the lesion labels; two match from an intersection "
        f"over union of {MATCH_IOU:g}. F1 of the counts summed over all cases.",
        "derived": "Values computed from the true and from the found volumes by the data set's formulas: errors, "
        "Pearson's correlation, Bland-Altman figures; not where a structure is missing that it divides by.",
        "auroc": "One class against the rest; with two classes the second one is positive, with more the mean over "
        f"the classes. In subgroups only with {MIN_CASES_OF_A_CLASS} cases in the class and outside it.",
        "auprc": "Sum of precision over steps of recall; chance is the prevalence.",
        "brier": "Squared error of the probabilities, half the sum over the classes.",
        "ece": f"{classification.CALIBRATION_BINS} bins of equally many cases by the probability of the most "
        "probable class.",
        "interval": f"95 %, percentiles of {settings.draws} bootstrap draws of patients, seed {settings.seed}.",
        "baselines": "Cross-validated by the folds of the data set: majority class; logistic regression on spacing, "
        "matrix and slice count, or on columns of cases.csv; the volume of the lesions found, as it is.",
    }


def _regrouped(dataset: Dataset, same: Sequence[Sequence[str]]) -> Dataset:
    patient = {name: f"{group[0]}+" for group in same for name in group}
    if not patient:
        return dataset
    cases = tuple(replace(case, patient=patient.get(case.name, case.patient)) for case in dataset.cases)
    return replace(dataset, cases=cases)


def _task_summaries(run: _Run) -> dict[str, Any]:
    summaries: dict[str, Any] = {}
    for task in run.dataset.tasks:
        if not any(task.name in row["tasks"] for row in run.rows):
            continue
        if task.is_voxel:
            summaries[task.name] = voxel_summary(run.rows, task, run.bootstrap)
            continue
        summaries[task.name] = case_summary(run.rows, task, run.bootstrap)
        known = known_rows(run.rows, task)
        if known and task.kind is Kind.MULTILABEL:
            draws = run.bootstrap([row["patient"] for row in known])
            pool = [case for case in run.dataset.cases if case.case_labels.get(task.name) is not None]
            found = multilabel_baselines(run.dataset, _shortcuts(run, pool), task, known, draws)
            summaries[task.name]["baselines"] = found
        elif known and task.kind in (Kind.CLASSIFICATION, Kind.ORDINAL):
            summaries[task.name]["baselines"] = _baselines(run, task, known)
    return summaries


def _subgroup_summaries(run: _Run) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for column in run.settings.by:
        result[column] = {}
        for name, members in subgroups(run.rows, column).items():
            tasks: dict[str, Any] = {}
            for task in run.dataset.tasks:
                if not any(task.name in row["tasks"] for row in members):
                    continue
                if task.is_voxel:
                    tasks[task.name] = voxel_summary(members, task, run.bootstrap)
                else:
                    tasks[task.name] = case_summary(members, task, run.bootstrap, least=MIN_CASES_OF_A_CLASS)
            result[column][name] = {"cases": len(members), "tasks": tasks}
    return result


def _shortcuts(run: _Run, pool: Sequence[Case]) -> dict[str, FloatArray]:
    """Name to the numbers a baseline is fitted on, for the cases of `pool`."""
    features = {"geometry": baselines.geometry_features([image_geometry(case.images[0]) for case in pool])}
    for group in run.settings.baseline_columns:
        features["+".join(group)] = baselines.column_features(pool, group)
    return features


def _baselines(run: _Run, task: Task, known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each baseline's figures on the same cases as the classifier's, and the classifier's AUROC minus its own."""
    classes = [label.name for label in task.labels]
    pool = [case for case in run.dataset.cases if case.case_labels.get(task.name) is not None]
    pool_truth = np.array([classes.index(str(case.case_labels[task.name])) for case in pool], dtype=np.int64)
    folds = baselines.fold_numbers(pool, pool_truth)
    place = {case.name: index for index, case in enumerate(pool)}
    shown = np.array([place[row["case"]] for row in known])
    answers = {"majority": baselines.majority_probabilities(pool_truth, folds, len(classes))}
    for name, table in _shortcuts(run, pool).items():
        answers[name] = baselines.fitted_probabilities(table, pool_truth, folds, len(classes))
    truth, probabilities = class_arrays(known, task)
    draws = run.bootstrap([row["patient"] for row in known])
    result: dict[str, Any] = {}
    for name, answer in answers.items():
        result[name] = class_summary(truth, answer[shown], task, draws)
        if name == "majority":
            # it ranks nothing: its probabilities differ between folds only, and against the truth at that
            result[name] |= dict.fromkeys((key for key in result[name] if key.startswith("au")), None)
        elif len(classes) == 2 and 0 < truth.sum() < len(truth):
            result[name]["auroc_difference"] = _gain(truth, probabilities[:, 1], answer[shown][:, 1], draws)
    if len(classes) == 2 and 0 < truth.sum() < len(truth):
        for name, volumes in lesion_volumes(known).items():
            if all(row["case"] in volumes for row in known):
                millilitres = np.array([volumes[row["case"]] for row in known])
                result[f"found {name} mL"] = {
                    "auroc": draws.estimate(classification.auroc(truth == 1, millilitres)).as_json(),
                    "auroc_difference": _gain(truth, probabilities[:, 1], millilitres, draws),
                }
    return result


def _gain(truth: classification.IntArray, first: Any, second: Any, draws: Bootstrap) -> dict[str, Any]:
    positive = truth == 1
    pair = difference_of(classification.auroc(positive, first), classification.auroc(positive, second))
    return draws.estimate(pair).as_json()
