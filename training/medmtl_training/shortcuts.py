"""`shortcut_table`: how well each class can be guessed without looking at the anatomy, one feature at a time."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import slices_last
from medmtl.shapes import FloatArray
from medmtl.task import Kind, Task
from medmtl_training.cases import Case, Dataset
from medmtl_training.evaluation import baselines
from medmtl_training.evaluation.classification import IntArray
from medmtl_training.evaluation.summary import MIN_CASES_OF_A_CLASS

SHORTCUT_AUC = 0.7
"""A feature that reaches more is a shortcut, unless so few cases reach it by chance."""

CHANCE_ERRORS = 2.0
"""Standard errors of an AUC without any skill that a shortcut must lie above one half."""

MAX_WORDS = 50
"""A column of text with more different values names the cases rather than describes them."""


@dataclass(frozen=True, kw_only=True)
class CaseLook:
    """What is known of a case's first image without its anatomy.

    Attributes:
        grid: of the image.
        padding: part of the voxels that hold the lowest value, 0..1.
    """

    grid: Grid
    padding: float


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """How well one feature alone tells one class from the rest.

    Attributes:
        task: a case-level task.
        label: the class.
        feature: "spacing", "matrix", "field of view", "slices", "padding", "geometry" (spacing and matrix) or
            "column NAME".
        auc: area under the ROC curve, each case answered by a logistic regression on the other folds.
        chance_error: standard error that an AUC of one half would have with as many cases.
        cases: number of cases whose class is known.
    """

    task: str
    label: str
    feature: str
    auc: float
    chance_error: float
    cases: int

    @property
    def is_clear(self) -> bool:
        """Whether to warn of it."""
        return self.auc > SHORTCUT_AUC and self.auc - 0.5 > CHANCE_ERRORS * self.chance_error

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "task": self.task, "class": self.label, "feature": self.feature, "auc": self.auc, "cases": self.cases,
            "clear": self.is_clear,
        }  # fmt: skip


def shortcut_table(dataset: Dataset, looks: Mapping[str, CaseLook]) -> tuple[Shortcut, ...]:
    """Every feature for every class of the case-level tasks, in the order of `dataset.yaml`.

    Folds are those of the data set, else five by patient. Of two exclusive classes the second stands for both. A class
    with fewer than ten cases in it or outside it is left out, as are features that are alike in all cases.

    Args:
        dataset: its cases and tasks.
        looks: case name to its image; a case that is absent here (its image cannot be read) is left out.
    """
    rows: list[Shortcut] = []
    for task in dataset.tasks:
        if task.kind not in (Kind.CLASSIFICATION, Kind.ORDINAL, Kind.MULTILABEL):
            continue
        cases = [case for case in dataset.cases if case.name in looks and case.has(task)]
        questions = _questions(task, cases) if len({case.patient for case in cases}) > 1 else []
        features = _features(cases, [looks[case.name] for case in cases]) if questions else {}
        for truth, positives in questions:
            folds = _folds(cases, truth)
            for feature, table in features.items():
                answers = baselines.fitted_probabilities(table, truth, folds, int(truth.max()) + 1)
                for label, value in positives.items():
                    rows.append(_row(task.name, label, feature, truth == value, answers[:, value]))
    return tuple(rows)


def _questions(task: Task, cases: Sequence[Case]) -> list[tuple[IntArray, dict[str, int]]]:
    """What is to be guessed: class numbers `(cases,)`, with the classes that are counted and their numbers."""
    names = [label.name for label in task.labels]
    truths = [case.case_labels[task.name] for case in cases]
    if task.kind is Kind.MULTILABEL:
        known = [truth if isinstance(truth, tuple) else () for truth in truths]
        tables = [(np.array([name in truth for truth in known], dtype=np.int64), {name: 1}) for name in names]
    else:
        numbers = np.array([names.index(str(truth)) for truth in truths], dtype=np.int64)
        asked = names[1:] if len(names) == 2 else names
        tables = [(numbers, {name: names.index(name) for name in asked})]
    counted = []
    for numbers, positives in tables:
        kept = {name: value for name, value in positives.items() if _is_counted(numbers == value)}
        if kept:
            counted.append((numbers, kept))
    return counted


def _folds(cases: Sequence[Case], truth: IntArray) -> IntArray:
    with warnings.catch_warnings():
        # scikit-learn's word on classes of one case, which `rare-class` has said already
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return baselines.fold_numbers(cases, truth)


def _is_counted(positive: npt.NDArray[np.bool_]) -> bool:
    return min(int(positive.sum()), int((~positive).sum())) >= MIN_CASES_OF_A_CLASS


def _features(cases: Sequence[Case], looks: Sequence[CaseLook]) -> dict[str, FloatArray]:
    """Feature name to `(cases, n)` numbers; only what differs between cases."""
    geometries = [(look.grid.shape, look.grid.spacing) for look in looks]
    spacing = np.array([look.grid.spacing for look in looks])
    matrix = np.array([look.grid.shape for look in looks], dtype=np.float64)
    slices = [look.grid.shape[slices_last(look.grid).order[2]] for look in looks]
    features = {
        "spacing": spacing,
        "matrix": matrix,
        "field of view": spacing * matrix,
        "slices": np.array(slices, dtype=np.float64)[:, None],
        "padding": np.array([look.padding for look in looks])[:, None],
        "geometry": baselines.geometry_features(geometries),
    }
    for column in cases[0].columns:
        cells = {case.columns[column] for case in cases}
        if len(cells) <= MAX_WORDS or all(not cell or baselines.number_of(cell) is not None for cell in cells):
            features[f"column {column}"] = baselines.column_features(cases, [column])
    return {name: table for name, table in features.items() if (np.ptp(table, axis=0) > 1e-6).any()}


def _row(task: str, label: str, feature: str, positive: npt.NDArray[np.bool_], score: FloatArray) -> Shortcut:
    from sklearn.metrics import roc_auc_score

    inside, outside = int(positive.sum()), int((~positive).sum())
    return Shortcut(
        task=task,
        label=label,
        feature=feature,
        auc=float(roc_auc_score(positive, score)),
        chance_error=float(np.sqrt((inside + outside + 1) / (12 * inside * outside))),
        cases=len(positive),
    )
