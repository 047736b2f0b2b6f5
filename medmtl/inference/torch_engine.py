"""The network under torch: on a GPU, and where OpenVINO is missing."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from medmtl.inference.engine import WindowAnswer, usable_cores
from medmtl.network.encoder import autocast_dtype
from medmtl.network.multitask import MultiTaskNet, probabilities
from medmtl.shapes import FloatArray, ImageArray


class TorchEngine:
    """The network under torch.

    Args:
        nets: one network, or an ensemble whose probabilities and logits are averaged.
        device: "cpu" or "cuda".
        precision: "float32", or "autocast" for what the device computes natively.
        workers: windows side by side on a CPU, one thread each; None for one on each core.
    """

    def __init__(
        self, nets: list[MultiTaskNet], device: str, precision: str = "float32", workers: int | None = None
    ) -> None:
        self.device = torch.device(device)
        self.nets = [net.to(self.device).eval() for net in nets]
        self.networks = len(nets)
        # Side by side on one core each, windows waste nothing on waiting for each other's threads at every layer.
        self.workers = 1 if self.device.type == "cuda" else workers or usable_cores()
        self.dtype = autocast_dtype(self.device) if precision == "autocast" else torch.float32

    def describe(self) -> dict[str, Any]:
        """Name, version, device and precision."""
        precision = str(self.dtype).removeprefix("torch.")
        return {"name": "torch", "version": torch.__version__, "device": self.device.type, "precision": precision}

    @torch.inference_mode()
    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        """Answers of one network for a window."""
        net = self.nets[network]
        x = torch.from_numpy(np.ascontiguousarray(image))[None].to(self.device)
        w = torch.from_numpy(np.ascontiguousarray(weight))[None, None].to(self.device)
        enabled = self.dtype is not torch.float32
        with torch.autocast(self.device.type, self.dtype if enabled else torch.bfloat16, enabled=enabled):
            out = net(x, w, asked)
        dense = {name: probabilities(logits, net.heads[name])[0].cpu().numpy() for name, logits in out.dense.items()}
        if out.sums is None or out.peak is None:
            return WindowAnswer(dense=dense, sums=None, peak=0.0)
        return WindowAnswer(dense=dense, sums=out.sums[0].double().cpu().numpy(), peak=float(out.peak[0]))

    @torch.inference_mode()
    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        """Logits of the asked case-level tasks, averaged over the networks that have sums."""
        found: dict[str, Any] = {}
        ml = torch.tensor([voxel_ml], dtype=torch.float32, device=self.device)
        for network, row in sums.items():
            pooled = torch.from_numpy(row).float()[None].to(self.device)
            for name, logits in self.nets[network].case_logits(pooled, ml, asked).items():
                found[name] = found.get(name, 0.0) + logits[0].double().cpu().numpy() / len(sums)
        return found
