"""The shared encoder: image to features at every level."""

import torch
from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import Tensor, nn

from medmtl.preparation.plan import Plan

# InstanceNorm, not GroupNorm: engines for CPU fuse it, and a batch may be of one.
NORM = ("INSTANCE", {"affine": True})
ACTIVATION = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})


class Encoder(nn.Module):
    """Residual 3D U-Net stages (blocks of MONAI's dynamic U-Net), kernels and strides from the plan."""

    def __init__(self, channels: int, plan: Plan) -> None:
        super().__init__()
        stages, width_in = [], channels
        for width, kernel, stride in zip(plan.widths, plan.kernels, plan.strides, strict=True):
            stages.append(UnetResBlock(3, width_in, width, kernel, stride, NORM, ACTIVATION))
            width_in = width
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of each level, finest first, from `(batch, channel, i, j, k)`."""
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


def initialise(module: nn.Module) -> None:
    """He initialisation for leaky units, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(layer.weight, a=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it natively, else float32 on CPUs and float16 on GPUs."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
