"""Structures of a result as the page draws them: label maps, contour fields, maps of probability and surfaces."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn
from medmtl.result import CaseResult
from medmtl.shapes import Mask, ProbabilityArray, VoxelArray
from medmtl.task import Kind, Task
from medmtl_app.meshes import write_mesh

MAX_FIELD_BYTES = 80_000_000
"""Fields that a browser holds at once; structures beyond are drawn from their masks."""
LEVEL = 128  # contour level of a field
_BLUR, _THICK = 0.8, 2.0
HEAT_FROM = 0.05
"""Probability below which a map of probability is not kept."""


class Drawn:
    """Maps and structures as they are written into `folder`.

    Args:
        folder: of the view.
        turn: from the volume's axes to the view's.
        grid: of the view.
    """

    def __init__(self, folder: Path, turn: AxisTurn, grid: Grid) -> None:
        self.folder, self.turn, self.grid = folder, turn, grid
        self.maps: list[dict[str, Any]] = []
        self.structures: list[dict[str, Any]] = []
        self._field_bytes = 0

    def add(self, task: Task, result: CaseResult) -> None:
        """The structures of a voxel task that hold a voxel; kinds that overlap get a map each."""
        found = result.probabilities.get(task.name)
        probabilities = None if found is None else self.turn.apply(found)
        shared = -1 if task.kind is Kind.REGIONS else self._map(self.turn.apply(result.masks[task.name]))
        exclusive = task.kind is Kind.SEGMENTATION
        channel = result.channel_of(task.name)
        for index, label in enumerate(task.labels):
            mask = self.turn.apply(result.mask(task.name, label.name))
            if not mask.any():
                continue
            number = shared if shared >= 0 else self._map(mask.astype(np.uint8))
            low, high = box(mask)
            row: dict[str, Any] = {
                "task": task.name,
                "name": label.name,
                "color": label.color,
                "channel": channel,
                "map": number,
                "value": label.value if shared >= 0 else 1,
                "jump": _jump(mask),
                "low": low.tolist(),
                "high": (high - 1).tolist(),
            }
            self._write(row, mask, probabilities, index, exclusive=exclusive)
            self.structures.append(row)

    def _write(
        self, row: dict[str, Any], mask: Mask, probabilities: ProbabilityArray | None, index: int, *, exclusive: bool
    ) -> None:
        """Field, map of probability and surface of one structure, each in its box."""
        low, high = box(mask)
        low, high = np.maximum(low - 1, 0), np.minimum(high + 1, mask.shape)
        near = tuple(slice(start, end) for start, end in zip(low, high, strict=True))
        levels = np.where(mask[near], 255, 0).astype(np.uint8)
        if probabilities is not None:
            blur = tuple(_BLUR if step < _THICK * min(self.grid.spacing) else 0.0 for step in self.grid.spacing)
            levels = _levels(mask[near], probabilities[(slice(None), *near)], index, blur, exclusive=exclusive)
            if self._field_bytes + levels.size <= MAX_FIELD_BYTES:
                self._field_bytes += levels.size
                row["field"] = self._array("field", levels, low)
            row["heat"] = self._heat(probabilities[index + 1 if exclusive else index], mask)
        i, j, k = (int(value) for value in low)
        name = f"mesh-{len(self.structures)}.raw.gz"
        row["mesh"] = write_mesh(self.folder / name, levels, (i, j, k), self.grid)

    def _heat(self, own: VoxelArray, mask: Mask) -> dict[str, Any]:
        """The structure's probability as uint8 (255 is 1) where it is at least `HEAT_FROM`."""
        low, high = box(mask | (own >= HEAT_FROM))
        near = tuple(slice(start, end) for start, end in zip(low, high, strict=True))
        return self._array("heat", np.rint(255.0 * np.clip(own[near], 0.0, 1.0)).astype(np.uint8), low)

    def _array(self, kind: str, array: VoxelArray, low: VoxelArray) -> dict[str, Any]:
        name = f"{kind}-{len(self.structures)}.raw.gz"
        packed(self.folder / name, array)
        return {"file": name, "low": low.tolist(), "shape": list(array.shape)}

    def _map(self, array: VoxelArray) -> int:
        name = f"map-{len(self.maps)}.raw.gz"
        packed(self.folder / name, array.astype(np.uint8))
        self.maps.append({"file": name})
        return len(self.maps) - 1


def box(mask: Mask) -> tuple[Any, Any]:
    """First and one past the last voxel of a mask that is not empty."""
    low, high = [], []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(used[0]))
        high.append(int(used[-1]) + 1)
    return np.array(low), np.array(high)


def packed(path: Path, array: VoxelArray) -> None:
    """Writes an array gzipped, i varying fastest; equal arrays give equal bytes."""
    with path.open("wb") as stream, gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as sink:
        sink.write(array.tobytes(order="F"))


def _levels(
    mask: Mask, probabilities: ProbabilityArray, index: int, blur: tuple[float, ...], *, exclusive: bool
) -> VoxelArray:
    """How clearly a voxel is the structure's, as uint8: from 128 up it is, as in the mask.

    The level set at 127.5 runs between the voxels where the structure's probability meets the next best one's. Sure
    networks leave little between 0 and 1, so the levels are blurred by `blur` voxels, never across the mask's edge.
    """
    if exclusive:
        own = probabilities[index + 1]
        margin = own - np.delete(probabilities, index + 1, axis=0).max(axis=0)
    else:
        margin = 2.0 * probabilities[index] - 1.0
    soft = ndimage.gaussian_filter(np.asarray(127.5 + 127.5 * margin, dtype=np.float32), blur, mode="nearest")
    levels = np.clip(np.rint(soft), 0, 255)
    return np.where(mask, np.maximum(levels, LEVEL), np.minimum(levels, LEVEL - 1)).astype(np.uint8)


def _jump(mask: Mask) -> list[int]:
    """A voxel of the mask near the middle of its largest slice along each axis in turn."""
    k = int(mask.sum(axis=(0, 1)).argmax())
    where = np.argwhere(mask[:, :, k])
    nearest = where[np.linalg.norm(where - where.mean(axis=0), axis=1).argmin()]
    return [int(nearest[0]), int(nearest[1]), k]
