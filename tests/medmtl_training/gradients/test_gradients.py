import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmtl_training.gradients.aggregators import dual_cone_weights, gramian, make_combine
from medmtl_training.gradients.backward import combined_backward, norm_of, plain_backward, task_gradients
from medmtl_training.gradients.meter import GradientJournal, Look, in_words, look, pairs, read_looks
from medmtl_training.settings import GRADIENTS
from tests.tiny import STACK, heart_tasks, network

torchjd = pytest.importorskip("torchjd", reason="TorchJD is not installed: extra mtl")
OTHERS = [name for name in GRADIENTS if name != "sum"]


def net_and_terms(*, cut: Callable[[list[Tensor]], list[Tensor]] | None = None) -> tuple[nn.Module, dict[str, Tensor]]:
    """The real network in float64 with skip connections, and a loss for each of its voxel tasks.

    Args:
        cut: what the decoders and heads read in place of the encoder's levels.
    """
    net = network(STACK, heart_tasks()).double()
    if cut is not None:
        net.encoder.register_forward_hook(lambda module, given, levels: cut(levels))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((2, 1, *STACK.patch), generator=generator, dtype=torch.float64)
    out = net(image, torch.ones_like(image), ["lesions", "organs"])  # pooling is float32 by design
    terms = {name: (logits.square().mean() + 0.1 * out.coarse[name].sum()) for name, logits in out.dense.items()}
    return net, terms


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def plain() -> dict[str, Tensor]:
    net, terms = net_and_terms()
    plain_backward(terms)
    return gradients(net)


def furthest(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    assert one.keys() == two.keys()
    return max(float((one[n] - two[n]).abs().max() / one[n].abs().max().clamp_min(1e-12)) for n in one)


def test_task_by_task_is_the_plain_backward_pass() -> None:
    """Levels of the encoder are read through skips and through deeper levels: each path counts once."""
    net, terms = net_and_terms()
    shared = net.shared_parameters()
    own = [p for name, p in net.named_parameters() if name not in shared]
    combined_backward(terms, list(shared.values()), own, None)
    assert furthest(plain(), gradients(net)) < 1e-5


def test_mtl_backward_of_torchjd_agrees_where_each_level_is_a_view() -> None:
    from torchjd.autojac import jac_to_grad, mtl_backward

    held: list[Tensor] = []

    def views(levels: list[Tensor]) -> list[Tensor]:
        held.extend(level.view_as(level) for level in levels)
        return held

    net, terms = net_and_terms(cut=views)
    mtl_backward(list(terms.values()), held, parallel_chunk_size=1)
    jac_to_grad(list(net.shared_parameters().values()), torchjd.aggregation.Sum())
    assert furthest(plain(), gradients(net)) < 1e-5


def test_levels_that_are_no_views_are_the_trap_that_we_do_not_step_into() -> None:
    from torchjd.autojac import jac_to_grad, mtl_backward

    held: list[Tensor] = []
    net, terms = net_and_terms(cut=lambda levels: held.extend(levels) or levels)
    mtl_backward(list(terms.values()), held, parallel_chunk_size=1, retain_graph=True)
    jac_to_grad(list(net.shared_parameters().values()), torchjd.aggregation.Sum())
    assert furthest(plain(), gradients(net)) > 0.1


def test_a_limit_per_task_holds_for_each_row_alone() -> None:
    weight = nn.Parameter(torch.zeros(2))
    terms = {"small": weight[0] * 0.5, "large": weight[1] * 100.0}
    combined_backward(terms, [weight], [], None, limit=2.0)
    assert weight.grad.tolist() == pytest.approx([0.5, 2.0])


def rows_of(*vectors: tuple[float, ...]) -> list[Tensor]:
    """Gradients of two shared weights, the first component in one and the rest in the other."""
    matrix = torch.tensor(vectors, dtype=torch.float64)
    return [matrix[:, :1].clone(), matrix[:, 1:].clone()]


@pytest.mark.parametrize("name", OTHERS)
def test_tasks_that_agree_are_added_up(name: str) -> None:
    combine = make_combine(name)
    found = torch.cat(combine(rows_of((1.0, 2.0), (1.0, 2.0))))
    wanted = torch.tensor([2.0, 4.0], dtype=torch.float64)
    assert float(torch.cosine_similarity(found, wanted, dim=0)) == pytest.approx(1.0, abs=1e-6)
    assert float(found.norm() / wanted.norm()) == pytest.approx(1.0, abs=0.35)  # CAGrad scales by 1.2 of the mean


@pytest.mark.parametrize("name", ["upgrad", "mgda"])
def test_the_common_direction_hurts_no_task(name: str) -> None:
    """Two conflicting tasks, the second five times as large: their sum would raise the first one's loss."""
    one, two = (1.0, 0.2), (-5.0, 2.0)
    assert np.dot(np.add(one, two), one) < 0
    found = torch.cat(make_combine(name)(rows_of(one, two)))
    for task in (one, two):
        assert float(found @ torch.tensor(task, dtype=torch.float64)) > -1e-3


def test_cagrad_is_the_best_for_the_worst_task_within_its_ball() -> None:
    """Most progress of the worst task, over all directions on the ball round the mean gradient, by enumeration."""
    tasks = torch.tensor([(1.0, 0.2), (-5.0, 2.0)], dtype=torch.float64)
    found = torch.cat(make_combine("cagrad")(rows_of((1.0, 0.2), (-5.0, 2.0)))) / 2 * (1 + 0.4**2)
    mean = tasks.mean(dim=0)
    angles = torch.linspace(0, 2 * np.pi, 20_000, dtype=torch.float64)
    ring = mean + 0.4 * mean.norm() * torch.stack([angles.cos(), angles.sin()], dim=1)
    assert float((found - mean).norm()) == pytest.approx(0.4 * float(mean.norm()), rel=1e-3)
    assert float((tasks @ found).min()) == pytest.approx(float((ring @ tasks.T).min(dim=1).values.max()), rel=1e-2)


def toy_losses(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two convex tasks whose gradients conflict and differ in size."""
    one = (weight - torch.tensor([1.0, 0.3], dtype=weight.dtype)).square().sum()
    two = 5.0 * (weight - torch.tensor([-1.0, 1.5], dtype=weight.dtype)).square().sum()
    return one, two


@pytest.mark.parametrize(("name", "raises"), [("sum", True), ("upgrad", False)])
def test_upgrad_raises_no_loss_where_the_sum_does(name: str, raises: bool) -> None:
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimiser = torch.optim.SGD([weight], lr=0.002)
    worst = 0.0
    for _ in range(300):
        before = [float(loss.detach()) for loss in toy_losses(weight)]
        optimiser.zero_grad()
        combined_backward(dict(zip("ab", toy_losses(weight), strict=True)), [weight], [], make_combine(name))
        optimiser.step()
        after = [float(loss.detach()) for loss in toy_losses(weight)]
        worst = max(worst, *(a - b for a, b in zip(after, before, strict=True)))
    assert worst > 1e-2 if raises else worst < 1e-5


def best_by_enumeration(u: Tensor, g: Tensor) -> float:
    """Least `w' G w` with `w >= u`, over all sets of components that are free."""
    least = float("inf")
    for free in itertools.product([False, True], repeat=len(u)):
        index = [n for n, is_free in enumerate(free) if is_free]
        rest = [n for n in range(len(u)) if n not in index]
        w = u.clone()
        if index:
            inner = g[index][:, index]
            w[index] = torch.linalg.solve(inner, -g[index][:, rest] @ u[rest]) if rest else 0.0 * u[index]
        if bool((w >= u - 1e-9).all()):
            least = min(least, float(w @ g @ w))
    return least


@pytest.mark.parametrize("seed", range(20))
def test_the_projection_is_the_least_of_all(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn((4, 3 + seed % 4), generator=generator, dtype=torch.float64)
    g = rows @ rows.T
    regular = g / g.trace() + 1e-6 * torch.eye(4, dtype=torch.float64)
    for u in torch.eye(4, dtype=torch.float64):
        w = dual_cone_weights(u, g)
        assert bool((w >= u - 1e-9).all())
        assert float(w @ regular @ w) == pytest.approx(best_by_enumeration(u, regular), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("name", OTHERS)
def test_one_task_or_no_gradient_is_no_trouble(name: str) -> None:
    weight = nn.Parameter(torch.ones(2))
    combined_backward({"only": (weight * 3.0).sum()}, [weight], [], make_combine(name))
    assert weight.grad.tolist() == [3.0, 3.0]
    found = make_combine(name)([torch.zeros(2, 3)])
    assert torch.equal(found[0], torch.zeros(3))


def test_a_gramian_is_over_all_weights() -> None:
    rows = rows_of((1.0, 2.0, 3.0), (0.0, -1.0, 1.0))
    matrix = torch.cat(rows, dim=1)
    assert torch.allclose(gramian(rows), matrix @ matrix.T)


def test_a_look_gives_cosines_and_norms_by_layer() -> None:
    net, terms = net_and_terms()
    shared = net.shared_parameters()
    looks = look(7, terms, shared)
    assert {row.layer for row in looks} == {"all", "stage 0", "stage 1", "stage 2"}
    [whole] = [row for row in looks if row.layer == "all"]
    rows = task_gradients(terms, list(shared.values()))
    flat = {name: torch.cat([g.flatten() for g in row]) for name, row in rows.items()}
    cosine = torch.cosine_similarity(flat[whole.one], flat[whole.other], dim=0)
    assert whole.cosine == pytest.approx(float(cosine), abs=1e-9)
    assert whole.norms[0] == pytest.approx(norm_of(rows[whole.one]))
    assert all(p.grad is None for p in net.parameters())


def a_look(step: int, cosine: float, layer: str = "all") -> Look:
    return Look(step=step, layer=layer, one="lesions", other="organs", cosine=cosine, norms=(1.0, 2.0))


def test_conflict_is_told_in_plain_words() -> None:
    looks = [a_look(0, -0.5), a_look(100, -0.3), a_look(0, -0.8, "stage 2"), a_look(0, 0.1, "stage 0")]
    [line] = in_words(looks)
    assert line.startswith("lesions and organs pull against each other: mean cosine -0.40, opposed in 100% of 2 looks")
    assert "stage 2" in line
    assert pairs(looks)[0].looks == 2
    [calm] = in_words([a_look(0, 0.01), a_look(100, -0.01)])
    assert "hardly touch" in calm


def test_rows_after_the_step_of_a_checkpoint_are_dropped(tmp_path: Path) -> None:
    journal = GradientJournal(tmp_path, 0)
    journal.add([a_look(step, 0.25) for step in (0, 100, 200)])
    GradientJournal(tmp_path, 200)
    kept = read_looks(tmp_path / "gradients.csv")
    assert [row.step for row in kept] == [0, 100]
    assert kept[0] == replace(a_look(0, 0.25))
