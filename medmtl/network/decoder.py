"""A light decoder: features of one encoder to the logits of one voxel task."""

from collections.abc import Sequence

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn

from medmtl.network.encoder import ACTIVATION, NORM
from medmtl.preparation.plan import Plan


class Decoder(nn.Module):
    """One convolution a level; stops at the coarse level where only guidance is needed."""

    def __init__(self, plan: Plan, outputs: int) -> None:
        super().__init__()
        self.coarse_level = plan.coarse_level
        ups, blocks, width_in = [], [], plan.widths[-1]
        for level in range(len(plan.widths) - 2, -1, -1):
            width = plan.decoder_widths[level]
            stride = plan.strides[level + 1]
            ups.append(nn.ConvTranspose3d(width_in, width, stride, stride, bias=False))
            blocks.append(
                Convolution(
                    3, width + plan.widths[level], width, kernel_size=plan.kernels[level],
                    norm=NORM, act=ACTIVATION, adn_ordering="NA", bias=False,
                )
            )  # fmt: skip
            width_in = width
        self.ups = nn.ModuleList(ups)
        self.blocks = nn.ModuleList(blocks)
        self.coarse_head = nn.Conv3d(plan.decoder_widths[plan.coarse_level], outputs, 1)
        self.head = nn.Conv3d(width_in, outputs, 1)

    def climb(self, features: Sequence[Tensor]) -> Tensor:
        """Decoder features at the coarse level; `coarse_head` gives their logits."""
        return self._climb(features[-1], features, len(features) - 2, self.coarse_level)

    def finish(self, x: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Logits `(batch, output, i, j, k)` at full resolution, from the coarse decoder features."""
        return self.head(self._climb(x, features, self.coarse_level - 1, 0))

    def _climb(self, x: Tensor, features: Sequence[Tensor], first: int, last: int) -> Tensor:
        for level in range(first, last - 1, -1):
            step = len(features) - 2 - level
            x = self.blocks[step](torch.cat([self.ups[step](x), features[level]], dim=1))
        return x
