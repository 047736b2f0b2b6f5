"""The network as modules with tensors in and tensors out, for exporters."""

from typing import cast

from torch import Tensor, nn

from medmtl.network.multitask import MultiTaskNet, probabilities
from medmtl.network.pooling import GuidedPooling


class TraceableWindow(nn.Module):
    """A window to the probabilities of every voxel task, then `sums` and `peak` where case-level tasks are answered."""

    def __init__(self, net: MultiTaskNet, asked: list[str]) -> None:
        super().__init__()
        self.net, self.asked = net, asked
        self.pooled = net.pooling is not None

    def output_names(self) -> list[str]:
        """Of what `forward` gives, in order."""
        return [name for name in self.net.decoders if name in self.asked] + ["sums", "peak"] * self.pooled

    @property
    def sums_shape(self) -> tuple[int, int]:
        """Maps and columns of the sums."""
        pooling = cast(GuidedPooling, self.net.pooling)
        return pooling.maps, pooling.columns

    def forward(self, image: Tensor, weight: Tensor | None = None) -> tuple[Tensor, ...]:
        """Answers for one window."""
        out = self.net(image, image if weight is None else weight, self.asked)
        found = [
            probabilities(out.dense[name], self.net.heads[name]) for name in self.net.decoders if name in out.dense
        ]
        if out.sums is not None and out.peak is not None:
            found += [out.sums, out.peak]
        return tuple(found)


class TraceableCase(nn.Module):
    """Sums over a case to the logits of one case-level task."""

    def __init__(self, net: MultiTaskNet, name: str) -> None:
        super().__init__()
        self.head = net.case_heads[name]

    def forward(self, sums: Tensor, voxel_ml: Tensor) -> Tensor:
        """`(1, output)` logits."""
        return cast(Tensor, self.head(sums, voxel_ml))
