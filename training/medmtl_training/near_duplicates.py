"""`shared_pairs`: which images are nearly the same, though no two of their files are.

An image is known by the short runs of voxels it holds along one axis within its slices. A run is the same wherever it
lies, so an exam that was cropped, padded, shifted by whole voxels, restacked, mirrored or raised by a constant still
shares most of its runs with the original, while two exams share next to none: noise sees to that. Resampling and
scaling of intensities change every run and hide a duplicate; so does cutting out less than about a hundredth of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medmtl.geometry.orientation import slices_last, to_lps
from medmtl.shapes import VoxelArray
from medmtl.volume import Volume

RUN_VOXELS = 12
MIN_CHANGES = 8
"""A run whose value changes less often from voxel to voxel is padding, air or clipped, and says nothing."""

KEPT_RUNS = 2048
"""Runs kept of an image, those of the lowest hash: the same ones are kept of its copy, so that they still meet."""

MIN_SHARED_RUNS = 16
MIN_SHARE = 0.1
MAX_IMAGES_OF_A_RUN = 64
"""A run in more images than that belongs to the scanner or the export, not to an exam."""

Sketch = npt.NDArray[np.uint64]
"""Ascending hashes of the runs kept of an image, at most `KEPT_RUNS`."""

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_WORD = 1 << 64


@dataclass(frozen=True, kw_only=True)
class SharedPair:
    """Two images that share runs of voxels.

    Attributes:
        first: index of the one image.
        second: index of the other, larger.
        share: part of the runs of the one that has fewer which the other holds too, 0..1, estimated.
    """

    first: int
    second: int
    share: float


def sketch_of(volume: Volume) -> Sketch:
    """The runs by which `volume` is known again; empty where it is too small or too plain.

    Reads a slice at a time: needs little memory beside the volume.
    """
    turn = to_lps(volume.grid)
    array = turn.apply(volume.array)
    array = slices_last(turn.grid(volume.grid)).apply(array)
    if array.shape[0] < RUN_VOXELS:
        return np.zeros(0, dtype=np.uint64)
    factors = _Factors.of(array.shape[0])
    kept = np.zeros(0, dtype=np.uint64)
    for index in range(array.shape[2]):
        hashes = _run_hashes(_words(array[:, :, index].T), factors)
        if len(kept) == KEPT_RUNS:
            hashes = hashes[hashes < kept[-1]]
        if len(hashes):
            kept = np.unique(np.concatenate([kept, hashes]))[:KEPT_RUNS]
    return kept


def shared_pairs(sketches: Sequence[Sketch]) -> list[SharedPair]:
    """The pairs of images that are nearly the same or the same, in the order of their indices."""
    from scipy.sparse import csr_matrix

    runs, columns, counts = np.unique(
        np.concatenate([np.zeros(0, dtype=np.uint64), *sketches]), return_inverse=True, return_counts=True
    )
    owners = np.repeat(np.arange(len(sketches)), [len(sketch) for sketch in sketches])
    telling = (counts[columns] > 1) & (counts[columns] <= MAX_IMAGES_OF_A_RUN)
    ones = np.ones(int(telling.sum()), dtype=np.int32)
    held = csr_matrix((ones, (owners[telling], columns[telling])), shape=(len(sketches), len(runs)))
    together = (held @ held.T).tocoo()
    pairs = []
    for first, second, shared in zip(together.row, together.col, together.data, strict=True):
        if first >= second or shared < MIN_SHARED_RUNS:
            continue
        share = float(shared) / _comparable(sketches[first], sketches[second])
        if share >= MIN_SHARE:
            pairs.append(SharedPair(first=int(first), second=int(second), share=min(share, 1.0)))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _comparable(first: Sketch, second: Sketch) -> int:
    """Runs of the poorer image that could have met: of a full sketch, none is known above its last hash."""
    limits = [sketch[-1] for sketch in (first, second) if len(sketch) == KEPT_RUNS]
    if not limits:
        return min(len(first), len(second))
    return min(int(np.searchsorted(sketch, min(limits), side="right")) for sketch in (first, second))


def _words(rows: VoxelArray) -> npt.NDArray[np.int64]:
    """`(rows, voxels)` as integers that are equal where the values are; whole numbers stay what they are."""
    if rows.dtype.kind != "f":
        return rows.astype(np.int64)
    whole = np.rint(rows)
    if np.array_equal(whole, rows):
        return whole.astype(np.int64)
    return np.ascontiguousarray(rows, dtype=np.float32).view(np.int32).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Factors:
    """Powers of the base and of its inverse, modulo 2**64, for rows of one length."""

    up: Sketch
    down: Sketch

    @classmethod
    def of(cls, voxels: int) -> "_Factors":
        inverse = pow(_BASE, -1, _WORD)
        up = [pow(_BASE, n, _WORD) for n in range(voxels)]
        down = [pow(inverse, n, _WORD) for n in range(voxels)]
        return cls(up=np.array(up, dtype=np.uint64), down=np.array(down, dtype=np.uint64))


def _run_hashes(rows: npt.NDArray[np.int64], factors: _Factors) -> Sketch:
    """Hashes `(runs,)` of the telling runs in `(rows, voxels)`, alike for a run and its mirror image.

    A run is hashed by its steps from voxel to voxel, s_0 .. s_10, as the sum of s_t b**t modulo 2**64, read off
    running sums: no work grows with the length of a run.
    """
    steps = np.diff(rows, axis=1)
    span = RUN_VOXELS - 1
    changes = _windows(np.cumsum(steps != 0, axis=1, dtype=np.int64), span)
    telling = changes >= MIN_CHANGES
    words = steps.view(np.uint64)
    length = words.shape[1]
    runs = length - span + 1
    forward = _windows(np.cumsum(words * factors.up[:length], axis=1), span) * factors.down[:runs]
    lead = factors.up[span - 1 : span - 1 + runs]  # b**(10 + i) undoes b**-(i + t), the mirrored exponent
    backward = np.uint64(0) - _windows(np.cumsum(words * factors.down[:length], axis=1), span) * lead
    hashes: Sketch = np.minimum(_mixed(forward[telling]), _mixed(backward[telling]))
    return hashes


def _windows(sums: npt.NDArray[Any], span: int) -> npt.NDArray[Any]:
    """Sums over `span` neighbours from running sums along axis 1."""
    result = sums[:, span - 1 :].copy()
    result[:, 1:] -= sums[:, :-span]
    return result


def _mixed(words: Sketch) -> Sketch:
    """Every bit spread over the word (the finaliser of splitmix64), so that the lowest hashes are a fair sample."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
