"""Distances between the surfaces of two masks in mm: HD95 and normalised surface Dice.

A surface is the set of voxel faces between mask and background, each with its centre and its area. Areas are weights:
with thick slices a count of boundary voxels would hear the two caps more than the whole wall between them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from medmtl.shapes import FloatArray, Mask


@dataclass(frozen=True, kw_only=True)
class SurfaceScores:
    """How far two surfaces lie apart.

    Attributes:
        hd95_mm: the larger of the two directed 95th percentiles of the distance, by area; None where a mask is empty.
        nsd: part of both surfaces' area within the tolerance of the other, 0..1; 0 where only the prediction is
            empty, None where the truth is empty.
    """

    hd95_mm: float | None
    nsd: float | None


def surface_scores(predicted: Mask, truth: Mask, affine: FloatArray, tolerance_mm: float) -> SurfaceScores:
    """HD95 and normalised surface Dice of two masks `(i, j, k)` on the grid of `affine` (index to mm).

    Distances run from face centre to the nearest face centre. Faces on the border of the grid count: a mask is closed
    where the image ends.
    """
    if not truth.any():
        return SurfaceScores(hd95_mm=None, nsd=None)
    if not predicted.any():
        return SurfaceScores(hd95_mm=None, nsd=0.0)
    found, found_area = surface_elements(predicted, affine)
    true, true_area = surface_elements(truth, affine)
    to_truth = np.asarray(cKDTree(true).query(found)[0])
    to_found = np.asarray(cKDTree(found).query(true)[0])
    # sums of float areas and square roots: a face exactly on the tolerance is within it
    limit = tolerance_mm * (1 + 1e-9)
    within = found_area[to_truth <= limit].sum() + true_area[to_found <= limit].sum()
    return SurfaceScores(
        hd95_mm=max(_percentile(to_truth, found_area, 0.95), _percentile(to_found, true_area, 0.95)),
        nsd=float(within / (found_area.sum() + true_area.sum())),
    )


def surface_elements(mask: Mask, affine: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centres `(n, 3)` in mm and areas `(n,)` in mm2 of the faces between `mask` and background."""
    occupied = np.argwhere(mask)
    start = occupied.min(axis=0)
    stop = occupied.max(axis=0) + 1
    box = np.pad(mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))], 1)
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    centres, areas = [], []
    for axis in range(3):
        edges = np.argwhere(np.diff(box.astype(np.int8), axis=axis) != 0).astype(np.float64)
        edges[:, axis] += 0.5  # between voxel n and n + 1 of the padded box
        centres.append(edges - 1 + start)
        first, second = (columns[:, other] for other in range(3) if other != axis)
        areas.append(np.full(len(edges), np.linalg.norm(np.cross(first, second))))
    return np.concatenate(centres) @ columns.T, np.concatenate(areas)


def _percentile(distances: FloatArray, areas: FloatArray, part: float) -> float:
    order = np.argsort(distances, kind="stable")
    covered = np.cumsum(areas[order])
    index = int(np.searchsorted(covered, part * covered[-1]))
    return float(distances[order][min(index, len(order) - 1)])
