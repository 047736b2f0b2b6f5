"""Shortcut baselines of a classifier: what the class could be guessed from without looking at the anatomy.

Each is cross-validated by the folds of the data set, so that its figures stand beside those of held-out predictions.
"""

import math
from collections.abc import Sequence

import numpy as np

from medmtl.errors import Code, UsageError
from medmtl.shapes import FloatArray, Shape, Spacing
from medmtl_training.cases import Case
from medmtl_training.evaluation.classification import IntArray

FOLDS = 5


def fold_numbers(cases: Sequence[Case], truth: IntArray) -> IntArray:
    """The fold of each case: the data set's own, else five folds by patient, stratified by class."""
    given = [case.fold for case in cases]
    if all(fold is not None for fold in given) and len(set(given)) > 1:
        return np.array(given, dtype=np.int64)
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [case.patient for case in cases]
    parts = max(2, min(FOLDS, len(set(groups)), int(np.bincount(truth)[np.unique(truth)].min())))
    folds = np.zeros(len(cases), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=parts, shuffle=True, random_state=0)
    for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(cases)), truth, groups)):
        folds[held_out] = number
    return folds


def majority_probabilities(truth: IntArray, folds: IntArray, classes: int) -> FloatArray:
    """`(cases, classes)`: how frequent each class is in the other folds."""
    result = np.zeros((len(truth), classes))
    for fold in np.unique(folds):
        counts = np.bincount(truth[folds != fold], minlength=classes)
        result[folds == fold] = counts / max(counts.sum(), 1)
    return result


def fitted_probabilities(features: FloatArray, truth: IntArray, folds: IntArray, classes: int) -> FloatArray:
    """`(cases, classes)` from a logistic regression on standardised `features` `(cases, n)`, fitted on other folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    result = majority_probabilities(truth, folds, classes)
    for fold in np.unique(folds):
        seen, held_out = folds != fold, folds == fold
        if len(np.unique(truth[seen])) < 2:
            continue  # nothing to fit; the majority stands
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(features[seen], truth[seen])
        answer = np.zeros((int(held_out.sum()), classes))
        answer[:, model.classes_] = model.predict_proba(features[held_out])
        result[held_out] = answer
    return result


def geometry_features(geometries: Sequence[tuple[Shape, Spacing]]) -> FloatArray:
    """`(cases, 6)`: spacing and number of voxels along each axis, the slice count among them."""
    return np.array([[*spacing, *shape] for shape, spacing in geometries], dtype=np.float64)


def column_features(cases: Sequence[Case], columns: Sequence[str]) -> FloatArray:
    """`(cases, n)`: further columns of `cases.csv` as numbers; text becomes one column a value.

    An empty cell of a number takes the median, with a column of its own that says so.

    Raises:
        UsageError: `bad-option` where `cases.csv` has no such column.
    """
    parts = [np.zeros((len(cases), 0))]
    for column in columns:
        cells = [case.columns.get(column) for case in cases]
        if any(cell is None for cell in cells):
            raise UsageError(Code.BAD_OPTION, f"cases.csv has no further column {column}", "name one that it has")
        parts.append(_encoded([str(cell) for cell in cells]))
    return np.concatenate(parts, axis=1)


def number_of(text: str) -> float | None:
    """The finite number `text` states, None where it states none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _encoded(cells: list[str]) -> FloatArray:
    numbers = [number_of(cell) if cell else None for cell in cells]
    known = [number for number in numbers if number is not None]
    if known and all(number is not None or not cell for number, cell in zip(numbers, cells, strict=True)):
        fill = float(np.median(known))
        table = [[fill if number is None else number, float(number is None)] for number in numbers]
        return np.array(table, dtype=np.float64)
    values = sorted(set(cells))
    return np.array([[float(cell == value) for value in values] for cell in cells], dtype=np.float64)
