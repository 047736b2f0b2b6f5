"""Array aliases whose names say what the axes are.

Arrays of a volume are indexed `(i, j, k)`, NIfTI order; tensors are `(batch, channel, i, j, k)`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
"""Geometry: points `(..., 3)` in LPS mm, affines `(4, 4)`."""

VoxelArray = npt.NDArray[Any]
"""`(i, j, k)` intensities of a volume: int16 or float32."""

ImageArray = npt.NDArray[np.float32]
"""`(channel, i, j, k)` normalised intensities, ready for the network."""

LabelMap = npt.NDArray[np.uint8]
"""`(i, j, k)` label values, 0 is background, 255 is ignored in training."""

Mask = npt.NDArray[np.bool_]
"""`(i, j, k)` one structure."""

ProbabilityArray = npt.NDArray[np.float32]
"""`(channel, i, j, k)` values in 0..1; for exclusive labels channel 0 is background."""

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
