"""Pixels of a series, slice by slice, rescaled to measured values (PS3.3 C.7.6.3, C.11.1)."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.pixels import pixel_array
from pydicom.uid import RLELossless

from medmtl.errors import Code, Notice, StudyError
from medmtl.reading.codestream import check_codestreams
from medmtl.reading.dicom_header import PARSE_FAULTS, Instance, Plane
from medmtl.reading.quiet_pydicom import quiet_pydicom
from medmtl.shapes import VoxelArray

AIR_HU = -1024
_HIGHEST_HU = 3071


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
        values = stored.astype(np.float64) * plane.slope + plane.intercept
        masked = _padded(instance, plane, stored)
        if masked is not None:
            if padding.shape != shape:
                padding = np.zeros(shape, dtype=np.uint8, order="F")
            padding[:, :, k] = masked.T
            values[masked] = 0.0
        if array.dtype == np.int16 and (values.min() < -32768 or values.max() > 32767):
            array = array.astype(np.float32)
        array[:, :, k] = values.T
    if not np.isfinite(array).all():
        raise StudyError(Code.NOT_FINITE, "rescaled values leave the range of numbers", "export the series again")
    notices = _fill(array, padding, first) if padding.shape == shape else ()
    return Pixels(
        array=array,
        content_hash=hashlib.sha256("\n".join(sorted(set(digests))).encode()).hexdigest(),
        notices=notices,
    )


def stored_values(slices: Sequence[tuple[Instance, Plane]], digests: list[str] | None = None) -> Iterator[VoxelArray]:
    """`(row, column)` stored values of each slice, bits above Bits Stored (0028,0101) masked.

    Args:
        slices: what to read; a multi-frame file is decoded once for as long as its frames follow each other.
        digests: takes the SHA-256 of each file read.

    Raises:
        StudyError: as for `read_pixels`.
    """
    opened: Instance | None = None
    frames: VoxelArray = np.zeros((0, 0, 0), dtype=np.int16)
    for instance, plane in slices:
        if opened is None or instance.path != opened.path:
            data = _bytes_of(instance)
            if digests is not None:
                digests.append(hashlib.sha256(data).hexdigest())
            frames = _decoded(data, instance)
            opened = instance
        yield frames[plane.frame]


def _bytes_of(instance: Instance) -> bytes:
    try:
        return instance.path.read_bytes()
    except OSError as fault:
        raise StudyError(Code.UNREADABLE, "a file cannot be read", "check its permissions and the disk") from fault


def _decoded(data: bytes, instance: Instance) -> VoxelArray:
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            check_codestreams(dataset, instance.rows, instance.columns)
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
    wanted = (len(instance.planes), instance.rows, instance.columns)
    if pixels.size != wanted[0] * wanted[1] * wanted[2]:
        raise StudyError(Code.BAD_PIXELS, "a file holds another number of pixels than it says", "copy the series again")
    return _masked(pixels.reshape(wanted), stored_bits, signed=signed)


def _masked(pixels: VoxelArray, bits: int, *, signed: bool) -> VoxelArray:
    """Without what old writers leave above Bits Stored, overlays mostly."""
    if bits >= pixels.dtype.itemsize * 8:
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
