"""A beat made of the two phases of a case, as a scanner would send it: classic MR, enhanced MR, a 4D NIfTI."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from medmtl.geometry.grid import Grid
from medmtl.reading.nifti import read_nifti
from medmtl.shapes import VoxelArray
from medmtl.volume import Volume
from sample_data.dicom_study import StudyText, instances

STEP_MS = 45.0


def beat(shared: Path, case: str, *, phases: int, systole: int, kind: str = "images") -> list[VoxelArray]:
    """Arrays from end-diastole at phase 0 to end-systole at phase `systole` and back, of an ACDC case.

    Args:
        shared: holds the data set.
        case: its name.
        phases: how many.
        systole: where the smallest one is.
        kind: "images" for blended intensities, "labels" for maps of labels that shrink and grow.
    """
    folder = shared / "data/cardiac_cine_mr"
    if kind == "images":
        first, last = (read_nifti(folder / f"images/{case}_{n:04d}.nii.gz").array.astype(float) for n in range(2))
        return [np.rint((1 - w) * first + w * last).astype(np.int16) for w in _way(phases, systole)]
    first, last = (read_nifti(folder / f"{task}/{case}.nii.gz").array for task in ("organs", "organs_es"))
    fields = [(_field(first == value), _field(last == value)) for value in (1, 2, 3)]
    frames = []
    for w in _way(phases, systole):
        frame = np.zeros(first.shape, np.int16)
        for value, (one, other) in zip((3, 2, 1), fields[::-1], strict=True):
            frame[(1 - w) * one + w * other > 0] = value
        frames.append(frame)
    return frames


def grid_of(shared: Path, case: str) -> Grid:
    """Where the case lies."""
    return read_nifti(shared / f"data/cardiac_cine_mr/images/{case}_0000.nii.gz").grid


def write_classic(
    folder: Path, frames: Sequence[VoxelArray], grid: Grid, *, times_ms: Sequence[float] | None = None, number: int = 5,
    description: str = "cine sax", **tags: object,
) -> Path:  # fmt: skip
    """One file per slice and phase, all in one series; Trigger Time (0018,1060) rises from phase to phase."""
    folder.mkdir(parents=True, exist_ok=True)
    depth = grid.shape[2]
    for phase, frame in enumerate(frames):
        volume = Volume(array=frame, grid=grid, modality="MR", content_hash="")
        made = instances(volume, StudyText(study=f"cine {number}", description=description, body_part="HEART"))
        for k, instance in enumerate(made):
            instance.StudyInstanceUID, instance.BurnedInAnnotation = "2.25.4711", "NO"
            instance.SeriesNumber, instance.FrameOfReferenceUID = number, "2.25.4712"
            # the phases of a slice follow each other, as they are acquired
            instance.InstanceNumber = k * len(frames) + phase + 1
            instance.SOPInstanceUID = f"2.25.{number}{phase:03d}{k:03d}"
            if times_ms is None or times_ms[phase] >= 0:
                instance.TriggerTime = f"{(times_ms or [STEP_MS * p for p in range(len(frames))])[phase] + 0.5 * k:.2f}"
            for keyword, value in tags.items():
                setattr(instance, keyword, value(phase) if callable(value) else value)
            _save(instance, folder / f"{number}_{phase:02d}_{k:02d}_{depth}.dcm", ExplicitVRLittleEndian)
    return folder


def write_enhanced(path: Path, frames: Sequence[VoxelArray], grid: Grid) -> Path:
    """All phases in one Enhanced MR file, the trigger delay in each frame's functional groups (PS3.3 C.7.6.16.2.7)."""
    volume = Volume(array=frames[0], grid=grid, modality="MR", content_hash="")
    made = instances(volume, StudyText(study="enhanced", description="cine sax enhanced", body_part="HEART"))
    whole = made[0]
    whole.SOPClassUID, whole.SOPInstanceUID = EnhancedMRImageStorage, "2.25.4713"
    whole.BurnedInAnnotation = "NO"
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    groups, pixels = [], []
    for phase, frame in enumerate(frames):
        for k, instance in enumerate(made):
            position, sync, group = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = instance.ImagePositionPatient
            sync.NominalCardiacTriggerDelayTime = STEP_MS * phase
            group.PlanePositionSequence, group.CardiacSynchronizationSequence = [position], [sync]
            groups.append(group)
            pixels.append(frame[:, :, k].T.astype("<u2"))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(whole, keyword)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], groups
    whole.NumberOfFrames = len(groups)
    whole.PixelData = np.stack(pixels).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(whole, path, ExplicitVRLittleEndian)
    return path


def write_4d(
    path: Path, frames: Sequence[VoxelArray], grid: Grid, *, step: float = 0.04, unit: str | None = "sec"
) -> Path:
    """A 4D NIfTI; `step` in `unit` from volume to volume."""
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image = nib.Nifti1Image(np.stack(frames, axis=-1).astype(np.int16), ras)
    image.header.set_zooms((*grid.spacing, step))
    image.header.set_xyzt_units("mm", unit)
    image.set_sform(ras, code=1)
    image.set_qform(ras, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def moved(grid: Grid, mm: tuple[float, float, float]) -> Grid:
    """The grid shifted in the patient."""
    affine = grid.affine.copy()
    affine[:3, 3] += mm
    return replace(grid, affine=affine)


def _save(instance: Dataset, path: Path, syntax: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = FileDataset(str(path), dict(instance.items()), file_meta=meta, preamble=b"\0" * 128)
        file.save_as(path, enforce_file_format=True)


def _way(phases: int, systole: int) -> list[float]:
    """From 0 up to 1 at `systole` and down again, never quite to 0."""
    up = [p / systole for p in range(systole + 1)]
    rest = phases - systole - 1
    return up + [1 - (p + 1) / (rest + 1) for p in range(rest)]


def _field(mask: VoxelArray) -> VoxelArray:
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return np.full(mask.shape, -9.0)
    return np.asarray(distance_transform_edt(mask) - distance_transform_edt(~mask))
