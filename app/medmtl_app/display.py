"""What the page draws: voxels, label maps and contour fields as plain arrays, and what they are, as JSON."""

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.findings.components import components
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn, slices_last, to_lps
from medmtl.outputs.files import json_bytes, write_atomic
from medmtl.result import CaseResult
from medmtl.shapes import Mask, VoxelArray
from medmtl.task import Kind, Task
from medmtl.volume import Volume

SCHEMA = "medmtl-view/1"
MAX_FIELD_VALUES = 400_000_000
"""Probabilities beyond which contours are drawn from the label map alone."""
_BODY_HU = -300
_LEVEL = 128  # contour level of a field
_PRESETS = {
    "CT": (("soft_tissue", 400, 40), ("lung", 1500, -550), ("bone", 1800, 400), ("brain", 80, 40)),
}


def write_view(folder: Path, volume: Volume, result: CaseResult | None) -> None:
    """Writes `volume.raw`, a map per voxel task, a field per structure and `view.json` into `folder`.

    Arrays are turned so that i runs most nearly to the left, j to the back, k to the head; nothing is interpolated.
    i varies fastest. `volume.raw` is little-endian int16 (value = stored * slope + intercept); the others are uint8
    and gzipped.

    Args:
        folder: made anew.
        volume: the image.
        result: its answers, None where no model gave any.
    """
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    turn = to_lps(volume.grid)
    grid = turn.grid(volume.grid)
    stored, slope, intercept = _stored(turn.apply(volume.array))
    _raw(partial / "volume.raw", stored)
    slice_axis = turn.order.index(slices_last(volume.grid).order[2])
    drawn = _Drawn(partial, turn, grid)
    if result is not None:
        for task in result.tasks:
            if task.is_voxel:
                drawn.add(task, result)
    body = {
        "schema": SCHEMA,
        "shape": list(grid.shape),
        "affine_lps": grid.affine.tolist(),
        "modality": volume.modality,
        "unit": "HU" if volume.modality == "CT" else "",
        "slope": slope,
        "intercept": intercept,
        "windows": _windows(volume),
        "focus": _focus(volume, turn),
        "slice_axis": slice_axis,
        "slice_counts_down": turn.flipped[slice_axis],
        "maps": drawn.maps,
        "structures": drawn.structures,
        "lesions": [] if result is None else _lesions(result, turn, grid),
    }
    write_atomic(partial / "view.json", json_bytes(body))
    partial.rename(folder)


def describe(volume: Volume, findings: dict[str, Any] | None) -> dict[str, Any]:
    """What the worklist says of a study: modality, series, lesions, trust."""
    body: dict[str, Any] = {
        "modality": volume.modality,
        "series": volume.dicom.description if volume.dicom is not None else "",
        "slices": int(volume.grid.shape[slices_last(volume.grid).order[2]]),
        "spacing_mm": [round(value, 2) for value in volume.grid.spacing],
        **_identity(volume),
    }
    if findings is not None:
        body["trust"] = findings["trust"]["level"]
        body["lesions"] = None if findings["lesions"] is None else findings["lesions"]["totals"]["count"]
        body["model"] = findings["model"]["name"]
    return body


def _identity(volume: Volume) -> dict[str, str]:
    """Study Date (0008,0020), Accession Number (0008,0050), Study ID (0020,0010), Study Description (0008,1030)."""
    if volume.dicom is None or not volume.dicom.instances:
        return {}
    import pydicom

    wanted = {
        "date": "StudyDate",
        "accession": "AccessionNumber",
        "study_id": "StudyID",
        "description": "StudyDescription",
        "sex": "PatientSex",
        "age": "PatientAge",
    }
    try:
        header = pydicom.dcmread(volume.dicom.instances[0], specific_tags=list(wanted.values()))
    except OSError:
        return {}
    return {key: str(header.get(tag) or "") for key, tag in wanted.items()}


class _Drawn:
    """Maps and structures as they are written."""

    def __init__(self, folder: Path, turn: AxisTurn, grid: Grid) -> None:
        self.folder, self.turn, self.grid = folder, turn, grid
        self.maps: list[dict[str, Any]] = []
        self.structures: list[dict[str, Any]] = []

    def add(self, task: Task, result: CaseResult) -> None:
        """The structures of a voxel task that hold a voxel; kinds that overlap get a map each."""
        probabilities = result.probabilities.get(task.name)
        if probabilities is not None and probabilities.size > MAX_FIELD_VALUES:
            probabilities = None
        shared = -1 if task.kind is Kind.REGIONS else self._map(self.turn.apply(result.masks[task.name]))
        for index, label in enumerate(task.labels):
            mask = self.turn.apply(result.mask(task.name, label.name))
            if not mask.any():
                continue
            number = shared if shared >= 0 else self._map(mask.astype(np.uint8))
            low, high = _box(mask)
            row: dict[str, Any] = {
                "task": task.name,
                "name": label.name,
                "color": label.color,
                "map": number,
                "value": label.value if shared >= 0 else 1,
                "jump": _jump(mask),
                "low": low.tolist(),
                "high": (high - 1).tolist(),
            }
            if probabilities is not None:
                exclusive = task.kind is Kind.SEGMENTATION
                row["field"] = self._field(mask, self.turn.apply(probabilities), index, exclusive=exclusive)
            self.structures.append(row)

    def _map(self, array: VoxelArray) -> int:
        name = f"map-{len(self.maps)}.raw.gz"
        _packed(self.folder / name, array.astype(np.uint8))
        self.maps.append({"file": name})
        return len(self.maps) - 1

    def _field(self, mask: Mask, probabilities: VoxelArray, index: int, *, exclusive: bool) -> dict[str, Any]:
        """How clearly a voxel is the structure's, as uint8 in its box: from 128 up it is, as in the mask.

        The level set at 127.5 runs between the voxels where the structure's probability meets the next best one's.
        """
        if exclusive:
            own = probabilities[index + 1]
            rest = np.delete(probabilities, index + 1, axis=0).max(axis=0)
            margin = own - rest
        else:
            margin = 2.0 * probabilities[index] - 1.0
        levels = np.clip(np.rint(127.5 + 127.5 * margin), 0, 255)
        levels = np.where(mask, np.maximum(levels, _LEVEL), np.minimum(levels, _LEVEL - 1)).astype(np.uint8)
        low, high = _box(mask)
        low, high = np.maximum(low - 1, 0), np.minimum(high + 1, mask.shape)
        name = f"field-{len(self.structures)}.raw.gz"
        _packed(self.folder / name, levels[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
        return {"file": name, "low": low.tolist(), "shape": (high - low).tolist()}


def _lesions(result: CaseResult, turn: AxisTurn, grid: Grid) -> list[dict[str, Any]]:
    """Where each lesion of the findings lies: the voxel to jump to and its box, in voxels of the view."""
    found = result.findings.get("lesions")
    if not found or not found["items"] or "lesions" not in result.masks:
        return []
    masks = result.masks["lesions"]
    union = turn.apply(masks.any(axis=0) if masks.ndim == 4 else masks > 0)
    pieces, _ = components(union)
    where = np.argwhere(union)
    rows = []
    for item in found["items"]:
        centre = np.asarray(item["centroid_lps_mm"], dtype=np.float64)
        nearest = where[np.linalg.norm(grid.to_lps(where.astype(np.float64)) - centre, axis=1).argmin()]
        piece = pieces == pieces[tuple(nearest)]
        low, high = _box(piece)
        rows.append({"id": item["id"], "jump": nearest.tolist(), "low": low.tolist(), "high": (high - 1).tolist()})
    return rows


def _jump(mask: Mask) -> list[int]:
    """A voxel of the mask near the middle of its largest slice along each axis in turn."""
    k = int(mask.sum(axis=(0, 1)).argmax())
    where = np.argwhere(mask[:, :, k])
    nearest = where[np.linalg.norm(where - where.mean(axis=0), axis=1).argmin()]
    return [int(nearest[0]), int(nearest[1]), k]


def _box(mask: Mask) -> tuple[Any, Any]:
    """First and one past the last voxel of a mask that is not empty."""
    low, high = [], []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(used[0]))
        high.append(int(used[-1]) + 1)
    return np.array(low), np.array(high)


def _focus(volume: Volume, turn: AxisTurn) -> dict[str, list[int]]:
    """The box a study opens at: the body without table and air in CT, without empty borders elsewhere."""
    array = turn.apply(volume.array)
    steps = [max(1, count // 96) for count in array.shape]
    coarse = array[:: steps[0], :: steps[1], :: steps[2]]
    if volume.modality == "CT":
        pieces, count = components(coarse > _BODY_HU)
        held = pieces == 1 if count else pieces == 0
    else:
        held = coarse > coarse.min()
    low, high = _box(held) if held.any() else (np.zeros(3, dtype=int), np.array(coarse.shape))
    last = np.array(array.shape) - 1
    ends = np.minimum(high * np.array(steps), last)
    return {"low": (low * np.array(steps)).tolist(), "high": ends.tolist()}


def _stored(array: VoxelArray) -> tuple[VoxelArray, float, float]:
    """The values as int16 with slope and intercept; whole numbers that fit are kept as they are."""
    if array.dtype == np.int16:
        return array, 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    if low >= -32768 and high <= 32767 and bool((array == np.rint(array)).all()):
        return array.astype(np.int16), 1.0, 0.0
    slope = (high - low) / 60000.0 or 1.0
    intercept = (high + low) / 2.0
    return np.rint((array - intercept) / slope).astype(np.int16), slope, intercept


def _windows(volume: Volume) -> list[dict[str, Any]]:
    """Names, widths and centres; the first is what a study opens with."""
    if volume.modality in _PRESETS:
        return [{"name": name, "width": width, "level": level} for name, width, level in _PRESETS[volume.modality]]
    values = volume.array.reshape(-1)
    sample = values[:: max(1, values.size // 500_000)]
    held = sample[sample > sample.min()]  # zeros around a turned or cut image say nothing of its greys
    sample = held if held.size else sample
    rows = []
    for name, tails in (("standard", (1.0, 99.5)), ("high_contrast", (20.0, 98.0)), ("full", (0.0, 100.0))):
        low, high = (float(value) for value in np.percentile(sample, tails))
        rows.append({"name": name, "width": round(max(high - low, 1e-3), 3), "level": round((low + high) / 2, 3)})
    return rows


def _raw(path: Path, array: VoxelArray) -> None:
    little = array.astype("<i2", copy=False)
    with path.open("wb") as stream:
        for k in range(little.shape[2]):
            stream.write(np.asfortranarray(little[:, :, k]).tobytes(order="F"))


def _packed(path: Path, array: VoxelArray) -> None:
    with path.open("wb") as stream, gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
        packed.write(array.tobytes(order="F"))
