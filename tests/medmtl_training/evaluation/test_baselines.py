from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medmtl.errors import UsageError
from medmtl_training.cases import Case, read_dataset
from medmtl_training.evaluation import baselines
from medmtl_training.evaluation.voxels import image_geometry


def case(index: int, **columns: str) -> Case:
    return Case(name=f"c{index}", patient=f"p{index // 2}", fold=None, images=(), columns=columns)


def test_folds_keep_a_patient_together() -> None:
    cases = [case(index) for index in range(60)]
    truth = np.array([(index // 2) % 2 for index in range(60)])
    folds = baselines.fold_numbers(cases, truth)
    assert sorted(set(folds.tolist())) == [0, 1, 2, 3, 4]
    assert (folds[0::2] == folds[1::2]).all()


def test_a_feature_that_knows_is_found_and_one_that_does_not_is_not() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    folds = np.arange(200) % 5
    knowing = baselines.fitted_probabilities((truth + rng.normal(0, 0.3, 200))[:, None], truth, folds, 2)
    blind = baselines.fitted_probabilities(rng.normal(size=(200, 3)), truth, folds, 2)
    assert roc_auc_score(truth, knowing[:, 1]) > 0.95
    assert roc_auc_score(truth, blind[:, 1]) < 0.6
    assert knowing.sum(axis=1) == pytest.approx(1.0)


def test_a_held_out_fold_is_not_learnt_from() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])  # each fold holds one class: the other fold knows only the other one
    found = baselines.fitted_probabilities(truth[:, None].astype(float), truth, folds, 2)
    assert (found.argmax(axis=1) != truth).all()


def test_majority_is_that_of_the_other_folds() -> None:
    truth, folds = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 1])
    found = baselines.majority_probabilities(truth, folds, 2)
    assert found[0] == pytest.approx([1 / 3, 2 / 3])
    assert found[5] == pytest.approx([2 / 3, 1 / 3])


def test_columns_become_numbers() -> None:
    cases = [case(0, age="50", sex="F"), case(1, age="", sex="M"), case(2, age="70", sex="F")]
    assert baselines.column_features(cases, ["age"]).tolist() == [[50, 0], [60, 1], [70, 0]]
    assert baselines.column_features(cases, ["sex"]).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert baselines.column_features(cases, ["age", "sex"]).shape == (3, 4)
    with pytest.raises(UsageError, match="height"):
        baselines.column_features(cases, ["height"])


def test_cardiac_shortcuts_are_as_published(shared: Path) -> None:
    dataset, _ = read_dataset(shared / "data" / "cardiac_lge_mr")
    truth = np.array([int(c.case_labels["diagnosis"] == "infarction") for c in dataset.cases])
    folds = baselines.fold_numbers(dataset.cases, truth)
    assert folds.tolist() == [c.fold for c in dataset.cases]
    geometry = baselines.geometry_features([image_geometry(c.images[0]) for c in dataset.cases])
    answers = {
        "geometry": geometry,
        "age+sex": baselines.column_features(dataset.cases, ["age", "sex"]),
    }
    areas = {
        name: roc_auc_score(truth, baselines.fitted_probabilities(table, truth, folds, 2)[:, 1])
        for name, table in answers.items()
    }
    # the data set's README: 0.757 and 0.813 over 100 cases and ten repeats
    assert 0.65 < areas["geometry"] < 0.85
    assert 0.72 < areas["age+sex"] < 0.90
