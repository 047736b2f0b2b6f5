"""Drawn masks between the browser and the result: maps in, islands out."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medmtl.errors import Code, UsageError
from medmtl.findings.components import components
from medmtl.geometry.orientation import AxisTurn
from medmtl.shapes import Mask, VoxelArray
from medmtl.task import Kind, Task


def with_drawn(
    masks: Mapping[str, VoxelArray], tasks: tuple[Task, ...], drafts: Mapping[str, Path], turn: AxisTurn
) -> dict[str, VoxelArray]:
    """`masks` with the maps that a reader has drawn in their place.

    Args:
        masks: voxel task to its map, on the volume's axes.
        tasks: what they are of.
        drafts: `TASK`, or `TASK.LABEL` of kinds that overlap, to a gzipped uint8 map, i fastest, along the view's axes.
        turn: from the volume's axes to the view's.

    Raises:
        UsageError: `bad-option`, a map of no such task, of another size, or with a value that is no label.
    """
    drawn = dict(masks)
    known = {task.name: task for task in tasks if task.is_voxel}
    for name, path in drafts.items():
        task_name, _, label = name.partition(".")
        task = known.get(task_name)
        if task is None or (task.kind is Kind.REGIONS) != bool(label):
            raise _bad(f"no map is called {name}")
        former = drawn[task_name]
        array = turn.undo(_unpacked(path, turn.apply(former).shape[-3:]))
        if task.kind is Kind.REGIONS:
            labels = [row.name for row in task.labels]
            if label not in labels or array.max() > 1:
                raise _bad(f"the map {name} is not of one structure")
            former = former.copy()
            former[labels.index(label)] = array > 0
            drawn[task_name] = former
        else:
            if array.max() > max(row.value for row in task.labels):
                raise _bad(f"the map {name} holds a value that is no label")
            drawn[task_name] = array
    return drawn


def without_islands(mask: Mask, least_voxels: int) -> Mask:
    """Pieces (26 neighbours) of at least so many voxels; the largest alone where `least_voxels` is 0."""
    pieces, _ = components(mask, max(1, least_voxels))
    return np.asarray(pieces > 0 if least_voxels else pieces == 1)


def unpack(data: bytes, length: int) -> VoxelArray:
    """The bytes of a gzipped array.

    Raises:
        UsageError: `bad-option`, it holds more or fewer than `length` bytes or is no gzip.
    """
    inflate = zlib.decompressobj(wbits=31)
    try:
        raw = inflate.decompress(data, length + 1)
    except zlib.error:
        raise _bad("the drawn map cannot be unpacked") from None
    if len(raw) != length:
        raise _bad("the drawn map has another size than the image")
    return np.frombuffer(raw, dtype=np.uint8)


def _unpacked(path: Path, shape: tuple[int, ...]) -> VoxelArray:
    return unpack(path.read_bytes(), int(np.prod(shape))).reshape(shape, order="F")


def pack(mask: Mask) -> bytes:
    """A mask as gzipped uint8, i fastest."""
    return gzip.compress(mask.astype(np.uint8).tobytes(order="F"), compresslevel=1, mtime=0)


def _bad(what: str) -> UsageError:
    return UsageError(Code.BAD_OPTION, what, "draw it again")
