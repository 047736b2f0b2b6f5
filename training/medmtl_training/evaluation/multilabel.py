"""Baselines of tasks whose classes do not exclude each other: one question a class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medmtl.shapes import FloatArray
from medmtl.task import Task
from medmtl_training.cases import Case, Dataset
from medmtl_training.evaluation import baselines, classification
from medmtl_training.evaluation.bootstrap import Bootstrap, difference_of, mean_of
from medmtl_training.evaluation.summary import enough


def multilabel_baselines(
    dataset: Dataset,
    features: Mapping[str, FloatArray],
    task: Task,
    known: Sequence[Mapping[str, Any]],
    draws: Bootstrap,
) -> dict[str, Any]:
    """Figures of "majority, CLASS" and "FEATURES, CLASS" on the same cases as the classifier's.

    Args:
        dataset: baselines are fitted on all its cases with a truth, by its folds.
        features: name to `(cases, n)` numbers of those cases, in the order of the data set.
        task: of kind multilabel.
        known: rows of the cases that are scored.
        draws: for the patients of these rows.
    """
    pool = [case for case in dataset.cases if case.case_labels.get(task.name) is not None]
    place = {case.name: index for index, case in enumerate(pool)}
    shown = np.array([place[row["case"]] for row in known])
    result: dict[str, Any] = {}
    for label in task.labels:
        truth = np.array([label.name in _names(case, task) for case in pool], dtype=np.int64)
        folds = baselines.fold_numbers(pool, truth)
        answers = {"majority": baselines.majority_probabilities(truth, folds, 2)}
        answers |= {name: baselines.fitted_probabilities(table, truth, folds, 2) for name, table in features.items()}
        positive = truth[shown] == 1
        mine = np.array([row["tasks"][task.name]["probabilities"][label.name] for row in known])
        for name, answer in answers.items():
            score = answer[shown][:, 1]
            figures: dict[str, Any] = {
                "auroc": None,
                "accuracy": draws.estimate(mean_of(((score >= 0.5) == positive).astype(np.float64))).as_json(),
                "brier": draws.estimate(mean_of((score - positive) ** 2)).as_json(),
            }
            if name != "majority" and enough(positive, 1):
                own = classification.auroc(positive, score)
                figures["auroc"] = draws.estimate(own).as_json()
                pair = difference_of(classification.auroc(positive, mine), own)
                figures["auroc_difference"] = draws.estimate(pair).as_json()
            result[f"{name}, {label.name}"] = figures
    return result


def _names(case: Case, task: Task) -> tuple[str, ...]:
    truth = case.case_labels[task.name]
    return truth if isinstance(truth, tuple) else ()
