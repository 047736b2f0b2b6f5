"""What the decoders of different tasks tell each other at the coarse level.

Each receiving task owns all weights of what it hears, and hears the others' features without a gradient back into them:
a task without a label in a batch stays as it is, and no task redraws another's outlines.
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROUNDS = 2  # of messages in the task graph
_START = 0.1  # of what is heard, so that training starts near separate decoders


class _Listener(nn.Module):
    """One task's attention to all tasks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Conv3d(width, width, 1, bias=False)
        self.key = nn.Conv3d(width, width, 1, bias=False)
        self.value = nn.Conv3d(width, width, 1, bias=False)
        self.scale = nn.Parameter(torch.full((), _START))

    def forward(self, own: Tensor, others: list[Tensor]) -> Tensor:
        known = [own, *others]
        query = self.query(own)
        scores = torch.stack([(query * self.key(x)).sum(dim=1) for x in known], dim=1) / own.shape[1] ** 0.5
        shares = torch.softmax(scores, dim=1)
        heard = torch.stack([shares[:, n : n + 1] * self.value(x) for n, x in enumerate(known)]).sum(dim=0)
        return own + self.scale * heard


class CrossTaskAttention(nn.Module):
    """Each decoder asks the decoders of all voxel tasks what they see at the same place.

    Args:
        names: of the voxel tasks.
        width: channels of the decoders at the coarse level.
    """

    def __init__(self, names: list[str], width: int) -> None:
        super().__init__()
        self.own = nn.ModuleDict({name: _Listener(width) for name in names})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features `(batch, width, ...)` of every task, with what each took from the others."""
        found = {}
        for name, own in features.items():
            others = [x.detach() for other, x in features.items() if other != name]
            found[name] = self.own[name](own, others)
        return found


class _Node(nn.Module):
    """One task of the graph: how strongly it listens to each other task, and what it makes of it."""

    def __init__(self, width: int, others: list[str]) -> None:
        super().__init__()
        self.edges = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in others})
        self.message = nn.Conv3d(width, width, 1, bias=False)
        self.update = nn.Conv3d(2 * width, width, 1)
        self.scale = nn.Parameter(torch.full((), _START))

    def forward(self, own: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        heard = [torch.sigmoid(edge) * self.message(features[name].detach()) for name, edge in self.edges.items()]
        total = torch.stack(heard).sum(dim=0)
        return own + self.scale * F.leaky_relu(self.update(torch.cat([own, total], dim=1)), 0.01)


class TaskGraph(nn.Module):
    """Rounds of messages between all pairs of voxel tasks, with a learnt strength for each direction.

    Args:
        names: of the voxel tasks.
        width: channels of the decoders at the coarse level.
    """

    def __init__(self, names: list[str], width: int) -> None:
        super().__init__()
        self.own = nn.ModuleDict({name: _Node(width, [other for other in names if other != name]) for name in names})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features `(batch, width, ...)` of every task after all rounds."""
        current = dict(features)
        for _ in range(_ROUNDS):
            current = {name: cast(_Node, self.own[name])(own, current) for name, own in current.items()}
        return current
