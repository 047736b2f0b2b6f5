"""Weights in safetensors files to networks and back."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from medmtl.bundle.arrays import network_heads
from medmtl.bundle.bundle import Bundle, refuse_unsafe
from medmtl.errors import BundleError, Code, DatasetError
from medmtl.network.multitask import MultiTaskNet
from medmtl.preparation.plan import Plan
from medmtl.task import Task


def make_network(channels: int, plan: Plan, tasks: tuple[Task, ...]) -> MultiTaskNet:
    """A network with a head per task, weights as torch's generator draws them.

    Raises:
        DatasetError: a task has a name that torch keeps for itself.
    """
    try:
        return MultiTaskNet(channels, plan, network_heads(tasks))
    except KeyError as error:  # torch keeps heads as attributes, so "type" or "train" cannot be one
        what = f"a task has a name that torch keeps for itself ({error.args[0]})"
        raise DatasetError(Code.BAD_DATASET, what, "give the task another name") from None


def load_networks(bundle: Bundle) -> list[MultiTaskNet]:
    """The bundle's networks, one or an ensemble, in float32.

    Raises:
        BundleError: a file is no safetensors or does not fit the plan.
    """
    if not bundle.weights:
        raise BundleError(Code.BUNDLE_DAMAGED, "the bundle holds no weights", "install the model again")
    return [_load(bundle, path) for path in bundle.weights]


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Writes weights as half precision: what training adds below it is noise, and files are half as large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {name: v.detach().cpu().to(torch.float16).contiguous() for name, v in sorted(weights.items())}
    save_file(half, path)


def _load(bundle: Bundle, path: Path) -> MultiTaskNet:
    refuse_unsafe(path)
    net = make_network(len(bundle.channels), bundle.plan, bundle.tasks)
    try:
        net.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (SafetensorError, RuntimeError, OSError):
        what = f"weights/{path.name} does not fit the bundle's plan"
        raise BundleError(Code.BUNDLE_DAMAGED, what, "install the model again") from None
    return net
