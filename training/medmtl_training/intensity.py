"""Intensity changes of training crops."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def vary_intensity(image: Tensor, probability: float, rng: np.random.Generator, contrast: float = 1.0) -> Tensor:
    """`(channel, i, j, k)` with noise, blur, brightness, contrast, gamma and lower resolution, each now and then."""
    if rng.random() < probability:
        image = image * (1.0 + contrast * float(rng.uniform(-0.3, 0.3))) + contrast * float(rng.normal(0.0, 0.2))
    if rng.random() < probability:
        image = _gamma(image, float(np.exp(contrast * rng.uniform(-0.4, 0.4))))
    if rng.random() < probability:
        image = _slice_gain(image, rng, contrast)
    if rng.random() < probability:
        image = _blur(image, float(rng.uniform(0.4, 1.0)))
    if rng.random() < probability / 2:
        image = _low_resolution(image, float(rng.uniform(1.2, 2.0)))
    if rng.random() < probability:
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        image = image + noise * float(rng.uniform(0.02, 0.2))
    return image


def _gamma(image: Tensor, exponent: float) -> Tensor:
    low, high = image.min(), image.max()
    span = (high - low).clamp_min(1e-6)
    return ((image - low) / span).pow(exponent) * span + low


def _slice_gain(image: Tensor, rng: np.random.Generator, contrast: float) -> Tensor:
    gain = 1.0 + 0.1 * contrast * rng.standard_normal(image.shape[-1])
    return image * torch.from_numpy(gain.astype(np.float32))


def _blur(image: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    out = image[:, None]
    for axis in (2, 3):
        shape = [1, 1, 1, 1, 1]
        shape[axis] = 5
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (4 - axis)] = pad[2 * (4 - axis) + 1] = 2
        out = F.conv3d(F.pad(out, pad, mode="replicate"), kernel.view(shape))
    return out[:, 0]


def _low_resolution(image: Tensor, factor: float) -> Tensor:
    size = image.shape[1:]
    small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)), size[2])
    lowered = F.interpolate(image[None], size=small, mode="trilinear", align_corners=False)
    return F.interpolate(lowered, size=size, mode="trilinear", align_corners=False)[0]
