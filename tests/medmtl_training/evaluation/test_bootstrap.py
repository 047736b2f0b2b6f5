import numpy as np
import pytest

from medmtl_training.evaluation.bootstrap import Bootstrap, difference_of, mean_of, median_of


def test_interval_of_a_mean_is_the_normal_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(5.0, 2.0, 400)
    found = Bootstrap([str(index) for index in range(400)]).mean(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.lower == pytest.approx(values.mean() - half, abs=0.03)
    assert found.upper == pytest.approx(values.mean() + half, abs=0.03)


def test_coverage_over_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    patients = [str(index) for index in range(40)]
    hits = 0
    for repeat in range(300):
        found = Bootstrap(patients, draws=500, seed=repeat).mean(rng.normal(0.0, 1.0, 40))
        assert found.lower is not None
        assert found.upper is not None
        hits += found.lower <= 0.0 <= found.upper
    assert 0.90 <= hits / 300 <= 0.975


def test_cases_of_one_patient_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(1).normal(0, 1, 30), 4)
    alone = Bootstrap([str(index) for index in range(120)]).mean(values)
    grouped = Bootstrap([str(index // 4) for index in range(120)]).mean(values)
    assert (grouped.n, grouped.patients, alone.patients) == (120, 30, 120)
    assert (grouped.upper - grouped.lower) == pytest.approx(2 * (alone.upper - alone.lower), rel=0.2)


def test_a_drawn_patient_brings_all_its_cases() -> None:
    weights = Bootstrap(["a", "a", "b", "c", "c"], draws=50).weights
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_median_is_that_of_the_repeated_values() -> None:
    rng = np.random.default_rng(2)
    for n in (1, 2, 7, 10):
        values = rng.normal(size=n).round(1)
        weights = rng.integers(0, 4, size=(20, n)).astype(float)
        weights[:, 0] += 1
        expected = [np.median(np.repeat(values, row.astype(int))) for row in weights]
        assert median_of(values)(weights) == pytest.approx(expected)


def test_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(5)
    first = rng.normal(0, 1, 60)
    second = first - 0.1 + rng.normal(0, 0.05, 60)
    draws = Bootstrap([str(index) for index in range(60)])
    found = draws.estimate(difference_of(mean_of(first), mean_of(second)))
    assert found.value == pytest.approx((first - second).mean())
    assert found.lower is not None
    assert found.lower > 0
    assert draws.mean(first).lower < 0 < draws.mean(first).upper


def test_same_seed_same_interval_and_another_seed_another() -> None:
    values = np.arange(20.0)
    names = [str(index) for index in range(20)]
    assert Bootstrap(names).mean(values) == Bootstrap(names).mean(values)
    assert Bootstrap(names, seed=1).mean(values) != Bootstrap(names).mean(values)


def test_no_cases_and_one_patient_have_no_interval() -> None:
    none = Bootstrap([]).mean([])
    assert (none.value, none.lower, none.n) == (None, None, 0)
    one = Bootstrap(["a", "a"]).mean([1.0, 3.0])
    assert (one.value, one.lower, one.upper) == (2.0, None, None)
