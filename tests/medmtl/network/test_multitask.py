from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medmtl.bundle.weights import make_network
from medmtl.errors import Code, DatasetError
from medmtl.network.multitask import MultiTaskNet
from medmtl.preparation.plan import Plan
from medmtl.task import tasks_from_mapping
from tests.tiny import CUBE, STACK, heart_tasks, network

ALL = ("lesions", "organs", "diagnosis")
FURTHER = {"parts": {"kind": "regions", "labels": ["front", "back"]}, "age": {"kind": "regression"}}


def window(plan: Plan, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, 1, *plan.patch), generator=generator), torch.ones((batch, 1, *plan.patch))


@pytest.mark.parametrize("plan", [STACK, CUBE, replace(STACK, patch=(8, 24, 6))])
def test_shapes(plan: Plan) -> None:
    tasks = heart_tasks(**FURTHER)
    net = network(plan, tasks)
    image, weight = window(plan, 2)
    out = net(image, weight, [task.name for task in tasks])
    assert {name: tuple(t.shape) for name, t in out.dense.items()} == {
        "lesions": (2, 3, *plan.patch), "organs": (2, 3, *plan.patch), "parts": (2, 2, *plan.patch),
    }  # fmt: skip
    coarse = tuple(n // s for n, s in zip(plan.patch, plan.strides[1], strict=True))
    assert tuple(out.coarse["lesions"].shape) == (2, 3, *coarse)
    logits = net.case_logits(out.sums, torch.tensor([0.1, 0.2]), (*ALL, "age"))
    assert {name: tuple(t.shape) for name, t in logits.items()} == {"diagnosis": (2, 2), "age": (2, 1)}


@pytest.mark.parametrize(
    ("asked", "finished", "coarse"),
    [
        (("lesions",), {"lesions"}, {"lesions"}),
        (("organs",), {"organs"}, {"organs"}),
        (("diagnosis",), set(), {"lesions", "organs"}),
        (("organs", "diagnosis"), {"organs"}, {"lesions", "organs"}),
    ],
)
def test_only_the_asked_decoders_run(asked: tuple[str, ...], finished: set[str], coarse: set[str]) -> None:
    net = network()
    ran: dict[str, set[str]] = {"head": set(), "coarse": set()}
    for name, decoder in net.decoders.items():
        decoder.head.register_forward_hook(lambda *_, name=name: ran["head"].add(name))
        decoder.coarse_head.register_forward_hook(lambda *_, name=name: ran["coarse"].add(name))
    encoded: list[int] = []
    net.encoder.register_forward_hook(lambda *_: encoded.append(1))
    out = net(*window(STACK), asked)
    assert (ran["head"], ran["coarse"], len(encoded)) == (finished, coarse, 1)
    assert set(out.dense) == finished
    assert (out.sums is not None) == ("diagnosis" in asked)


def answers(net: MultiTaskNet, asked: tuple[str, ...]) -> dict[str, Tensor]:
    with torch.inference_mode():
        out = net(*window(STACK), asked)
        case = {} if out.sums is None else net.case_logits(out.sums, torch.tensor([0.4]), asked)
    return {**out.dense, **case}


@pytest.mark.parametrize("name", ALL)
def test_an_answer_does_not_depend_on_what_else_is_asked(name: str) -> None:
    net = network()
    alone = answers(net, (name,))[name]
    for others in ((), ("lesions",), ("organs",), ("diagnosis",), ALL):
        assert torch.equal(answers(net, (name, *others))[name], alone)


def test_sums_over_parts_of_a_window_are_the_sums_over_it() -> None:
    net = network()
    image, _ = window(STACK)
    whole = torch.rand((1, 1, *STACK.patch), generator=torch.Generator().manual_seed(5))
    share = torch.rand((1, 1, *STACK.patch), generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        total = net(image, whole, ["diagnosis"]).sums
        parts = [net(image, w, ["diagnosis"]).sums for w in (whole * share, whole * (1 - share))]
        nothing = net(image, torch.zeros_like(whole), ["diagnosis"]).sums
    assert torch.allclose(parts[0] + parts[1], total, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(parts[0], total, rtol=0.1)
    assert float(nothing.abs().max()) == 0.0


def test_sums_count_the_voxels_of_the_guides() -> None:
    """The first column is the soft number of voxels: with a guide of one everywhere, all that have weight."""
    net = network()
    for decoder in net.decoders.values():
        torch.nn.init.zeros_(decoder.coarse_head.weight)
        with torch.no_grad():
            decoder.coarse_head.bias.copy_(torch.tensor([-20.0, 20.0, -20.0]))  # the first label everywhere
    with torch.inference_mode():
        out = net(*window(STACK), ["diagnosis"])
    voxels = float(torch.tensor(STACK.patch).prod())
    # guides: lesions 1, 2, organs 1, 2, each softly and then above one half
    assert out.sums[0, :8, 0].tolist() == pytest.approx([voxels, 0, voxels, 0] * 2, abs=1e-2)
    assert float(out.peak[0]) == pytest.approx(1.0)


def test_a_disease_label_does_not_redraw_the_outlines() -> None:
    net = network().train()
    out = net(*window(STACK, 2), ["diagnosis"])
    logits = net.case_logits(out.sums, torch.tensor([0.4, 0.4]), ["diagnosis"])["diagnosis"]
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(p.grad is None for p in net.decoders.parameters())
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in net.encoder.parameters())
    assert all(p.grad is not None for p in net.case_heads.parameters())


def test_a_data_set_without_outlines_has_a_case_head_all_the_same() -> None:
    tasks = tasks_from_mapping({"grade": {"kind": "ordinal", "classes": ["low", "middle", "high"]}})
    net = network(STACK, tasks)
    out = net(*window(STACK), ["grade"])
    assert tuple(net.case_logits(out.sums, torch.tensor([0.1]), ["grade"])["grade"].shape) == (1, 3)


def test_more_tissue_means_a_larger_burden() -> None:
    """Sums of two windows are those of one case: the head sees twice the millilitres, and the same means."""
    net = network()
    with torch.inference_mode():
        sums = net(*window(STACK), ["diagnosis"]).sums
        once = net.case_logits(sums, torch.tensor([0.4]), ["diagnosis"])["diagnosis"]
        finer = net.case_logits(2 * sums, torch.tensor([0.2]), ["diagnosis"])["diagnosis"]
        twice = net.case_logits(2 * sums, torch.tensor([0.4]), ["diagnosis"])["diagnosis"]
    assert torch.allclose(once, finer, atol=1e-5)  # the same tissue in half the voxel size
    assert not torch.allclose(once, twice, atol=1e-3)


def test_a_name_that_torch_keeps_is_refused() -> None:
    tasks = tasks_from_mapping({"type": {"kind": "segmentation", "labels": ["one"]}})
    with pytest.raises(DatasetError) as caught:
        make_network(1, STACK, tasks)
    assert caught.value.code is Code.BAD_DATASET


def test_the_layout_of_weights_is_fixed() -> None:
    """Checkpoints and bundles hold these names: whoever changes them makes every trained model unreadable."""
    names = set(network().state_dict())
    assert {
        "encoder.stages.0.conv1.conv.weight",
        "decoders.lesions.head.weight",
        "decoders.organs.coarse_head.bias",
    } < names
    assert {"pooling.project.weight", "case_heads.diagnosis.burden.0.weight"} < names
    assert {name.split(".")[0] for name in names} == {"encoder", "decoders", "pooling", "case_heads"}
