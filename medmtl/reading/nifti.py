"""NIfTI-1 and NIfTI-2 files: one volume each. RAS becomes LPS here, once.

The geometry of a NIfTI stands in its header up to three times (pixdim, qform, sform). Readers differ in which they
believe, so a file in which they disagree is refused rather than read.
"""

import gzip
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from medmtl.errors import Code, DatasetError, StudyError
from medmtl.geometry.affine import corner_distance_mm, is_usable, spacing_of, swap_ras_lps
from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, LabelMap, Shape, VoxelArray
from medmtl.volume import Volume

MAX_VOLUME_BYTES = 8 << 30
MAX_DEFLATE_RATIO = 1100  # deflate cannot pack tighter than about 1,032 to 1
SPACING_TOLERANCE = 1e-3  # relative; pixdim is float32 and often rounded to six digits
FORM_TOLERANCE_MM = 0.05
_BLOCK = 1 << 22
_QUATERNION_PRECISION = 6e-7  # of the fourth term's square; nibabel takes what lies below 3.6e-7 for nothing
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is taken as mm, as every reader does
_SCANNER_CODES = (1, 2)  # scanner and aligned; 3 and more name templates, where two frames are lawful


@dataclass(frozen=True, kw_only=True, eq=False)
class Content:
    """What a file holds: header, values as stored `(i, j, k)` or `(i, j, k, volume)`, their grid, SHA-256 of it."""

    header: Any
    stored: VoxelArray
    grid: Grid
    digest: str


def looks_like_nifti(head: bytes) -> bool:
    """Whether the first 348 bytes (unpacked) are a single-file NIfTI header, whatever the name."""
    return _header_class(head) is not None


def read_nifti(path: Path) -> Volume:
    """The volume of a NIfTI file: int16 where that loses nothing, else float32; affine in LPS mm.

    `scl_slope` and `scl_inter` are applied. Modality is None: NIfTI does not say it.

    Raises:
        StudyError: not a NIfTI, cut short, more than three dimensions, values that are not finite,
            no geometry or one that contradicts itself.
    """
    content = read_content(path)
    return Volume(array=scaled(content), grid=content.grid, modality=None, content_hash=content.digest)


def read_label_map(path: Path) -> tuple[LabelMap, Grid]:
    """`(i, j, k)` uint8 label values of a NIfTI file and the grid they lie on, LPS mm.

    Raises:
        StudyError: as for `read_nifti`.
        DatasetError: a value is not an integer in 0..255.
    """
    content = read_content(path)
    values = scaled(content)
    labels = values.astype(np.uint8) if values.min() >= 0 and values.max() <= 255 else None
    if labels is None or not np.array_equal(labels, values):
        raise DatasetError(
            Code.BAD_LABEL_VALUE, "a label map holds a value that is no integer in 0..255", "write it again as integers"
        )
    return labels, content.grid


def read_content(path: Path, volumes: Callable[[Any], int] = lambda _: 1) -> Content:
    """Header and stored values of a file.

    Args:
        path: the file.
        volumes: says of a header how many volumes are to be read; more than one make a fourth axis.

    Raises:
        StudyError: as `read_nifti`.
    """
    try:
        return _content(path, volumes)
    except (EOFError, IsalError) as fault:  # type: ignore[misc]
        raise _truncated() from fault
    except gzip.BadGzipFile as fault:
        raise StudyError(Code.UNREADABLE, "the gzip data are damaged", "copy the file again") from fault
    except OSError as fault:
        raise StudyError(Code.UNREADABLE, "the file cannot be read", "check its permissions and the disk") from fault


def _content(path: Path, volumes: Callable[[Any], int]) -> Content:
    size = path.stat().st_size
    if size == 0:
        raise StudyError(Code.EMPTY_INPUT, "the file is empty", "copy it again")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    with igzip.open(path, "rb") if packed else path.open("rb") as stream:
        opened = cast("IO[bytes]", stream)
        header = header_of(opened)
        count = volumes(header)
        shape = _shape(header, count)
        dtype = _dtype(header)
        length = math.prod(shape) * count * dtype.itemsize
        offset = _offset(header)
        _check_length(length, offset, size, packed=packed)
        grid = Grid(shape=shape, affine=_affine(header, shape))
        stored = _voxels(opened, offset, length)
    whole = shape if count == 1 else (*shape, count)
    array = np.frombuffer(stored, dtype=dtype).reshape(whole, order="F")
    return Content(header=header, stored=array, grid=grid, digest=digest)


def _truncated() -> StudyError:
    return StudyError(Code.TRUNCATED, "the file ends before its voxels do", "copy it again")


def _header_class(head: bytes) -> type[Any] | None:
    for size, magic, header_class in ((348, slice(344, 348), Nifti1Header), (540, slice(4, 8), Nifti2Header)):
        named = head[magic][:3] in (b"n+1", b"n+2")
        if named and size in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
            return cast("type[Any]", header_class)
    return None


def header_of(stream: IO[bytes]) -> Any:
    """The header at the start of an unpacked stream.

    Raises:
        StudyError: there is none.
    """
    head = stream.read(348)
    header_class = _header_class(head)
    if header_class is None:
        raise StudyError(Code.NOT_AN_IMAGE, "the file is no single-file NIfTI image", "give a .nii or .nii.gz file")
    if header_class is Nifti2Header:
        head += stream.read(540 - 348)
    if len(head) < header_class.template_dtype.itemsize:
        raise _truncated()
    return header_class(head, check=False)


def _shape(header: Any, count: int) -> Shape:
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise StudyError(Code.BAD_GEOMETRY, f"the header gives the dimensions {dim}", "write the file again")
    shape = dim[1 : dim[0] + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 4 and count > 1:
        shape.pop()
    if len(shape) > 3:
        raise StudyError(
            Code.FOUR_DIMENSIONAL,
            f"the image has {len(shape)} dimensions {tuple(shape)}",
            "split it and give one volume per file",
        )
    if len(shape) < 3 or min(shape) == 1:
        raise StudyError(
            Code.SINGLE_SLICE, f"the image is a single slice {tuple(shape)}", "give the whole stack as one volume"
        )
    return (shape[0], shape[1], shape[2])


def _dtype(header: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError) as fault:
        raise StudyError(Code.UNSUPPORTED_ENCODING, "the voxel type is unknown", "write it as int16") from fault
    if dtype.fields:
        raise StudyError(Code.COLOUR_IMAGE, "the voxels are colours", "give the grey values of the scanner")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise StudyError(
            Code.UNSUPPORTED_ENCODING, f"the voxels are of type {dtype.name}", "write them as int16 or float32"
        )
    return dtype


def _offset(header: Any) -> int:
    offset = float(header["vox_offset"])
    if not 348 <= offset <= 1 << 24:  # NaN included
        raise StudyError(Code.UNREADABLE, "the header points outside the file", "write the file again")
    return int(offset)


def _check_length(length: int, offset: int, size: int, *, packed: bool) -> None:
    if length > MAX_VOLUME_BYTES:
        raise StudyError(
            Code.TOO_LARGE, f"the header asks for {length / 2**30:.0f} GiB of voxels", "crop or resample the volume"
        )
    if offset + length > size * (MAX_DEFLATE_RATIO if packed else 1):
        raise _truncated()


def _voxels(stream: IO[bytes], offset: int, length: int) -> VoxelArray:
    stream.seek(offset)
    data = np.empty(length, dtype=np.uint8)
    room = data.data
    while room:
        count = stream.readinto(room[:_BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise _truncated()
        room = room[count:]
    stream.read(1)  # gzip compares its checksum only on reaching the end
    return data


def _affine(header: Any, shape: Shape) -> FloatArray:
    sform = _sform(header) if int(header["sform_code"]) > 0 else None
    qform = _qform(header) if int(header["qform_code"]) > 0 else None
    affine = sform if sform is not None else qform
    if affine is None:
        raise StudyError(
            Code.MISSING_GEOMETRY,
            "neither sform nor qform is set, so the orientation is unknown",
            "convert the study from DICOM again, or set the sform once it is known",
        )
    if not is_usable(affine):
        raise StudyError(Code.BAD_GEOMETRY, "the affine is zero, flat or not finite", "convert the study again")
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    spacing = np.asarray(spacing_of(affine))
    if not np.isfinite(pixdim).all() or (np.abs(np.abs(pixdim) - spacing) > SPACING_TOLERANCE * spacing).any():
        raise StudyError(
            Code.SPACING_CONTRADICTION,
            f"pixdim says {_mm(np.abs(pixdim))} mm between voxels, the affine {_mm(spacing)} mm",
            "find out which is right, scale the affine's columns to it, and set sform, qform and pixdim alike",
        )
    if sform is not None and qform is not None:
        _compare_forms(header, sform, qform, shape)
    mm = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return swap_ras_lps(np.diag([mm, mm, mm, 1.0]) @ affine)


def _sform(header: Any) -> FloatArray:
    return np.asarray(header.get_sform(), dtype=np.float64)


def _qform(header: Any) -> FloatArray:
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # the standard reads an unset handedness so
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as fault:
        raise StudyError(Code.BAD_GEOMETRY, "the qform is no rotation", "convert the study again") from fault


def _compare_forms(header: Any, sform: FloatArray, qform: FloatArray, shape: Shape) -> None:
    codes = (int(header["sform_code"]), int(header["qform_code"]))
    same_hand = is_usable(qform) and np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) > 0
    distance_mm = corner_distance_mm(sform, qform, shape)
    tolerance_mm = FORM_TOLERANCE_MM + _qform_blur_mm(header, sform, shape)
    if same_hand and (distance_mm <= tolerance_mm or not all(code in _SCANNER_CODES for code in codes)):
        return
    raise StudyError(
        Code.BAD_GEOMETRY,
        f"sform and qform put a corner {distance_mm:.2f} mm apart",
        "find out which is right and set both to it",
    )


def _qform_blur_mm(header: Any, affine: FloatArray, shape: Shape) -> float:
    """How far off a qform puts the last corner of its own accord, in mm.

    It stores three terms of a quaternion in single precision; the fourth is what is left to one, which near a half
    turn is a small difference of large numbers. Axial stacks are such half turns in NIfTI's frame.
    """
    stored = np.array([header["quatern_b"], header["quatern_c"], header["quatern_d"]], dtype=np.float64)
    square = 1.0 - float(stored @ stored)
    left = 0.0 if square < _QUATERNION_PRECISION else math.sqrt(square)
    angle = 2.0 * (math.sqrt(left * left + _QUATERNION_PRECISION) - left)
    return angle * float(np.linalg.norm(np.asarray(shape) * spacing_of(affine)))


def _mm(values: FloatArray) -> str:
    return " x ".join(f"{value:g}" for value in np.round(values, 4))


def scaled(content: Content) -> VoxelArray:
    """The values that are meant: int16 where that loses nothing, else float32.

    Raises:
        StudyError: the scale or a value is not finite.
    """
    stored, header = content.stored, content.header
    slope, inter = _scaling(header)
    if stored.dtype.kind in "iu" and slope.is_integer() and inter.is_integer():
        low, high = (float(stored.min()) * slope + inter, float(stored.max()) * slope + inter)
        if min(low, high) >= -32768 and max(low, high) <= 32767:
            if (slope, inter) == (1.0, 0.0):
                return np.asarray(stored, dtype=np.int16)
            return (stored.astype(np.float64) * slope + inter).astype(np.int16)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(stored, dtype=np.float32)
        if (slope, inter) != (1.0, 0.0):
            values = (stored.astype(np.float64) * slope + inter).astype(np.float32)
    if not np.isfinite(values).all():
        raise StudyError(
            Code.NOT_FINITE, "some voxels are not finite numbers", "replace NaN and infinity before reading"
        )
    return values


def _scaling(header: Any) -> tuple[float, float]:
    slope = float(header["scl_slope"])
    inter = float(header["scl_inter"])
    if math.isnan(slope) or slope == 0.0:  # the standard's word for "not scaled"
        return 1.0, 0.0
    inter = 0.0 if math.isnan(inter) else inter
    if math.isinf(slope) or math.isinf(inter):
        raise StudyError(Code.BAD_RESCALE, "the scale factor is infinite", "write the file again")
    return slope, inter
