"""Parallel slices at uneven distances: no affine holds them, a place along axis k for each does."""

from dataclasses import dataclass

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, Mask, VoxelArray


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceGrid(Grid):
    """Voxels on slices at uneven distances along axis k of an even grid.

    Index `(i, j, n)` lies on slice `n`; between two slices the index runs evenly, outside as between the last two.

    Attributes:
        affine: of the even grid the places belong to, `(4, 4)` index to LPS mm.
        places: index of each slice along axis k of that grid, rising.
    """

    places: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.places) != self.shape[2] or len(self.places) < 2 or min(np.diff(self.places)) <= 0:
            raise ValueError("each slice of a grid has a place above that of the one before")

    def to_lps(self, index: FloatArray) -> FloatArray:
        """LPS mm of voxel indices `(..., 3)`, fractions allowed."""
        even = np.array(index, dtype=np.float64)
        even[..., 2] = _along(even[..., 2], np.arange(len(self.places), dtype=np.float64), np.array(self.places))
        return super().to_lps(even)

    def to_index(self, lps: FloatArray) -> FloatArray:
        """Fractional voxel indices of points `(..., 3)` in LPS mm."""
        index = super().to_index(lps)
        index[..., 2] = _along(index[..., 2], np.array(self.places), np.arange(len(self.places), dtype=np.float64))
        return index

    def mask_ml(self, mask: Mask) -> float:
        """Volume of an `(i, j, k)` mask in mL: each slice counts for half the way to its neighbours."""
        gaps = np.diff(self.places)
        depths = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
        return float(mask.sum(axis=(0, 1)) @ depths) * self.voxel_ml


def even_planes(array: VoxelArray, places: tuple[float, ...], count: int) -> VoxelArray:
    """Slices `(i, j, n)` at `places` onto `count` even planes, linear between the two slices beside each.

    int16 stays int16, rounded.
    """
    out: VoxelArray = np.empty((*array.shape[:2], count), dtype=array.dtype, order="F")
    known = np.asarray(places)
    for k in range(count):
        above = int(np.clip(np.searchsorted(known, k), 1, len(known) - 1))
        share = float(np.clip((k - known[above - 1]) / (known[above] - known[above - 1]), 0.0, 1.0))
        values = array[:, :, above - 1] * np.float32(1.0 - share) + array[:, :, above] * np.float32(share)
        out[:, :, k] = np.rint(values) if array.dtype == np.int16 else values
    return out


def nearest_planes(places: tuple[float, ...]) -> list[int]:
    """The even plane next to each slice."""
    return [round(place) for place in places]


def _along(values: FloatArray, known: FloatArray, wanted: FloatArray) -> FloatArray:
    """Linear from `known` to `wanted`, both rising, continued beyond their ends."""
    after = np.clip(np.searchsorted(known, values), 1, len(known) - 1)
    share = (values - known[after - 1]) / (known[after] - known[after - 1])
    found: FloatArray = wanted[after - 1] + share * (wanted[after] - wanted[after - 1])
    return found
