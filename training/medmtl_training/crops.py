"""Training crops: where they are cut, how they are turned, what they are worth to case-level tasks.

A crop is a function of the settings' seed, the step and its place in the batch alone, so a resumed run
draws what the uninterrupted one would have drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medmtl.preparation.plan import Plan
from medmtl.shapes import FloatArray, Shape
from medmtl_training.intensity import vary_intensity
from medmtl_training.prepared import IGNORED, PreparedCase, count_deciding
from medmtl_training.settings import Augmentation, TrainSettings

_COMPLETE = 0.8  # of the annotated voxels, for a crop to stand for its case


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """One crop.

    Attributes:
        image: `(channel, i, j, k)` float32; 0 outside the scan, or its edge where the plan pads by edges.
        inside: `(1, i, j, k)` float32, 1 where voxels count for case-level tasks.
        labels: voxel task to `(i, j, k)` or `(label, i, j, k)` uint8, 255 ignored.
        voxel_ml: mL of source tissue in a crop voxel.
        complete: whether the crop may stand for the whole case.
    """

    image: Tensor
    inside: Tensor
    labels: Mapping[str, Tensor]
    voxel_ml: float
    complete: bool


def cut_crop(
    case: PreparedCase,
    plan: Plan,
    settings: TrainSettings,
    rng: np.random.Generator,
) -> Crop:
    """A varied crop of one patch from one case."""
    augmentation, patch, flips = settings.augmentation, plan.patch, plan.flips
    matrix = _matrix(case, augmentation, flips, rng)
    centre = _centre(case, np.linalg.norm(matrix, axis=1) * np.asarray(patch), settings, rng)
    points = _points(case, patch, matrix, centre, augmentation, rng)
    shape = np.asarray(case.image.shape[1:])
    low, high = np.zeros(3), shape - 1.0
    if plan.edge_padding and case.box is not None and rng.random() < augmentation.cut_slices:
        low, high = _narrower(low, high, case.box, rng)
    inside = np.asarray(((points > low - 0.5) & (points < high + 0.5)).all(axis=-1))
    if not plan.edge_padding:
        _cut_slices(inside, augmentation, rng)
    points = np.clip(points, low, high)
    grid = torch.from_numpy(_normalised(points, shape).astype(np.float32))[None]
    image = _sample(torch.from_numpy(case.image)[None], grid, "bilinear")
    image = vary_intensity(image, augmentation.intensity, rng, augmentation.contrast)
    mask = torch.from_numpy(inside)
    read = torch.ones_like(mask) if plan.edge_padding else mask
    image = torch.where(read, image, torch.zeros(()))
    labels = {name: _labels(torch.from_numpy(found), grid, mask) for name, found in case.labels.items()}
    scale = float(np.abs(np.linalg.det(matrix)))
    found_voxels = count_deciding(labels, case.deciding)
    complete = case.filled == 0 or found_voxels * scale >= _COMPLETE * case.filled
    return Crop(
        image=image, inside=read[None].float(), labels=labels, voxel_ml=case.voxel_ml * scale, complete=complete
    )


def _matrix(
    case: PreparedCase, augmentation: Augmentation, flips: tuple[int, ...], rng: np.random.Generator
) -> FloatArray:
    """Crop offset in voxels to source offset in voxels: turned and scaled in mm, so that shapes stay true."""
    limits = np.radians([augmentation.tilt_deg, augmentation.tilt_deg, augmentation.rotation_deg])
    turn = np.eye(3)
    for axis, angle in enumerate(rng.uniform(-limits, limits)):
        one, two = [n for n in range(3) if n != axis]
        rotation = np.eye(3)
        rotation[[one, one, two, two], [one, two, one, two]] = [
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
        ]  # fmt: skip
        turn = turn @ rotation
    log = np.log(augmentation.scale)
    scale = np.exp(rng.uniform(-log, log) + rng.uniform(-log / 3, log / 3, size=3))
    if augmentation.thick_slices:
        thickest = max(1.6, augmentation.thickest_mm / case.spacing[2])
        scale[2] = rng.uniform(1.0, thickest) if rng.random() < augmentation.thick_slices else 1.0
    for axis in flips:
        scale[axis] *= rng.choice([-1.0, 1.0])
    spacing = np.asarray(case.spacing)
    matrix: FloatArray = np.diag(1 / spacing) @ turn @ np.diag(spacing * scale)
    return matrix


def _centre(case: PreparedCase, extent: FloatArray, settings: TrainSettings, rng: np.random.Generator) -> FloatArray:
    shape = np.asarray(case.image.shape[1:], dtype=np.float64)
    draw = rng.random()
    if case.box is not None and draw < settings.whole:
        low, high = case.box[0].astype(np.float64), case.box[1].astype(np.float64)
    elif case.foreground and draw < settings.whole + settings.foreground:
        keys = sorted(case.foreground)
        where = case.foreground[keys[rng.integers(len(keys))]]
        return np.asarray(where[rng.integers(len(where))], dtype=np.float64)
    else:
        low, high = np.zeros(3), shape - 1
    # Where the box fits, any place that holds it; where it does not, any place inside it.
    one, two = high - (extent - 1) / 2, low + (extent - 1) / 2
    return rng.uniform(np.minimum(one, two), np.maximum(one, two))


def _points(
    case: PreparedCase,
    patch: Shape,
    matrix: FloatArray,
    centre: FloatArray,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> FloatArray:
    """`(i, j, k, 3)` source index of each crop voxel."""
    axes = [np.arange(n) - (n - 1) / 2 for n in patch]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ matrix.T + centre
    if augmentation.thick_slices and abs(abs(matrix[2, 2]) - 1) < 1e-6:
        points[..., 2] = np.round(points[..., 2] - 0.25)  # slices as scanned unless thickened: no blur between them
    if augmentation.elastic_mm and rng.random() < 0.3:
        coarse = torch.from_numpy(rng.normal(0.0, 1.0, size=(1, 3, 5, 5, 3)))
        smooth = F.interpolate(coarse, size=patch, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0).numpy()
        amplitude = rng.uniform(0.0, augmentation.elastic_mm) / np.asarray(case.spacing)
        amplitude[2] *= augmentation.thick_slices == 0  # stacks of thick slices bend within the slice only
        points = points + smooth * amplitude
    if rng.random() < augmentation.shifted_slices:
        shift = rng.normal(0.0, 1.0, size=(1, 1, patch[2], 2)) * rng.uniform(0.3, 1.5)
        points[..., :2] += shift
    return np.asarray(points)


def _narrower(
    low: FloatArray, high: FloatArray, box: np.ndarray[Any, Any], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A frame somewhere between the scan's and the box of the annotated structures."""
    inner = np.clip(box[0] - 1.0, low, high), np.clip(box[1] + 1.0, low, high)
    return rng.uniform(low, np.maximum(low, inner[0])), rng.uniform(np.minimum(high, inner[1]), high)


def _cut_slices(inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], augmentation: Augmentation,
                rng: np.random.Generator) -> None:  # fmt: skip
    if rng.random() < augmentation.cut_slices:
        lost = int(rng.integers(1, 3))
        if rng.random() < 0.5:
            inside[..., :lost] = False
        else:
            inside[..., -lost:] = False


def _normalised(points: FloatArray, shape: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
    # grid_sample wants (k, j, i) in -1..1 between the first and last voxel; one voxel has no extent.
    scaled: FloatArray = 2.0 * points / np.maximum(shape - 1, 1) - 1.0
    return np.ascontiguousarray(scaled[..., ::-1])


def _sample(source: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(source, grid, mode=mode, padding_mode="border", align_corners=True)[0]


def _labels(found: Tensor, grid: Tensor, inside: Tensor) -> Tensor:
    stacked = found if found.ndim == 4 else found[None]
    values = _sample(stacked[None].float(), grid, "nearest").to(torch.uint8)
    values = torch.where(inside, values, torch.tensor(IGNORED, dtype=torch.uint8))
    return values if found.ndim == 4 else values[0]
