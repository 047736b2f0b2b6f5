"""`MultiTaskNet`: one encoder pass, the decoders that were asked, one answer per case."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from medmtl.network.decoder import Decoder
from medmtl.network.encoder import Encoder, initialise
from medmtl.network.exchange import CrossTaskAttention, TaskGraph
from medmtl.network.head import Head
from medmtl.network.pooling import CaseHead, GuidedPooling
from medmtl.network.sharing import CASE, Features, OwnEncoders, make_encoder, owner_of
from medmtl.preparation.plan import Plan


@dataclass(frozen=True, kw_only=True)
class WindowOutput:
    """Answers for one batch of windows.

    Attributes:
        dense: task to logits `(batch, output, i, j, k)`, only for the maps that were asked.
        coarse: task to logits at the coarse level, for every voxel task that guides or was asked.
        sums: `(batch, map, column)` to be added over the windows of a case; None where no case task is asked.
        peak: `(batch,)` highest probability of any structure at the coarse level, where sums are given.
        penalties: in training, consumer to what ties or separates its encoder (see `medmtl.network.sharing`).
    """

    dense: Mapping[str, Tensor]
    coarse: Mapping[str, Tensor]
    sums: Tensor | None
    peak: Tensor | None
    penalties: Mapping[str, Tensor] = field(default_factory=dict)


_EXCHANGES = {"cross-task-attention": CrossTaskAttention, "task-graph": TaskGraph}


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """Softmax over exclusive labels, else a sigmoid for each."""
    return torch.softmax(logits.float(), dim=1) if head.exclusive else torch.sigmoid(logits.float())


class MultiTaskNet(nn.Module):
    """A residual 3D U-Net encoder shared by all tasks, a light decoder per voxel task, a head per case-level task.

    Args:
        channels: of the image.
        plan: widths, kernels and strides, and what else tasks share.
        heads: one per task, in a fixed order.
    """

    def __init__(self, channels: int, plan: Plan, heads: tuple[Head, ...]) -> None:
        super().__init__()
        self.heads = {head.name: head for head in heads}
        dense, case_heads = [head for head in heads if head.dense], [head for head in heads if not head.dense]
        self.guiding = [head.name for head in dense if not plan.guides or head.name in plan.guides]
        consumers = [head.name for head in dense] + [CASE] * bool(case_heads)
        self.encoder = make_encoder(channels, plan, consumers)
        self.decoders = nn.ModuleDict({head.name: Decoder(plan, head.outputs) for head in dense})
        self.exchange: nn.Module | None = None
        if len(dense) > 1 and plan.sharing in _EXCHANGES:
            names = [head.name for head in dense]
            self.exchange = _EXCHANGES[plan.sharing](names, plan.decoder_widths[plan.coarse_level])
        self.pooling: GuidedPooling | None = None
        self.case_heads = nn.ModuleDict()
        initialise(self)
        if isinstance(self.encoder, OwnEncoders):
            self.encoder.start_as_one()
        if case_heads:
            guides = sum(head.outputs - head.exclusive for head in dense if head.name in self.guiding)
            self.pooling = GuidedPooling(plan, channels, guides)
            for head in case_heads:
                made = CaseHead(self.pooling, channels, head.outputs, standardise=plan.standardise)
                self.case_heads[head.name] = made

    def forward(self, image: Tensor, weight: Tensor, asked: Collection[str]) -> WindowOutput:
        """Answers to the asked tasks; no other full-resolution decoder runs.

        Args:
            image: `(batch, channel, i, j, k)`.
            weight: `(batch, 1, i, j, k)` share of each voxel that counts for case-level tasks.
            asked: names of tasks.
        """
        pooled = self.pooling is not None and any(name in self.case_heads for name in asked)
        # decoders that hear each other all climb to the coarse level: an answer must not depend on what else is asked
        together = self.exchange is not None and (pooled or any(name in self.decoders for name in asked))
        guiding = self.guiding if pooled else []
        climbing = [name for name in self.decoders if together or name in guiding or name in asked]
        features, penalties = self._encode(image, [*climbing, *[CASE] * pooled])
        climbed = {name: cast(Decoder, self.decoders[name]).climb(features[name]) for name in climbing}
        if self.exchange is not None and climbed:
            climbed = self.exchange(climbed)
        coarse: dict[str, Tensor] = {}
        dense: dict[str, Tensor] = {}
        for name in climbing:
            decoder = cast(Decoder, self.decoders[name])
            if name in guiding or name in asked:
                coarse[name] = decoder.coarse_head(climbed[name])
            if name in asked:
                dense[name] = decoder.finish(climbed[name], features[name])
        if not pooled or self.pooling is None:
            return WindowOutput(dense=dense, coarse=coarse, sums=None, peak=None, penalties=penalties)
        guides = self._guides(coarse, features[CASE])
        sums = self.pooling(image, features[CASE], guides, weight)
        peak = guides.flatten(1).amax(dim=1) if guides.shape[1] else torch.ones_like(sums[:, 0, 0])
        return WindowOutput(dense=dense, coarse=coarse, sums=sums, peak=peak, penalties=penalties)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The weights that several tasks read, by name."""
        return {name: value for name, value in self.named_parameters() if owner_of(name) is None}

    def _encode(self, image: Tensor, consumers: list[str]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        if isinstance(self.encoder, Encoder):
            features = self.encoder(image)
            return dict.fromkeys(consumers, features), {}
        return cast(Features, self.encoder)(image, consumers)

    def case_logits(self, sums: Tensor, voxel_ml: Tensor, asked: Collection[str]) -> dict[str, Tensor]:
        """Logits `(batch, output)` of the asked case-level tasks from sums over all windows of each case."""
        return {name: head(sums, voxel_ml) for name, head in self.case_heads.items() if name in asked}

    def _guides(self, coarse: Mapping[str, Tensor], features: list[Tensor]) -> Tensor:
        heads = [self.heads[name] for name in self.guiding]
        maps = [probabilities(coarse[head.name], head)[:, int(head.exclusive) :] for head in heads]
        if maps:
            return torch.cat(maps, dim=1)
        level = features[self.pooling.level if self.pooling is not None else -1]
        return level.new_zeros((level.shape[0], 0, *level.shape[2:]))
