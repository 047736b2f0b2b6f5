from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medmtl.bundle.weights import load_networks, save_weights
from medmtl.errors import BundleError, Code
from tests.tiny import CUBE, heart_tasks, network, write_bundle


def test_weights_come_back_to_half_precision(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny", networks=2)
    for seed, net in enumerate(load_networks(bundle)):
        for name, value in network(seed=seed).state_dict().items():
            found = net.state_dict()[name]
            assert found.dtype == torch.float32
            assert torch.equal(found, value.half().float())


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    weights = dict(network().state_dict())
    save_weights(weights, tmp_path / "a.safetensors")
    save_weights(dict(reversed(weights.items())), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("what", ["another plan", "fewer tasks", "truncated", "none"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, what: str) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    if what == "another plan":
        bundle = replace(bundle, plan=CUBE)
    elif what == "fewer tasks":
        bundle = replace(bundle, tasks=heart_tasks()[:2])
    elif what == "none":
        bundle = replace(bundle, weights=())
    else:
        data = bundle.weights[0].read_bytes()
        bundle.weights[0].write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError) as caught:
        load_networks(bundle)
    assert caught.value.code is Code.BUNDLE_DAMAGED
