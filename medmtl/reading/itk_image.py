"""NRRD and MetaImage files (NRRD, MHA) by SimpleITK, whose frame is LPS as ours."""

import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from medmtl.errors import Code, StudyError
from medmtl.geometry.affine import is_usable
from medmtl.geometry.grid import Grid
from medmtl.volume import Volume

SUFFIXES = (".nrrd", ".mha")
MAX_VOLUME_BYTES = 8 << 30
_NRRD, _META = b"NRRD", re.compile(rb"^\s*(ObjectType|NDims|Comment)\s*=")
_PLACED = {
    ".nrrd": (re.compile(rb"(?m)^space directions:"), re.compile(rb"(?m)^space:"), re.compile(rb"(?m)^space origin:")),
    ".mha": (
        re.compile(rb"(?m)^(TransformMatrix|Orientation|Rotation)\s*="),
        re.compile(rb"(?m)^(Offset|Position|Origin)\s*="),
        re.compile(rb"(?m)^(ElementSpacing|ElementSize)\s*="),
    ),
}
_PATIENT_SPACE = re.compile(
    rb"(?mi)^space:\s*(left-posterior-superior|right-anterior-superior|left-anterior-superior|LPS|RAS|LAS)\b"
)
_ORTHOGONAL = 1e-4


def looks_like_itk_image(head: bytes) -> bool:
    """Whether the first bytes open an NRRD or MetaImage file."""
    return head.startswith(_NRRD) or _META.match(head) is not None


def is_itk_image(path: Path) -> bool:
    """Whether a file is an NRRD or MetaImage, by its content."""
    with path.open("rb") as stream:
        return looks_like_itk_image(stream.read(64))


def read_itk_image(path: Path) -> Volume:
    """The volume of a `.nrrd` or `.mha` file: int16 where that loses nothing, else float32; affine in LPS mm.

    Modality is None: neither format says it.

    Raises:
        StudyError: cut short, not three-dimensional, no orientation in the header, values that are not finite.
    """
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    suffix = ".nrrd" if head.startswith(_NRRD) else ".mha"
    _check_header(head, suffix)
    image = _opened(path, suffix)
    grid = _grid(image)
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    whole = values.dtype.kind in "iub"
    if whole and values.min() >= -32768 and values.max() <= 32767:
        array = np.asfortranarray(values, dtype=np.int16)
    else:
        array = np.asfortranarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise StudyError(
            Code.NOT_FINITE, "some voxels are not finite numbers", "replace NaN and infinity before reading"
        )
    return Volume(array=array, grid=grid, modality=None, content_hash=digest)


def _check_header(head: bytes, suffix: str) -> None:
    end = head.find(b"\n\n") if suffix == ".nrrd" else head.find(b"ElementDataFile")
    text = head[: end if end >= 0 else len(head)]
    data = head[end:].split(b"\n", 1)[0].split(b"=")[-1].strip() if suffix == ".mha" else b"LOCAL"
    if re.search(rb"(?mi)^data ?file:", text) or data != b"LOCAL":
        what = "the header points to another file for its voxels"
        raise StudyError(Code.UNSUPPORTED_ENCODING, what, "write header and voxels as one file, .nrrd or .mha")
    missing = [pattern for pattern in _PLACED[suffix] if not pattern.search(text)]
    if missing:
        raise StudyError(
            Code.MISSING_GEOMETRY, "the header has no directions or no patient frame", "write it with its geometry"
        )
    if suffix == ".nrrd" and not _PATIENT_SPACE.search(text):
        what = "the space is not that of a patient"
        raise StudyError(Code.MISSING_GEOMETRY, what, "write it as left-posterior-superior")


def _opened(path: Path, suffix: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if suffix == ".nrrd" else "MetaImageIO")
    reader.SetFileName(os.fspath(path))
    try:
        with _quiet():
            reader.ReadImageInformation()
            size, parts = reader.GetSize(), reader.GetNumberOfComponents()
            _check_size(size, parts)
            return reader.Execute()
    except RuntimeError as fault:
        raise StudyError(Code.TRUNCATED, "the file is cut short or damaged", "copy it again") from fault


def _check_size(size: tuple[int, ...], parts: int) -> None:
    if parts != 1:
        raise StudyError(Code.COLOUR_IMAGE, f"a voxel has {parts} components", "give one value per voxel")
    if len(size) > 3:
        raise StudyError(
            Code.FOUR_DIMENSIONAL, f"the image has {len(size)} dimensions", "split it and give one volume per file"
        )
    if len(size) < 3 or min(size) < 2:
        raise StudyError(Code.SINGLE_SLICE, f"the image is a single slice {size}", "give the whole stack as one volume")
    if math.prod(size) * 4 > MAX_VOLUME_BYTES:
        raise StudyError(Code.TOO_LARGE, "the header asks for more than 8 GiB of voxels", "crop or resample the volume")


def _grid(image: Any) -> Grid:
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if not is_usable(affine) or np.abs(direction.T @ direction - np.eye(3)).max() > _ORTHOGONAL:
        # ITK keeps no shear: it would have been straightened without a word
        raise StudyError(Code.BAD_GEOMETRY, "the axes are no perpendicular unit vectors", "give the DICOM series")
    return Grid(shape=image.GetSize(), affine=affine)


@contextmanager
def _quiet() -> Iterator[None]:
    """ITK warns on stderr with the file's path."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
