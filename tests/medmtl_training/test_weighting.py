import math

import pytest
import torch

from medmtl_training.weighting import UncertaintyWeights

WIDE = (-20.0, 20.0)


@pytest.mark.parametrize(("loss", "b"), [(0.02, 0.5), (0.3, 0.5), (1.0, 0.5), (7.0, 0.5)])
def test_log_variances_end_at_their_closed_form(loss: float, b: float) -> None:
    """exp(-s) L + b s is least at s = ln(L / b), with weight b / L and value b (1 + ln(L / b))."""
    weights = UncertaintyWeights(["task"], WIDE, learned=True)
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        total = weights.total({"task": torch.tensor(loss)})
        total.backward()
        optimiser.step()
        weights.clamp()
    s = weights.log_variances["task"].item()
    assert s == pytest.approx(math.log(loss / b), abs=1e-3)
    assert weights.weights()["task"] == pytest.approx(b / loss, rel=2e-3)
    assert total.item() == pytest.approx(b * (1 + math.log(loss / b)), abs=1e-3)


def test_the_total_of_small_losses_is_negative() -> None:
    """So no checkpoint may be chosen by it."""
    weights = UncertaintyWeights(["task"], WIDE, learned=True)
    with torch.no_grad():
        weights.log_variances["task"].fill_(math.log(2 * 0.02))
    assert weights.total({"task": torch.tensor(0.02)}).item() == pytest.approx(-1.109, abs=1e-3)


def test_a_task_without_a_label_has_neither_term() -> None:
    weights = UncertaintyWeights(["seen", "absent"], WIDE, learned=True)
    with torch.no_grad():
        for s in weights.log_variances.values():
            s.fill_(0.8)
    total = weights.total({"seen": torch.tensor(2.0)})
    total.backward()
    assert total.item() == pytest.approx(math.exp(-0.8) * 2.0 + 0.4)
    assert weights.log_variances["absent"].grad is None
    assert weights.log_variances["seen"].grad.item() == pytest.approx(-math.exp(-0.8) * 2.0 + 0.5)


def test_the_clamp_holds_and_is_no_dead_end() -> None:
    weights = UncertaintyWeights(["low", "high"], (-0.7, 0.3), learned=True)
    optimiser = torch.optim.SGD(weights.parameters(), lr=1.0)

    def steps(low: float, high: float) -> tuple[float, float]:
        for _ in range(30):
            optimiser.zero_grad()
            weights.total({"low": torch.tensor(low), "high": torch.tensor(high)}).backward()
            optimiser.step()
            weights.clamp()
        return weights.log_variances["low"].item(), weights.log_variances["high"].item()

    assert steps(0.001, 50.0) == pytest.approx((-0.7, 0.3))
    assert steps(0.5, 0.5) == pytest.approx((0.0, 0.0), abs=0.05)  # back from both limits


def test_equal_is_the_plain_sum() -> None:
    weights = UncertaintyWeights(["one", "two"], WIDE, learned=False)
    losses = {"one": torch.tensor(2.0, requires_grad=True), "two": torch.tensor(3.0, requires_grad=True)}
    total = weights.total(losses)
    total.backward()
    assert total.item() == 5.0
    assert losses["two"].grad.item() == 1.0
    assert all(s.grad is None for s in weights.log_variances.values())
    assert weights.weights() == {"one": 1.0, "two": 1.0}
