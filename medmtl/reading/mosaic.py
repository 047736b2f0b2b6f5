"""Siemens mosaics: the slices of a volume as tiles of one picture.

Image Position (Patient) is that of the picture as if it were one slice of its width; the tiles' places follow from it
and from the protocol in the private header (0029,xx20), the text between ASCCONV BEGIN and END, which lists the centre
of every slice. The two must agree, and only then is a mosaic split.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medmtl.errors import Code, StudyError
from medmtl.reading.dicom_frames import Plane
from medmtl.reading.dicom_values import PARSE_FAULTS, integer
from medmtl.shapes import FloatArray, VoxelArray

MAX_OFFSET_MM = 0.1
_CENTRE = re.compile(rb"sSliceArray\.asSlice\[(\d{1,4})\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([-+.\deE]{1,40})")
_AXIS = {b"Sag": 0, b"Cor": 1, b"Tra": 2}


def mosaic_planes(dataset: Any, picture: Plane) -> tuple[Plane, ...]:
    """The planes of the tiles of a mosaic, in the order of the tiles, row by row.

    Args:
        dataset: its header.
        picture: plane of the whole picture.

    Raises:
        StudyError: `mosaic`, the private headers are gone, or they and the place of the picture contradict each other.
    """
    centres = _centres(dataset)
    count = len(centres)
    if picture.position is None or picture.orientation is None or picture.pixel_spacing is None:
        raise _refusal("the picture has no place")
    if count < 2 or count != _told(dataset):
        raise _refusal("its private headers do not tell its slices")
    height, width = tile_shape(int(dataset.Rows), int(dataset.Columns), count)
    along = np.array(picture.orientation[:3]) * picture.pixel_spacing[1]
    down = np.array(picture.orientation[3:]) * picture.pixel_spacing[0]
    # the middle of a field of view is the pixel after its half, in the picture as in a tile
    middle = np.array(picture.position) + along * int(dataset.Columns) / 2 + down * int(dataset.Rows) / 2
    if np.linalg.norm(middle - centres[0]) > MAX_OFFSET_MM:
        centres = centres[::-1]  # numbered from the other end
    even = centres[0] + np.outer(np.arange(count), (centres[-1] - centres[0]) / (count - 1))
    off_mm = max(np.linalg.norm(middle - centres[0]), np.linalg.norm(even - centres, axis=1).max())
    normal = np.cross(along, down)
    step = centres[1] - centres[0]
    lean = np.linalg.norm(np.cross(step, normal)) / (np.linalg.norm(step) * np.linalg.norm(normal) or 1.0)
    if off_mm > MAX_OFFSET_MM or not lean < 1e-3:
        raise _refusal("its private headers put the slices elsewhere than the picture lies")
    origins = centres - along * width / 2 - down * height / 2
    return tuple(replace(picture, frame=n, position=tuple(origin)) for n, origin in enumerate(origins.tolist()))


def tile_shape(rows: int, columns: int, count: int) -> tuple[int, int]:
    """Rows and columns of a tile: tiles fill the smallest square that holds `count`.

    Raises:
        StudyError: the picture cannot be cut so.
    """
    across = math.ceil(math.sqrt(count))
    if rows % across or columns % across:
        raise _refusal(f"{rows} x {columns} pixels are not {across} x {across} tiles")
    return rows // across, columns // across


def cut(picture: VoxelArray, shape: tuple[int, int, int]) -> VoxelArray:
    """The first tiles `(tile, row, column)` of `shape` in a picture `(row, column)`."""
    _, rows, columns = shape
    down, across = picture.shape[0] // rows, picture.shape[1] // columns
    tiles: VoxelArray = picture.reshape(down, rows, across, columns).swapaxes(1, 2).reshape(-1, rows, columns)
    return tiles[: shape[0]]


def _centres(dataset: Any) -> FloatArray:
    """`(slices, 3)` LPS mm of the middle of each slice, in the order of the protocol; none where it is not there."""
    try:
        value = dataset.private_block(0x0029, "SIEMENS CSA HEADER")[0x20].value
    except PARSE_FAULTS:
        return np.zeros((0, 3))
    if not isinstance(value, bytes):
        return np.zeros((0, 3))
    begin = value.find(b"### ASCCONV BEGIN")
    end = value.find(b"### ASCCONV END", begin)
    found: Sequence[tuple[bytes, bytes, bytes]] = _CENTRE.findall(value, begin, end) if 0 <= begin < end else ()
    numbers = {int(number) for number, _, _ in found}
    if numbers != set(range(len(numbers))):
        return np.zeros((0, 3))
    centres = np.zeros((len(numbers), 3))  # a coordinate of zero is left out
    try:
        for number, axis, text in found:
            centres[int(number), _AXIS[axis]] = float(text)
    except ValueError:
        return np.zeros((0, 3))
    return centres if np.isfinite(centres).all() else np.zeros((0, 3))


def _told(dataset: Any) -> int | None:
    """Number Of Images In Mosaic (0019,xx0A)."""
    try:
        element = dataset.private_block(0x0019, "SIEMENS MR HEADER")[0x0A]
    except PARSE_FAULTS:
        return None
    return integer({"count": element.value}, "count")


def _refusal(why: str) -> StudyError:
    return StudyError(
        Code.MOSAIC, f"the image is a mosaic of slices, and {why}", "convert it to single slices (enhanced MR)"
    )
