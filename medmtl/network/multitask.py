"""`MultiTaskNet`: one encoder pass, the decoders that were asked, one answer per case."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from medmtl.network.decoder import Decoder
from medmtl.network.encoder import Encoder, initialise
from medmtl.network.pooling import CaseHead, GuidedPooling
from medmtl.preparation.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the network needs to know of a task: its name, its channels, whether it is a map, whether labels exclude."""

    name: str
    outputs: int
    dense: bool
    exclusive: bool


@dataclass(frozen=True, kw_only=True)
class WindowOutput:
    """Answers for one batch of windows.

    Attributes:
        dense: task to logits `(batch, output, i, j, k)`, only for the maps that were asked.
        coarse: task to logits at the coarse level, for every voxel task that guides or was asked.
        sums: `(batch, map, column)` to be added over the windows of a case; None where no case task is asked.
        peak: `(batch,)` highest probability of any structure at the coarse level, where sums are given.
    """

    dense: Mapping[str, Tensor]
    coarse: Mapping[str, Tensor]
    sums: Tensor | None
    peak: Tensor | None


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """Softmax over exclusive labels, else a sigmoid for each."""
    return torch.softmax(logits.float(), dim=1) if head.exclusive else torch.sigmoid(logits.float())


class MultiTaskNet(nn.Module):
    """A residual 3D U-Net encoder shared by all tasks.

    Args:
        channels: of the image.
        plan: widths, kernels and strides.
        heads: one per task, in a fixed order.
    """

    def __init__(self, channels: int, plan: Plan, heads: tuple[Head, ...]) -> None:
        super().__init__()
        self.heads = {head.name: head for head in heads}
        self.encoder = Encoder(channels, plan)
        self.decoders = nn.ModuleDict({head.name: Decoder(plan, head.outputs) for head in heads if head.dense})
        case_heads = [head for head in heads if not head.dense]
        self.pooling: GuidedPooling | None = None
        self.case_heads = nn.ModuleDict()
        initialise(self)
        if case_heads:
            guides = sum(head.outputs - head.exclusive for head in heads if head.dense)
            self.pooling = GuidedPooling(plan, channels, guides)
            self.case_heads.update({head.name: CaseHead(self.pooling, channels, head.outputs) for head in case_heads})

    def forward(self, image: Tensor, weight: Tensor, asked: Collection[str]) -> WindowOutput:
        """Answers to the asked tasks; no other full-resolution decoder runs.

        Args:
            image: `(batch, channel, i, j, k)`.
            weight: `(batch, 1, i, j, k)` share of each voxel that counts for case-level tasks.
            asked: names of tasks.
        """
        features = self.encoder(image)
        pooled = self.pooling is not None and any(name in self.case_heads for name in asked)
        coarse: dict[str, Tensor] = {}
        dense: dict[str, Tensor] = {}
        for name, module in self.decoders.items():
            if pooled or name in asked:
                decoder = cast(Decoder, module)
                climbed, coarse[name] = decoder.coarse(features)
                if name in asked:
                    dense[name] = decoder.finish(climbed, features)
        if not pooled or self.pooling is None:
            return WindowOutput(dense=dense, coarse=coarse, sums=None, peak=None)
        guides = self._guides(coarse, features)
        sums = self.pooling(image, features, guides, weight)
        peak = guides.flatten(1).amax(dim=1) if guides.shape[1] else torch.ones_like(sums[:, 0, 0])
        return WindowOutput(dense=dense, coarse=coarse, sums=sums, peak=peak)

    def case_logits(self, sums: Tensor, voxel_ml: Tensor, asked: Collection[str]) -> dict[str, Tensor]:
        """Logits `(batch, output)` of the asked case-level tasks from sums over all windows of each case."""
        return {name: head(sums, voxel_ml) for name, head in self.case_heads.items() if name in asked}

    def _guides(self, coarse: Mapping[str, Tensor], features: list[Tensor]) -> Tensor:
        maps = [probabilities(coarse[name], self.heads[name])[:, int(self.heads[name].exclusive) :] for name in coarse]
        if maps:
            return torch.cat(maps, dim=1)
        level = features[self.pooling.level if self.pooling is not None else -1]
        return level.new_zeros((level.shape[0], 0, *level.shape[2:]))
