"""All that a training changes, as tensors and JSON for a checkpoint, and back."""

from typing import Any, Protocol

import torch
from torch import Tensor

from medmtl.errors import Code, TrainingError
from medmtl.network.multitask import MultiTaskNet
from medmtl_training.checkpoint import optimiser_tensors, restore_optimiser
from medmtl_training.collapse import CollapseMeter
from medmtl_training.validation import Validation
from medmtl_training.weighting import Weighting

_PARTS = ("net", "average", "weights", "collapse", "best")


class Kept(Protocol):
    """What of a trainer a checkpoint keeps."""

    net: MultiTaskNet
    average: dict[str, Tensor]
    weights: Weighting
    optimiser: torch.optim.Optimizer
    collapse: CollapseMeter
    validation: Validation
    scaler: torch.amp.GradScaler
    done: int

    @property
    def device(self) -> torch.device:
        """Where it runs."""


def training_state(trainer: Kept) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain state of `trainer`."""
    parts = (
        trainer.net.state_dict(),
        trainer.average,
        trainer.weights.state_dict(),
        trainer.collapse.tensors(),
        trainer.validation.best,
    )
    tensors = {f"{part}|{name}": v for part, found in zip(_PARTS, parts, strict=True) for name, v in found.items()}
    tensors |= optimiser_tensors(trainer.optimiser)
    state = {
        "done": trainer.done,
        "scaler": trainer.scaler.state_dict(),
        "validation": trainer.validation.state(),
    }
    return tensors, state


def put_back(trainer: Kept, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Puts what `training_state` gave back into a freshly made `trainer`.

    Raises:
        TrainingError: it belongs to another network or another weighting.
    """
    device = trainer.device
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in _PARTS}
    for name, value in tensors.items():
        part, _, rest = name.partition("|")
        if part in parts:
            parts[part][rest] = value.to(device)
    try:
        trainer.net.load_state_dict(parts["net"])
        trainer.weights.load_state_dict(parts["weights"])
        trainer.average = {name: parts["average"][name] for name in trainer.average}
        restore_optimiser(trainer.optimiser, tensors)
    except (RuntimeError, KeyError, ValueError):
        what = "the checkpoint belongs to another network or other settings"
        raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "resume with the plan it was started with") from None
    trainer.collapse.restore(parts["collapse"])
    trainer.validation.restore(parts["best"], state.get("validation") or {})
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.done = int(state["done"])
