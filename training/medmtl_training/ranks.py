"""Training on several processes: who I am among them, and sums over all of them.

torchrun starts the processes and says to each by its environment which one it is; without it there is one process, and
no connection of any kind is opened.
"""

import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medmtl.errors import Code, TrainingError

_TODO = "look at its log, then start all again with --resume; the last checkpoint stays"
_PATIENCE = timedelta(minutes=30)  # the first process prepares the data while the others wait


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        local: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            _speak(dist.barrier)


def join_ranks(device: str) -> Ranks:
    """Joins the processes that torchrun started; one alone where it did not.

    Raises:
        TrainingError: the environment is torchrun's, and the others cannot be reached.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world < 2:
        return Ranks()
    ranks = Ranks(rank=int(os.environ["RANK"]), world=world, local=int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        backend = "nccl" if device == "cuda" else "gloo"
        _speak(lambda: dist.init_process_group(backend, timeout=_PATIENCE))
        signal.signal(signal.SIGTERM, _told_to_end)
    return ranks


def _told_to_end(*_: object) -> None:
    """torchrun ends the processes that are left when one has died, and Slurm a job whose time is over."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    what = "the training was told to end: another process has died, or the time of the job is over"
    raise TrainingError(Code.PEER_UNREACHABLE, what, _TODO)


def leave_ranks() -> None:
    """Takes leave of the other processes, where there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def over_ranks(value: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow; `value` itself where there is one process.

    Every process computes the same loss from such sums. Its gradient for the sum is therefore the same everywhere, and
    comes back once for each process, so that the mean of the weights' gradients over the processes is the gradient that
    one process with the whole batch would have.
    """
    if not _several():
        return value
    found: Tensor = _SumOverRanks.apply(value)
    return found


@torch.no_grad()
def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over all processes; weights without a gradient keep none.

    A task that no process has a label for has no gradient on any of them, so all have the same list.
    """
    if not _several():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    flat = mean_over_ranks(torch.cat([g.flatten() for g in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean over all processes, without a gradient."""
    if not _several():
        return value
    total = value.clone()
    _speak(lambda: dist.all_reduce(total))
    return total / dist.get_world_size()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone().contiguous()
        _speak(lambda: dist.all_reduce(total))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * dist.get_world_size()


def _speak(call: Any) -> None:
    try:
        call()
    except RuntimeError as error:  # what torch raises where another process has died or cannot be reached
        what = f"another training process does not answer ({type(error).__name__})"
        raise TrainingError(Code.PEER_UNREACHABLE, what, _TODO) from error
