import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medmtl.errors import TrainingError
from medmtl_training.settings import WEIGHTINGS, TrainSettings, WeightingOptions
from medmtl_training.weighting import Weighting, make_weighting
from medmtl_training.weighting.uncertainty import KendallWeights, LearntVariances, LiebelKornerWeights

WIDE = (-20.0, 20.0)  # no clamp
SMALL = WeightingOptions(window=2)


def made(name: str, tasks: tuple[str, ...] = ("one", "two", "three"), **options: float) -> Weighting:
    given = WeightingOptions(**{"window": 2, **options})
    return make_weighting(TrainSettings(weighting=name, weighting_options=given, fixed_weights={"two": 3.0}), tasks)


def settled(weights: LearntVariances, loss: float) -> tuple[float, Tensor]:
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(800):
        optimiser.zero_grad()
        total = weights.total({"task": torch.tensor(loss)})
        total.backward()
        optimiser.step()
        weights.constrain()
    return weights.log_variances["task"].item(), total


@pytest.mark.parametrize("loss", [0.02, 0.3, 1.0, 7.0])
def test_kendall_ends_at_its_closed_form(loss: float) -> None:
    """exp(-s) L + b s is least at s = ln(L / b), with weight b / L and value b (1 + ln(L / b)); b = 1/2."""
    weights = KendallWeights(("task",), WIDE)
    s, total = settled(weights, loss)
    assert s == pytest.approx(math.log(2 * loss), abs=1e-3)
    assert weights.weights()["task"] == pytest.approx(0.5 / loss, rel=2e-3)
    assert total.item() == pytest.approx(0.5 * (1 + math.log(2 * loss)), abs=1e-3)


@pytest.mark.parametrize("loss", [0.02, 0.3, 1.0, 7.0])
def test_liebel_korner_ends_at_its_closed_form(loss: float) -> None:
    """L / (2 v) + ln(1 + v) is least at v = (L + sqrt(L^2 + 8 L)) / 4; no loss makes it negative."""
    weights = LiebelKornerWeights(("task",), WIDE)
    s, total = settled(weights, loss)
    v = (loss + math.sqrt(loss**2 + 8 * loss)) / 4
    assert math.exp(s) == pytest.approx(v, rel=2e-3)
    assert weights.weights()["task"] == pytest.approx(1 / (2 * v), rel=2e-3)
    assert total.item() > 0


def test_the_non_negative_form_is_milder_with_small_losses() -> None:
    one, two = KendallWeights(("task",), WIDE), LiebelKornerWeights(("task",), WIDE)
    settled(one, 0.02)
    settled(two, 0.02)
    assert one.weights()["task"] == pytest.approx(25, rel=1e-2)
    assert two.weights()["task"] == pytest.approx(4.8, rel=1e-2)


def test_the_total_of_small_losses_is_negative() -> None:
    """So no checkpoint may be chosen by it."""
    weights = KendallWeights(("task",), WIDE)
    with torch.no_grad():
        weights.log_variances["task"].fill_(math.log(2 * 0.02))
    assert weights.total({"task": torch.tensor(0.02)}).item() == pytest.approx(-1.109, abs=1e-3)


@pytest.mark.parametrize("kind", [KendallWeights, LiebelKornerWeights])
def test_a_task_without_a_label_has_neither_term(kind: Callable[..., LearntVariances]) -> None:
    weights = kind(("seen", "absent"), WIDE)
    weights.total({"seen": torch.tensor(2.0)}).backward()
    assert weights.log_variances["absent"].grad is None
    assert weights.log_variances["seen"].grad is not None


def test_the_clamp_holds_and_is_no_dead_end() -> None:
    weights = KendallWeights(("low", "high"), (-0.7, 0.3))
    optimiser = torch.optim.SGD(weights.parameters(), lr=1.0)

    def steps(low: float, high: float) -> tuple[float, float]:
        for _ in range(30):
            optimiser.zero_grad()
            weights.total({"low": torch.tensor(low), "high": torch.tensor(high)}).backward()
            optimiser.step()
            weights.constrain()
        return weights.log_variances["low"].item(), weights.log_variances["high"].item()

    assert steps(0.001, 50.0) == pytest.approx((-0.7, 0.3))
    assert steps(0.5, 0.5) == pytest.approx((0.0, 0.0), abs=0.05)  # back from both limits


def live(weights: Weighting, rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The gradient of the total for each loss, step by step, with all that a weighting sees in a training."""
    optimiser = torch.optim.SGD(weights.parameters(), lr=0.1) if list(weights.parameters()) else None
    found = []
    for row in rows:
        if weights.reads_norms:
            weights.see_norms({name: 2.0 * value + 0.1 for name, value in row.items()}, row)
        losses = {name: torch.tensor(value, requires_grad=True) for name, value in row.items()}
        weights.total(losses).backward()
        found.append({name: float(loss.grad) for name, loss in losses.items()})
        if optimiser is not None:
            optimiser.step()
            optimiser.zero_grad()
        weights.constrain()
        if weights.looks_twice:
            weights.see_again(row, {name: value * (0.9 if name == "one" else 0.99) for name, value in row.items()})
    return found


ROWS = [{"one": 1.0 / (n + 1), "two": 2.0 - 0.1 * n} for n in range(8)]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_an_unlabelled_task_is_a_dropped_row(name: str) -> None:
    """A network with a third task that never has a label weights the two others as a network without it does."""
    with_it, without_it = live(made(name), ROWS), live(made(name, ("one", "two")), ROWS)
    for one, two in zip(with_it, without_it, strict=True):
        assert one == pytest.approx(two, rel=1e-6)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_nothing_of_an_absent_task_moves(name: str) -> None:
    weights = made(name)
    live(weights, [{**row, "three": 0.5 + 0.1 * n} for n, row in enumerate(ROWS)])
    before = weights.weights()["three"]
    own = {key: value[2].clone() for key, value in weights.named_buffers() if value.ndim}
    s = dict(weights.named_parameters()).get("log_variances.three")
    kept = None if s is None else s.item()
    live(weights, ROWS)
    assert weights.weights()["three"] == before
    assert all(torch.equal(value, dict(weights.named_buffers())[key][2]) for key, value in own.items())
    assert s is None or s.item() == kept


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_resumed_weighting_goes_on_as_if_nothing_had_been(name: str) -> None:
    whole = live(made(name), ROWS)
    first, second = made(name), made(name)
    live(first, ROWS[:3])
    second.load_state_dict(first.state_dict())
    assert live(second, ROWS[3:]) == whole[3:]


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name not in ("fixed", "kendall", "liebel-korner")])
def test_tasks_that_look_alike_weigh_alike(name: str) -> None:
    found = live(made(name), [{"one": 0.5, "two": 0.5}])
    assert found == [pytest.approx({"one": 1.0, "two": 1.0})]


def test_fixed_weights_are_as_given() -> None:
    assert live(made("fixed"), ROWS[:1]) == [{"one": 1.0, "two": 3.0}]
    assert made("fixed").weights() == {"one": 1.0, "two": 3.0, "three": 1.0}


def test_uw_so_is_the_softmax_of_inverse_losses() -> None:
    [found] = live(made("uw-so", uw_so_temperature=1.0), [{"one": 0.5, "two": 1.0}])
    share = math.exp(2.0) / (math.exp(2.0) + math.exp(1.0))
    assert found == pytest.approx({"one": 2 * share, "two": 2 * (1 - share)})


def test_dwa_weights_by_what_is_left_of_each_loss() -> None:
    """Windows of two: one stays at 1, two falls from 1 to 1/2; from then on exp(1 / T) to exp(1/2 / T)."""
    rows = [{"one": 1.0, "two": 1.0}] * 2 + [{"one": 1.0, "two": 0.5}] * 3
    found = live(made("dwa", dwa_temperature=2.0), rows)
    assert found[:4] == [pytest.approx({"one": 1.0, "two": 1.0})] * 4
    share = math.exp(0.5) / (math.exp(0.5) + math.exp(0.25))
    assert found[4] == pytest.approx({"one": 2 * share, "two": 2 * (1 - share)})


def test_gradnorm_ends_where_weighted_norms_stand_as_the_shares() -> None:
    weights = made("gradnorm", ("one", "two"), gradnorm_alpha=1.5, gradnorm_rate=0.2)
    weights.see_norms({"one": 4.0, "two": 1.0}, {"one": 1.0, "two": 1.0})  # first losses
    for _ in range(200):
        weights.see_norms({"one": 4.0, "two": 1.0}, {"one": 0.5, "two": 0.25})
    factors = weights.factors({"one": 0.5, "two": 0.25})
    assert factors["one"] * 4.0 / (factors["two"] * 1.0) == pytest.approx((0.5 / 0.25) ** 1.5, rel=1e-3)
    assert sum(factors.values()) == pytest.approx(2.0)


def test_stch_follows_the_worst_and_with_much_smoothing_the_mean() -> None:
    start = [{"one": 1.0, "two": 1.0}] * 2
    row = {"one": 0.9, "two": 0.3}
    sharp = live(made("stch", stch_smoothness=0.01), [*start, row])[-1]
    smooth = live(made("stch", stch_smoothness=100.0), [*start, row])[-1]
    assert sharp == pytest.approx({"one": 2.0, "two": 0.0}, abs=1e-9)
    assert smooth == pytest.approx({"one": 1.0, "two": 1.0}, abs=1e-2)


def test_famo_weights_the_task_up_that_fell_less() -> None:
    weights = made("famo", ("one", "two"), famo_rate=0.5)
    for _ in range(10):
        weights.see_again({"one": 1.0, "two": 1.0}, {"one": 0.5, "two": 0.99})
    factors = weights.factors({"one": 1.0, "two": 1.0})
    assert factors["two"] > 1.2 > 0.8 > factors["one"]
    # with even weights it is the gradient of the mean log loss: inverse to the losses
    even = made("famo", ("one", "two")).factors({"one": 1.0, "two": 0.25})
    assert even["two"] / even["one"] == pytest.approx(4.0)


def test_a_name_that_is_not_known_is_refused() -> None:
    with pytest.raises(TrainingError, match="weighting is 'best'"):
        TrainSettings(weighting="best")
