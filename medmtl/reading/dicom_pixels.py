"""Pixels of a series, slice by slice, rescaled to measured values (PS3.3 C.7.6.3, C.11.1)."""

import hashlib
import io
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.pixels import pixel_array
from pydicom.uid import RLELossless

from medmtl.errors import Code, Notice, StudyError
from medmtl.reading.codestream import check_codestreams
from medmtl.reading.dicom_frames import Plane
from medmtl.reading.dicom_header import Instance
from medmtl.reading.dicom_values import PARSE_FAULTS
from medmtl.reading.mosaic import cut
from medmtl.reading.quiet_pydicom import quiet_pydicom
from medmtl.shapes import VoxelArray

AIR_HU = -1024
_HIGHEST_HU = 3071
_FILES_AHEAD = 4
_INT16 = (-32768, 32767)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """What the pixel data of a series amount to.

    Attributes:
        array: `(i, j, k)` int16 where that loses nothing, else float32.
        content_hash: SHA-256 over the sorted SHA-256 of the files.
        notices: what was done to values.
    """

    array: VoxelArray
    content_hash: str
    notices: tuple[Notice, ...]


def read_pixels(slices: Sequence[tuple[Instance, Plane]]) -> Pixels:
    """The voxels of slices in the order of axis k.

    Raises:
        StudyError: pixels that are cut short, cannot be decoded or do not fill rows and columns.
    """
    first = slices[0][0]
    shape = (first.columns, first.rows, len(slices))
    exact = all(plane.slope.is_integer() and plane.intercept.is_integer() for _, plane in slices)
    array: VoxelArray = np.empty(shape, dtype=np.int16 if exact else np.float32, order="F")
    padding: VoxelArray = np.zeros(0, dtype=np.uint8)
    digests: list[str] = []
    for k, stored in enumerate(stored_values(slices, digests)):
        instance, plane = slices[k]
        masked = _padded(instance, plane, stored)
        values = _measured(stored, plane)
        if masked is not None:
            if padding.shape != shape:
                padding = np.zeros(shape, dtype=np.uint8, order="F")
            padding[:, :, k] = masked.T
            values[masked] = 0
        if array.dtype == np.int16 and values.dtype != np.int16 and not _within(values, _INT16):
            array = array.astype(np.float32)
        array[:, :, k] = values.T
    if array.dtype != np.int16 and not np.isfinite(array).all():
        raise StudyError(Code.NOT_FINITE, "rescaled values leave the range of numbers", "export the series again")
    notices = _fill(array, padding, first) if padding.shape == shape else ()
    return Pixels(
        array=array,
        content_hash=hashlib.sha256("\n".join(sorted(set(digests))).encode()).hexdigest(),
        notices=notices,
    )


def _measured(stored: VoxelArray, plane: Plane) -> VoxelArray:
    """Rescaled values: int16 where every one fits into it, else float64."""
    if plane.slope.is_integer() and plane.intercept.is_integer():
        ends = sorted(int(end) * plane.slope + plane.intercept for end in (stored.min(), stored.max()))
        if _INT16[0] <= ends[0] and ends[1] <= _INT16[1]:
            wide = abs(plane.slope) > 1 or abs(plane.intercept) > 1 << 30
            values: VoxelArray = stored.astype(np.int64 if wide else np.int32)
            if plane.slope != 1:
                values = values * int(plane.slope)
            values = values + int(plane.intercept)
            return values.astype(np.int16)
    return stored.astype(np.float64) * plane.slope + plane.intercept


def _within(values: VoxelArray, ends: tuple[int, int]) -> bool:
    return bool(values.min() >= ends[0] and values.max() <= ends[1])


def stored_values(slices: Sequence[tuple[Instance, Plane]], digests: list[str] | None = None) -> Iterator[VoxelArray]:
    """`(row, column)` stored values of each slice, bits above Bits Stored (0028,0101) masked.

    Files are read and hashed by two threads, a few ahead of the one that decodes.

    Args:
        slices: what to read; a multi-frame file is decoded once for as long as its frames follow each other.
        digests: takes the SHA-256 of each file read.

    Raises:
        StudyError: as for `read_pixels`.
    """
    runs: list[tuple[Instance, list[Plane]]] = []
    for instance, plane in slices:
        if not runs or instance.path != runs[-1][0].path:
            runs.append((instance, []))
        runs[-1][1].append(plane)
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="medmtl-read") as pool:
        waiting: deque[Future[tuple[bytes, str]]] = deque()
        following = iter(runs)
        for instance, planes in runs:
            while len(waiting) < _FILES_AHEAD and (ahead := next(following, None)) is not None:
                waiting.append(pool.submit(_bytes_of, ahead[0], digests is not None))
            data, digest = waiting.popleft().result()
            if digests is not None:
                digests.append(digest)
            frames = _frames(data, instance)
            for plane in planes:
                yield frames[plane.frame]


def _bytes_of(instance: Instance, hashed: bool) -> tuple[bytes, str]:
    try:
        data = instance.path.read_bytes()
    except OSError as fault:
        raise StudyError(Code.UNREADABLE, "a file cannot be read", "check its permissions and the disk") from fault
    return data, hashlib.sha256(data).hexdigest() if hashed else ""


def _frames(data: bytes, instance: Instance) -> VoxelArray:
    """`(frame, row, column)` stored values of a file."""
    pixels = instance.pixels
    if pixels is None:
        return _decoded(data, instance)
    if len(data) != pixels.size:
        raise StudyError(Code.UNREADABLE, "a file changed while the series was read", "read the series again")
    shape = _stored_shape(instance)
    count = shape[0] * shape[1] * shape[2]
    values = np.frombuffer(data, dtype=pixels.dtype, count=count, offset=pixels.offset).reshape(shape)
    if not pixels.dtype.isnative:
        values = values.astype(pixels.dtype.newbyteorder("="))
    values = _planes_of(values, instance)
    return _masked(values, instance.bits_stored, signed=instance.signed)


def _stored_shape(instance: Instance) -> tuple[int, int, int]:
    """`(frame, row, column)` of what is stored."""
    count = len(instance.planes)
    if not instance.mosaic:
        return count, instance.rows, instance.columns
    across = math.ceil(math.sqrt(count))
    return 1, across * instance.rows, across * instance.columns


def _planes_of(frames: VoxelArray, instance: Instance) -> VoxelArray:
    """`(plane, row, column)` of stored frames."""
    return cut(frames[0], (len(instance.planes), instance.rows, instance.columns)) if instance.mosaic else frames


def _decoded(data: bytes, instance: Instance) -> VoxelArray:
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            check_codestreams(dataset, *_stored_shape(instance)[1:])
            if not hasattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID"):
                # no meta group: the data set was read as what it is, so its encoding stands for the syntax
                dataset.file_meta = pydicom.dataset.FileMetaDataset()
                implicit, _ = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = (
                    pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
                )
            # the Rust decoder of pylibjpeg-rle aborts on damaged segments, beyond any `except`
            plugin = "pydicom" if dataset.file_meta.TransferSyntaxUID == RLELossless else ""
            pixels = np.asarray(pixel_array(dataset, raw=True, decoding_plugin=plugin))
            stored_bits, signed = int(dataset.BitsStored), dataset.get("PixelRepresentation") == 1
    except PARSE_FAULTS as fault:
        raise StudyError(
            Code.BAD_PIXELS,
            "the pixels of a file cannot be decoded",
            "copy the series again, or export it uncompressed",
        ) from fault
    wanted = _stored_shape(instance)
    if pixels.size != wanted[0] * wanted[1] * wanted[2]:
        raise StudyError(Code.BAD_PIXELS, "a file holds another number of pixels than it says", "copy the series again")
    return _masked(_planes_of(pixels.reshape(wanted), instance), stored_bits, signed=signed)


def _masked(pixels: VoxelArray, bits: int, *, signed: bool) -> VoxelArray:
    """Without what old writers leave above Bits Stored, overlays mostly."""
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if bits >= pixels.dtype.itemsize * 8 or _within(pixels, ends):
        return pixels
    masked = pixels.astype(np.int64) & ((1 << bits) - 1)
    if signed:
        masked[masked >= 1 << (bits - 1)] -= 1 << bits
    return masked.astype(np.int32)


def _padded(instance: Instance, plane: Plane, stored: VoxelArray) -> VoxelArray | None:
    """Where the slice holds "no data" values that would pass for measured ones."""
    if instance.padding is None:
        return None
    low, high = instance.padding
    measured = sorted((low * plane.slope + plane.intercept, high * plane.slope + plane.intercept))
    if instance.modality == "CT" and measured[0] >= AIR_HU and measured[1] <= _HIGHEST_HU:
        return None  # within Hounsfield units: a value that is really there as well
    if instance.modality != "CT" and measured == [0.0, 0.0]:
        return None
    masked: VoxelArray = (stored >= low) & (stored <= high)
    return masked if masked.any() else None


def _fill(array: VoxelArray, padding: VoxelArray, first: Instance) -> tuple[Notice, ...]:
    where = padding.astype(bool)
    real = array[~where]
    fill = AIR_HU if first.modality == "CT" or real.size == 0 else real.min()
    array[where] = fill
    share = 100.0 * float(where.mean())
    return (Notice(code=Code.PADDING_MASKED, text=f"{share:.1f} % of the voxels are padding and were set to {fill:g}"),)
