"""Networks that share otherwise than by one encoder: answers, ownership of weights, penalties, bundles."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medmtl.bundle.weights import make_network
from medmtl.errors import DatasetError
from medmtl.inference.torch_engine import TorchEngine
from medmtl.network.multitask import MultiTaskNet
from medmtl.network.sharing import CASE, Experts, OwnEncoders, owner_of
from medmtl.pipeline.model import load_model
from medmtl.preparation.plan import SHARING, plan_from_mapping, plan_to_mapping
from medmtl.task import tasks_from_mapping
from tests.tiny import STACK, heart_tasks, network, write_bundle

ALL = ("lesions", "organs", "diagnosis")
FURTHER = [name for name in SHARING if name != "hard"]


def made(sharing: str, *, seed: int = 0) -> MultiTaskNet:
    return network(replace(STACK, sharing=sharing), seed=seed)


def given(batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((batch, 1, *STACK.patch), generator=generator), torch.ones((batch, 1, *STACK.patch))


def answers(net: MultiTaskNet, asked: tuple[str, ...]) -> dict[str, Tensor]:
    with torch.inference_mode():
        out = net(*given(), asked)
        case = {} if out.sums is None else net.case_logits(out.sums, torch.tensor([0.4]), asked)
    return {**out.dense, **case}


@pytest.mark.parametrize("sharing", FURTHER)
@pytest.mark.parametrize("name", ALL)
def test_an_answer_does_not_depend_on_what_else_is_asked(sharing: str, name: str) -> None:
    net = made(sharing)
    alone = answers(net, (name,))[name]
    for others in (("lesions",), ("organs",), ("diagnosis",), ALL):
        assert torch.allclose(answers(net, (name, *others))[name], alone, atol=1e-5)


@pytest.mark.parametrize("sharing", SHARING)
def test_a_task_moves_only_its_own_weights_and_the_shared_ones(sharing: str) -> None:
    net = made(sharing).train()
    out = net(*given(2), ["lesions", "organs"])
    (out.dense["organs"].square().mean() + out.coarse["organs"].square().mean()).backward()
    reached = {owner_of(name) for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached == ({"organs"} if sharing == "soft" else {"organs", None})
    assert all(owner_of(name) is None for name in net.shared_parameters())


@pytest.mark.parametrize("sharing", ["soft", "shared-private", "moe"])
def test_a_penalty_is_its_consumers_alone_and_not_there_at_inference(sharing: str) -> None:
    net = made(sharing).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    out = net(*given(2), ALL)
    assert set(out.penalties) == {"lesions", "organs", CASE}
    out.penalties["organs"].backward()
    reached = {owner_of(name) for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached == {"organs"}
    assert all(float(value.detach()) >= -1e-6 for value in out.penalties.values())
    assert dict(net.eval()(*given(), ALL).penalties) == {}


def test_softly_shared_encoders_start_as_one() -> None:
    net = made("soft").train()
    penalties = net(*given(), ALL).penalties
    assert all(float(value.detach()) == 0.0 for value in penalties.values())
    assert isinstance(net.encoder, OwnEncoders)
    net.encoder.tie = "kl"
    assert all(abs(float(value.detach())) < 1e-5 for value in net(*given(), ALL).penalties.values())


def test_the_gate_of_the_experts_tells_images_apart() -> None:
    """Noise, and the same brighter: shares differ far more than from one noise to the next."""
    net = made("moe")
    assert isinstance(net.encoder, Experts)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((16, 1, *STACK.patch), generator=generator)
    with torch.inference_mode():
        for name, gate in net.encoder.own.items():
            plain, brighter = gate(noise), gate(noise + 1.0)
            apart = (plain.mean(dim=0) - brighter.mean(dim=0)).abs().max()
            assert float(apart) > 3 * float(plain.std(dim=0).max()), name


@pytest.mark.parametrize("sharing", ["cross-task-attention", "task-graph"])
def test_decoders_hear_each_other(sharing: str) -> None:
    net = made(sharing)
    before = answers(net, ("organs",))["organs"]
    with torch.no_grad():
        net.decoders["lesions"].blocks[0].conv.weight.mul_(-1.0)
    after = answers(net, ("organs",))["organs"]
    assert not torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("sharing", FURTHER)
def test_one_task_has_nothing_to_share(sharing: str) -> None:
    tasks = tuple(task for task in heart_tasks() if task.name == "organs")
    assert set(network(replace(STACK, sharing=sharing), tasks).state_dict()) == set(network(STACK, tasks).state_dict())


def test_hard_sharing_is_as_it_was() -> None:
    older = {key: value for key, value in plan_to_mapping(STACK).items() if key not in ("sharing", "guides")}
    assert plan_from_mapping(older) == STACK
    with pytest.raises(DatasetError, match="sharing is 'none'"):
        replace(STACK, sharing="none")


@pytest.mark.parametrize("sharing", SHARING)
def test_a_bundle_says_how_it_shares_and_answers_on_every_engine(sharing: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / sharing, plan=replace(STACK, sharing=sharing))
    assert bundle.plan.sharing == sharing
    image, weight = (x[0].numpy() for x in given())
    found = load_model(bundle, "cpu").engine.run(image, weight[0], ALL, 0)
    by_torch = load_model(bundle, "cpu", engine="torch").engine
    assert isinstance(by_torch, TorchEngine)
    wanted = by_torch.run(image, weight[0], ALL, 0)
    for name in ("lesions", "organs"):
        assert torch.allclose(torch.from_numpy(found.dense[name]), torch.from_numpy(wanted.dense[name]), atol=2e-3)


def test_a_task_that_is_no_guide_leaves_the_heads_input_alone() -> None:
    extra = tasks_from_mapping({"vessels": {"kind": "segmentation", "labels": ["one"]}})
    plan = replace(STACK, guides=("lesions", "organs"))
    torch.manual_seed(0)
    old, new = network(), make_network(1, plan, (*heart_tasks(), *extra)).eval()
    missing = new.load_state_dict(old.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    one, two = answers(old, ALL), answers(new, (*ALL, "vessels"))
    assert all(torch.equal(one[name], two[name]) for name in ALL)
