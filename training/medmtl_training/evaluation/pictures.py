"""Pictures of the cases that went worst: one slice, the truth and the answer as outlines."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from medmtl.reading.nifti import read_nifti
from medmtl.shapes import FloatArray, Mask
from medmtl.task import Task
from medmtl_training.cases import Dataset
from medmtl_training.evaluation.predictions import Predictions
from medmtl_training.evaluation.voxels import CaseMasks, read_masks, slice_step_mm

WORST = 4
TRUTH_COLOUR = (64, 220, 120)
FOUND_COLOUR = (255, 96, 64)
OTHER_COLOUR = (80, 160, 255)
_SIDE_PX = 320
_MARGIN_MM = 30.0


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One slice of one case.

    Attributes:
        case: its name.
        task: name of the voxel task.
        caption: why it is shown.
        png: the picture as base64.
    """

    case: str
    task: str
    caption: str
    png: str


def worst_pictures(
    rows: Sequence[Mapping[str, Any]], dataset: Dataset, predictions: Predictions, most: int = WORST
) -> list[Picture]:
    """For each voxel task the cases of lowest mean Dice over its labels, and the largest finding in an empty truth."""
    pictures = []
    for task in dataset.tasks:
        scored = [row for row in rows if row["tasks"].get(task.name, {}).get("labels")] if task.is_voxel else []
        for case, caption in _worst(scored, task, most):
            png = _picture(dataset, predictions, task, case)
            if png is not None:
                pictures.append(Picture(case=case, task=task.name, caption=caption, png=png))
    return pictures


def change_pictures(
    losses: Sequence[Mapping[str, Any]], dataset: Dataset, first: Predictions, second: Predictions
) -> list[Picture]:
    """The cases of `largest_losses`, each once a task: truth, first and second answer in one slice."""
    pictures: list[Picture] = []
    for loss in losses:
        if any((picture.case, picture.task) == (loss["case"], loss["task"]) for picture in pictures):
            continue
        task = dataset.task(loss["task"])
        png = _picture(dataset, first, task, loss["case"], second)
        if png is not None:
            caption = f"{loss['label']}, Dice {loss['first']:.3f}, was {loss['second']:.3f}"
            pictures.append(Picture(case=loss["case"], task=task.name, caption=caption, png=png))
    return pictures


def _worst(rows: Sequence[Mapping[str, Any]], task: Task, most: int) -> list[tuple[str, str]]:
    by_dice: list[tuple[float, str]] = []
    false: list[tuple[float, str]] = []
    for row in rows:
        cells = row["tasks"][task.name]["labels"].values()
        dices = [cell["dice"] for cell in cells if cell["dice"] is not None]
        if dices:
            by_dice.append((float(np.mean(dices)), row["case"]))
        extra = max((cell["false_ml"] or 0.0 for cell in cells), default=0.0)
        if extra > 0:
            false.append((extra, row["case"]))
    worst = [(case, f"mean Dice {dice:.3f}") for dice, case in sorted(by_dice)[:most]]
    if false:
        extra, case = max(false)
        worst.append((case, f"{extra:.2f} mL where there is none"))
    return worst


def _picture(
    dataset: Dataset, predictions: Predictions, task: Task, name: str, other: Predictions | None = None
) -> str | None:
    case = dataset.case(name)
    channel = dataset.channels.index(task.drawn_on) if task.drawn_on else 0
    volume = read_nifti(case.images[channel])
    found = predictions.masks(case, task)
    truth = read_masks(task, case.voxel_labels[task.name], case.annotated.get(task.name), f"truth of {name}")
    if found is None or volume.array.shape != truth.grid.shape:
        return None
    axis = _slice_axis(volume.grid.spacing)
    wrong = sum(
        (found.masks[label] ^ mask).sum(axis=tuple(other for other in range(3) if other != axis))
        for label, mask in truth.masks.items()
    )
    index = int(np.argmax(wrong))
    before = None if other is None else other.masks(case, task)
    grey = _grey(np.take(volume.array, index, axis=axis).astype(np.float64))
    layers = [
        (_slices(truth, list(truth.masks), axis, index), TRUTH_COLOUR),
        (_slices(found, list(truth.masks), axis, index), FOUND_COLOUR),
    ]
    if before is not None:
        layers.insert(1, (_slices(before, list(truth.masks), axis, index), OTHER_COLOUR))
    spacing = [step for other, step in enumerate(volume.grid.spacing) if other != axis]
    crop = _crop(np.logical_or.reduce([mask for masks, _ in layers for mask in masks]), spacing)
    cut = [([mask[crop] for mask in masks], colour) for masks, colour in layers]
    return _png(grey[crop], cut, volume.grid.affine, axis)


def _crop(plane: Mask, spacing: Sequence[float]) -> tuple[slice, slice]:
    """The box round what is drawn, with a margin; everything, where nothing is."""
    edges = []
    for axis, step in enumerate(spacing):
        used = np.flatnonzero(plane.any(axis=1 - axis))
        margin = round(_MARGIN_MM / step)
        edges.append(slice(max(0, int(used[0]) - margin), int(used[-1]) + 1 + margin) if len(used) else slice(None))
    return edges[0], edges[1]


def _slice_axis(spacing: tuple[float, float, float]) -> int:
    step = slice_step_mm(spacing)
    return max((axis for axis in range(3) if spacing[axis] == step), default=2)


def _grey(plane: FloatArray) -> FloatArray:
    low, high = np.percentile(plane, [1, 99])
    scaled: FloatArray = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    return scaled


def _slices(masks: CaseMasks, names: list[str], axis: int, index: int) -> list[Mask]:
    return [np.take(masks.masks[name], index, axis=axis) for name in names]


def _png(grey: FloatArray, layers: list[tuple[list[Mask], tuple[int, int, int]]], affine: FloatArray, axis: int) -> str:
    """The plane with outlines, right proportions; left of the patient to the right, front and head up."""
    from PIL import Image

    first, second = (other for other in range(3) if other != axis)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    size_mm = np.array([grey.shape[0] * lengths[first], grey.shape[1] * lengths[second]])
    size = np.maximum(1, np.round(size_mm / size_mm.max() * _SIDE_PX).astype(int))
    rows = np.minimum((np.arange(size[0]) * grey.shape[0]) // size[0], grey.shape[0] - 1)
    columns = np.minimum((np.arange(size[1]) * grey.shape[1]) // size[1], grey.shape[1] - 1)
    pixels = np.repeat(grey[np.ix_(rows, columns)][..., None], 3, axis=2).astype(np.uint8)
    for masks, colour in layers:
        for mask in masks:
            large = mask[np.ix_(rows, columns)]
            pixels[large & ~ndimage.binary_erosion(large)] = colour
    for picture_axis, index_axis in ((0, first), (1, second)):
        direction = affine[:3, index_axis]
        main = int(np.argmax(np.abs(direction)))
        towards_plus = direction[main] > 0
        if towards_plus == (main == 2):  # screens run to the patient's left and back, but downwards from the head
            pixels = np.flip(pixels, axis=picture_axis)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2))).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
