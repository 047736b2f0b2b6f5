"""Case-level heads: what lies inside the coarse maps, summed over the whole case.

Every quantity is a weighted sum over voxels, so that windows of any number add up to one answer per case.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmtl.preparation.plan import Plan

PROJECTED = 24
ATTENTIONS = 2
DROPOUT = 0.5
_FOLLOW = 0.01  # how much of the running mean one case moves
_LITTLE_SQUARE = 1e-4  # keeps columns that never change finite
_LITTLE_ML = 0.05  # keeps means finite where a structure is absent


class GuidedPooling(nn.Module):
    """Sums of features under each guide map: one per structure of the voxel tasks, and learnt attention maps."""

    def __init__(self, plan: Plan, channels: int, guides: int) -> None:
        super().__init__()
        self.level = plan.coarse_level
        width = sum(plan.widths[self.level :])
        self.project = nn.Conv3d(width, PROJECTED, 1)
        self.attend = nn.Conv3d(PROJECTED, ATTENTIONS, 1)
        self.maps = 2 * guides + ATTENTIONS  # each guide softly and above one half
        self.columns = 1 + 2 * channels + PROJECTED
        # Window to coarse level: where the strides run out the map is averaged.
        self.factor = tuple(int(torch.tensor([s[a] for s in plan.strides[: self.level + 1]]).prod()) for a in range(3))

    def forward(self, image: Tensor, features: list[Tensor], guides: Tensor, weight: Tensor) -> Tensor:
        """`(batch, map, column)` sums of (1, intensity, intensity squared, features) in voxels of the working grid.

        Args:
            image: `(batch, channel, i, j, k)` network input.
            features: of every encoder level.
            guides: `(batch, guide, ...)` probabilities at the coarse level; no gradient flows back into them,
                a disease label must not redraw the outlines.
            weight: `(batch, 1, i, j, k)` share of each voxel that counts, between 0 and 1.
        """
        size = features[self.level].shape[2:]
        stacked = [features[self.level]]
        stacked += [F.interpolate(f, size=size, mode="nearest") for f in features[self.level + 1 :]]
        projected = F.leaky_relu(self.project(torch.cat(stacked, dim=1)), 0.01).float()
        guides = guides.detach().float()
        maps = torch.cat([guides, F.relu(2.0 * guides - 1.0), torch.sigmoid(self.attend(projected))], dim=1)
        small = F.avg_pool3d(image.float(), self.factor)
        columns = torch.cat([torch.ones_like(small[:, :1]), small, small.square(), projected], dim=1)
        voxels = float(self.factor[0] * self.factor[1] * self.factor[2])
        weighted = maps * (F.avg_pool3d(weight.float(), self.factor) * voxels)
        return torch.einsum("bmijk,bcijk->bmc", weighted, columns)


class Standardise(nn.Module):
    """Columns brought to mean 0 and spread 1 by what training has seen of them so far; any batch size will do.

    The running mean and spread are the same in training and afterwards, so that one case and a batch of it agree.
    """

    mean: Tensor
    square: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("square", torch.ones(columns))

    def forward(self, given: Tensor) -> Tensor:
        """`(batch, column)` to `(batch, column)`."""
        if self.training:
            with torch.no_grad():
                share = 1.0 - (1.0 - _FOLLOW) ** given.shape[0]
                self.mean.lerp_(given.mean(dim=0), share)
                self.square.lerp_((given - self.mean).square().mean(dim=0), share)
        return (given - self.mean) / (self.square + _LITTLE_SQUARE).sqrt()


class CaseHead(nn.Module):
    """Logits of one case-level task from the pooled sums: burden first, appearance strongly regularised."""

    def __init__(self, pooling: GuidedPooling, channels: int, outputs: int, *, standardise: bool = False) -> None:
        super().__init__()
        self.channels = channels
        burden = pooling.maps * (2 + 2 * channels)
        self.standardise = Standardise(burden) if standardise else None
        self.burden = nn.Sequential(nn.Linear(burden, 16), nn.LeakyReLU(0.01), nn.Dropout(0.2), nn.Linear(16, outputs))
        self.appearance = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(pooling.maps * PROJECTED, outputs))

    def forward(self, sums: Tensor, voxel_ml: Tensor) -> Tensor:
        """`(batch, output)` logits from `(batch, map, column)` sums and `(batch,)` mL per working voxel."""
        ml = sums[:, :, 0] * voxel_ml[:, None]
        share = ml / (ml.sum(dim=1, keepdim=True) + _LITTLE_ML)
        means = sums[:, :, 1:] * voxel_ml[:, None, None] / (ml[:, :, None] + _LITTLE_ML)
        intensity, square = means[..., : self.channels], means[..., self.channels : 2 * self.channels]
        spread = (square - intensity.square()).clamp_min(0.0).add(1e-4).sqrt()
        burden = torch.cat([share, torch.log1p(ml), intensity.flatten(1), spread.flatten(1)], dim=1)
        if self.standardise is not None:
            burden = self.standardise(burden)
        return self.burden(burden) + self.appearance(means[..., 2 * self.channels :].flatten(1))
