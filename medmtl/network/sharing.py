"""Encoders that tasks share otherwise than all of one: soft sharing, shared and private parts, experts.

A consumer is a voxel task, or `CASE` for all case-level tasks together. What belongs to one consumer alone stands under
`own.CONSUMER` in the names of the weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import log
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmtl.network.encoder import Encoder
from medmtl.preparation.plan import Plan

CASE = "*case"
"""The consumer that stands for all case-level tasks."""

_EXPERTS = 3
_GATE_WIDTH = 8
_PRIVATE = 4  # the private part has a fourth of the channels
_LITTLE = 1e-6


class Features(Protocol):
    """An encoder with features for each consumer."""

    def __call__(self, image: Tensor, consumers: Collection[str]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        """Features of every level for each consumer, and in training a penalty for each consumer."""


def make_encoder(channels: int, plan: Plan, consumers: list[str]) -> nn.Module:
    """The encoder that `plan.sharing` names; for one consumer there is nothing to share."""
    if len(consumers) < 2:
        return Encoder(channels, plan)
    if plan.sharing == "soft":
        return OwnEncoders(channels, plan, consumers)
    if plan.sharing == "shared-private":
        return SharedPrivate(channels, plan, consumers)
    if plan.sharing == "moe":
        return Experts(channels, plan, consumers)
    return Encoder(channels, plan)


def owner_of(name: str) -> str | None:
    """The consumer or task that alone reads the weight called `name`; None for what several read."""
    parts = name.split(".")
    if parts[0] == "pooling":
        return CASE
    if parts[0] in ("decoders", "case_heads"):
        return parts[1]
    return parts[2] if parts[0] in ("encoder", "exchange") and parts[1] == "own" else None


class OwnEncoders(nn.Module):
    """An encoder for each consumer, drawn together by a penalty (soft parameter sharing, Duong et al., ACL 2015).

    Args:
        channels: of the image.
        plan: of the encoders.
        consumers: their names.
    """

    def __init__(self, channels: int, plan: Plan, consumers: list[str]) -> None:
        super().__init__()
        self.tie = "l2"
        self.own = nn.ModuleDict({name: Encoder(channels, plan) for name in consumers})

    def start_as_one(self) -> None:
        """Gives all encoders the first one's weights; they part where their tasks want it."""
        encoders = list(self.own.values())
        for encoder in encoders[1:]:
            encoder.load_state_dict(encoders[0].state_dict())

    def forward(self, image: Tensor, consumers: Collection[str]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        """See `Features`. A penalty moves only the encoder of its own consumer."""
        found = {name: encoder(image) for name, encoder in self.own.items() if name in consumers}
        if not self.training:
            return found, {}
        if self.tie == "kl":
            return found, {name: _kl(found, name) for name in found if len(found) > 1}
        return found, {name: self._distance(name) for name in found}

    def _distance(self, name: str) -> Tensor:
        """Squared distance of the weights from the mean of the other encoders', relative to the size of that."""
        others = [dict(encoder.named_parameters()) for key, encoder in self.own.items() if key != name]
        apart, size = [], []
        for key, value in self.own[name].named_parameters():
            mean = torch.stack([other[key].detach() for other in others]).mean(dim=0)
            apart.append((value - mean).square().sum())
            size.append(mean.square().sum())
        return torch.stack(apart).sum() / (torch.stack(size).sum() + _LITTLE)


def _kl(found: Mapping[str, list[Tensor]], name: str) -> Tensor:
    """Kullback-Leibler divergence of the deepest features, as shares of channels, from the mean of the others'."""
    others = [torch.softmax(f[-1].float(), dim=1).detach() for key, f in found.items() if key != name]
    mean = torch.stack(others).mean(dim=0)
    logs = torch.log_softmax(found[name][-1].float(), dim=1)
    return (mean * ((mean + _LITTLE).log() - logs)).sum(dim=1).mean()


class _Private(nn.Module):
    """A narrow encoder of one consumer, and how it is joined to the shared one."""

    def __init__(self, channels: int, plan: Plan) -> None:
        super().__init__()
        widths = tuple(max(2, width // _PRIVATE) for width in plan.widths)
        self.encoder = Encoder(channels, replace(plan, widths=widths, sharing="hard"))
        self.join = nn.ModuleList(nn.Conv3d(a + b, a, 1) for a, b in zip(plan.widths, widths, strict=True))


class SharedPrivate(nn.Module):
    """One shared encoder and a narrow private one for each consumer (after Bousmalis et al., NeurIPS 2016).

    Args:
        channels: of the image.
        plan: of the shared encoder.
        consumers: their names.
    """

    def __init__(self, channels: int, plan: Plan, consumers: list[str]) -> None:
        super().__init__()
        self.shared = Encoder(channels, plan)
        self.own = nn.ModuleDict({name: _Private(channels, plan) for name in consumers})

    def forward(self, image: Tensor, consumers: Collection[str]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        """See `Features`. The penalty is how much a private part repeats of the shared one."""
        shared = self.shared(image)
        found, penalties = {}, {}
        for name in self.own:
            if name not in consumers:
                continue
            part = cast(_Private, self.own[name])
            private = part.encoder(image)
            found[name] = [
                one + join(torch.cat([one, two], dim=1))
                for one, two, join in zip(shared, private, part.join, strict=True)
            ]
            if self.training:
                penalties[name] = _repeated(shared[-1].detach(), private[-1])
        return found, penalties


def _repeated(shared: Tensor, private: Tensor) -> Tensor:
    """Mean squared correlation over voxels of every private channel with every shared one."""
    rows = [x.float().flatten(2) for x in (shared, private)]
    one, two = (F.normalize(x - x.mean(dim=2, keepdim=True), dim=2, eps=_LITTLE) for x in rows)
    return torch.einsum("bcv,bdv->bcd", one, two).square().mean()


class _Gate(nn.Module):
    """One consumer's shares of the experts, from the image, and its way back to the plan's widths.

    It looks at the image itself: the encoders' InstanceNorm makes the mean of every feature nearly the same for all
    images, and a gate that reads these means cannot tell one image from another.
    """

    def __init__(self, channels: int, plan: Plan, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.look = nn.Conv3d(channels, _GATE_WIDTH, plan.kernels[0])
        self.shares = nn.Linear(_GATE_WIDTH, _EXPERTS)
        self.widen = nn.ModuleList(nn.Conv3d(a, b, 1) for a, b in zip(widths, plan.widths, strict=True))

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, expert)`, a sum of one for each image."""
        seen = F.leaky_relu(self.look(image), 0.01).mean(dim=(2, 3, 4))
        return torch.softmax(self.shares(seen).float(), dim=1)


class Experts(nn.Module):
    """Several encoders of half the width, mixed by a gate for each consumer (MMoE, Ma et al., KDD 2018).

    Args:
        channels: of the image.
        plan: widths as the decoders read them.
        consumers: their names.
    """

    def __init__(self, channels: int, plan: Plan, consumers: list[str]) -> None:
        super().__init__()
        widths = tuple(max(2, width // 2) for width in plan.widths)
        narrow = replace(plan, widths=widths, sharing="hard")
        self.experts = nn.ModuleList(Encoder(channels, narrow) for _ in range(_EXPERTS))
        self.own = nn.ModuleDict({name: _Gate(channels, plan, widths) for name in consumers})

    def forward(self, image: Tensor, consumers: Collection[str]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        """See `Features`. The penalty is how far all gates together are from using all experts alike over a batch.

        Each consumer may well keep to one expert: that is what they are for. The penalty moves only its own gate.
        """
        answers = [expert(image) for expert in self.experts]
        asked = [name for name in self.own if self.training or name in consumers]
        shares = {name: self.own[name](image) for name in asked}
        found, penalties = {}, {}
        for name in asked:
            if name not in consumers:
                continue
            gate = cast(_Gate, self.own[name])
            found[name] = [
                widen(_mix(shares[name], levels))
                for widen, levels in zip(gate.widen, zip(*answers, strict=True), strict=True)
            ]
            if self.training:
                means = [(one if other == name else one.detach()).mean(dim=0) for other, one in shares.items()]
                mean = torch.stack(means).mean(dim=0)
                penalties[name] = (mean * (mean + _LITTLE).log()).sum() + log(_EXPERTS)
        return found, penalties


def _mix(shares: Tensor, levels: tuple[Tensor, ...]) -> Tensor:
    weights = shares.to(levels[0].dtype)[:, :, None, None, None, None]
    return torch.stack([weights[:, n] * level for n, level in enumerate(levels)]).sum(dim=0)
