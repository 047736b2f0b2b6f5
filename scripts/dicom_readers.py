"""DICOM readers side by side: where each puts every pixel, against PS3.3 C.7.6.2 worked out from the headers alone."""

import contextlib
import io
import logging
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from medmtl.errors import Code, MedmtlError
from medmtl.shapes import FloatArray, VoxelArray

RIGHT_MM = 0.06
_SAME = 0.9999
_FLIPS = tuple((i, j) for i in (False, True) for j in (False, True))
_AXES = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Image:
    """One 2D image of a study: `(i, j)` measured values, `(4, 3)` LPS mm of its corner pixels, its series."""

    values: VoxelArray
    corners: FloatArray
    series: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a reader made of a folder: its volumes `(array, affine to LPS mm)`, or why there are none."""

    volumes: tuple[tuple[VoxelArray, FloatArray], ...] = ()
    refusal: str = ""


def images_of(folder: Path) -> list[Image]:
    """Every image that states where it lies; localizers are left out."""
    found = []
    for path in sorted(p for p in [folder, *folder.rglob("*")] if p.is_file()):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True)
            if "LOCALIZER" not in (header.get("ImageType") or ()):
                found += list(_images(header))
    return found


def _images(header: Any) -> Iterator[Image]:
    pixels = header.pixel_array
    frames = header.get("PerFrameFunctionalGroupsSequence")
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    for n in range(len(frames) if frames else 1):
        groups = [frames[n], shared] if frames else []

        def of(sequence: str, keyword: str, groups: list[Any] = groups) -> Any:
            for group in groups:
                if group.get(sequence):
                    return group[sequence].value[0].get(keyword)
            return header.get(keyword)

        slope, intercept = (of("PixelValueTransformationSequence", f"Rescale{word}") for word in ("Slope", "Intercept"))
        values = (pixels[n] if frames else pixels) * float(1 if slope is None else slope) + float(intercept or 0)
        if not np.isfinite(values).all() or np.ptp(values) == 0:
            continue  # no values to compare
        axes = np.array(of("PlaneOrientationSequence", "ImageOrientationPatient"), dtype=float)
        gaps = np.array(of("PixelMeasuresSequence", "PixelSpacing"), dtype=float)
        origin = np.array(of("PlanePositionSequence", "ImagePositionPatient"), dtype=float)
        rows, columns = values.shape
        along, down = axes[:3] * gaps[1] * (columns - 1), axes[3:] * gaps[0] * (rows - 1)
        yield Image(
            values=values.T,
            corners=np.stack([origin, origin + along, origin + down, origin + along + down]),
            series=str(header.get("SeriesInstanceUID", "")),
        )


def verdict(images: list[Image], outcome: Outcome, *, volume: bool) -> str:
    """In words: right, or how far off in mm, how much in value, how many images are missing.

    Args:
        images: those that state their place.
        outcome: what a reader made of them.
        volume: whether they are one, or several, so that reading them is right and refusing them is not.
    """
    if outcome.refusal:
        return outcome.refusal
    slices = sum(array.shape[2] if array.ndim > 2 else 1 for array, _ in outcome.volumes)
    matrices = {image.values.shape for image in images}
    if images and all(array.shape[:2] not in matrices for array, _ in outcome.volumes):
        return f"cut into {len(outcome.volumes)} volumes of {slices // len(outcome.volumes)} slices, not compared"
    said = _compared(images, outcome)
    if volume:
        return said
    more = "" if said.startswith("right") or not images else f", {said}"
    return f"**read all the same, {slices} slice{'s' if slices > 1 else ''}**{more}"


def _compared(images: list[Image], outcome: Outcome) -> str:
    worst, value_off, missing = 0.0, 0.0, 0
    shown: dict[int, set[str]] = {}
    for image in images:
        places = [
            (distance, off, number)
            for number, (array, affine) in enumerate(outcome.volumes)
            for distance, off in _places(image, array, affine)
        ]
        if not places:
            missing += 1
            continue
        distance, off, number = min(places)
        shown.setdefault(number, set()).add(image.series)
        worst, value_off = max(worst, distance), max(value_off, off)
    said = []
    if missing:
        said.append(f"**{missing} of {len(images)} images missing**")
    slices = sum(array.shape[2] for array, _ in outcome.volumes)
    if slices > len(images) and not missing and len(outcome.volumes) == 1:
        said.append(f"**{slices} slices of {len(images)} images**")
    if any(len(series) > 1 for series in shown.values()):
        said.append("**two series in one volume**")
    if worst > RIGHT_MM:
        said.append(f"**{worst:.1f} mm off**")
    if value_off > 0.51:
        said.append(f"**values off by {value_off:.4g}**")
    count = len(outcome.volumes)
    return ", ".join(said) or ("right" if count == 1 else f"right, {count} volumes")


def _places(image: Image, array: VoxelArray, affine: FloatArray) -> Iterator[tuple[float, float]]:
    """Distance in mm and in value for each slice of a volume that shows the image, whatever way it is flipped."""
    if array.ndim != 3 or array.shape[:2] != image.values.shape:
        return
    mark = _mark(image.values)
    for k in range(array.shape[2]):
        if np.abs(_mark(array[:, :, k]) - mark).max() > 0.02 * np.abs(mark).max() + 0.02:
            continue
        for flip_i, flip_j in _FLIPS:
            shown = array[:: -1 if flip_i else 1, :: -1 if flip_j else 1, k].astype(np.float64)
            if not _alike(shown, image.values):
                continue
            i, j = (n - 1 for n in shown.shape)
            ends = [(0, 0), (i, 0), (0, j), (i, j)]
            index = np.array([(i - a if flip_i else a, j - b if flip_j else b, k, 1) for a, b in ends], dtype=float)
            distance = float(np.linalg.norm((index @ affine.T)[:, :3] - image.corners, axis=1).max())
            yield distance, float(np.abs(shown - image.values).max())


def _mark(values: VoxelArray) -> FloatArray:
    """Skewness and kurtosis: the same whatever way a picture is flipped, scaled and inverted."""
    centred = values.astype(np.float32) - np.float32(values.mean())
    square = centred * centred
    spread = float(square.mean()) ** 0.5 or 1.0
    return np.array([abs(float((square * centred).mean())) / spread**3, float((square * square).mean()) / spread**4])


def _alike(one: VoxelArray, other: VoxelArray) -> bool:
    """The same picture, if on another scale."""
    if np.abs(one - other).max() < 0.51:
        return True
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return size > 0 and abs(float(a @ b)) / size > _SAME


def by_medmtl(folder: Path) -> Outcome:
    """Every volume medmtl reads, or its refusal."""
    from medmtl.reading.any_volume import discover, each_series, read_case

    try:
        cases = [one for case in discover(folder) for one in each_series(case)]
        volumes = [read_case(case)[0] for case in cases]
    except MedmtlError as error:
        return Outcome(refusal=f"refuses: `{error.code}`")
    if any(volume.dicom is not None and volume.dicom.places for volume in volumes):
        return Outcome(refusal=f"interpolates between the true places: `{Code.SLICES_RESAMPLED}`")
    return Outcome(volumes=tuple((volume.array, volume.grid.affine) for volume in volumes))


def by_simpleitk(folder: Path) -> Outcome:
    """The first series of the folder, as SimpleITK's examples read it."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if folder.is_file():
        image = sitk.ReadImage(str(folder))
    else:
        reader = sitk.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(folder))
        if not names:
            return Outcome(refusal="reads nothing")
        reader.SetFileNames(names)
        image = reader.Execute()
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        return Outcome(refusal=f"**an image of {image.GetDimension()} dimensions**")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Outcome(volumes=((sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine),))


def by_dicom2nifti(folder: Path) -> Outcome:
    """`dicom_series_to_nifti`, reorientation off."""
    dicom2nifti = import_module("dicom2nifti")
    with tempfile.TemporaryDirectory() as out:
        dicom2nifti.dicom_series_to_nifti(str(folder), f"{out}/a.nii.gz", reorient_nifti=False)
        return Outcome(volumes=_niftis(Path(out)))


def by_dcm2niix(folder: Path) -> Outcome:
    """The files it writes first, without those it resamples."""
    dcm2niix = import_module("dcm2niix")
    with tempfile.TemporaryDirectory() as out:
        single = ["-s", "y"] if folder.is_file() else []
        command = [dcm2niix.bin, "-b", "n", "-x", "i", *single, "-f", "%s_%p_%t", "-o", out, str(folder)]
        subprocess.run(command, capture_output=True, check=False, timeout=120)
        return Outcome(volumes=_niftis(Path(out)))


def by_highdicom(folder: Path) -> Outcome:
    """`get_volume_from_series`, or `imread` for a multi-frame file."""
    import highdicom

    if folder.is_file():
        volume = highdicom.imread(folder).get_volume()
    else:
        volume = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in sorted(folder.iterdir())])
    affine = volume.affine[:, [2, 1, 0, 3]]  # its axes are (slice, row, column)
    return Outcome(volumes=((volume.array.transpose(2, 1, 0), affine),))


def _niftis(folder: Path) -> tuple[tuple[VoxelArray, FloatArray], ...]:
    volumes = []
    for path in sorted(folder.glob("*.nii*")):
        if any(mark in path.name for mark in ("_Tilt", "_Eq")):
            continue
        image = nib.load(path)
        data, affine = np.asarray(image.dataobj), _AXES @ image.affine
        stacks = data.reshape(*data.shape[:3], -1)
        volumes += [(stacks[..., n], affine) for n in range(stacks.shape[3])]
    return tuple(volumes)


OTHERS: dict[str, tuple[str, Callable[[Path], Outcome]]] = {
    "SimpleITK": ("SimpleITK", by_simpleitk),
    "dcm2niix": ("dcm2niix", by_dcm2niix),
    "dicom2nifti": ("dicom2nifti", by_dicom2nifti),
    "highdicom": ("highdicom", by_highdicom),
}


def installed() -> dict[str, str]:
    """Name and version of the other readers that are there."""
    found = {}
    for name, (package, _) in OTHERS.items():
        with contextlib.suppress(PackageNotFoundError):
            if find_spec(package) is not None:
                found[name] = version(package)
    return found


def tried(name: str, folder: Path) -> Outcome:
    """What a reader of `OTHERS` makes of a folder; an exception of any kind is its refusal."""
    logging.disable(logging.CRITICAL)
    try:
        with _silence(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = OTHERS[name][1](folder)
    except Exception as error:  # noqa: BLE001  (another program's, whatever it is)
        return Outcome(refusal=f"refuses ({type(error).__name__})")
    finally:
        logging.disable(logging.NOTSET)
    return outcome if outcome.volumes or outcome.refusal else Outcome(refusal="writes nothing")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stdout and stderr, not even from C++."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(io.StringIO()):
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
