"""A tilted or uneven case once more on upright voxels, for ITK, NIfTI qforms and the viewers that know no shear."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.geometry.resample import resample_labels_onto, resample_onto
from medmtl.geometry.upright import upright
from medmtl.outputs.nifti_map import mask_files, nifti_bytes
from medmtl.result import CaseResult
from medmtl.shapes import VoxelArray
from medmtl.volume import Volume

FOLDER = "upright"


def upright_copy(result: CaseResult) -> CaseResult | None:
    """`result` on the smallest upright grid that holds its slices; None where its slices are upright and even.

    Pixels move within their slice only. What lies beside a slice has the lowest intensity and no structure.
    """
    source = result.volume.grid
    box = upright(source)
    if box is source:  # even planes between uneven slices are upright voxels as they are
        return result if result.volume.dicom is not None and result.volume.dicom.places else None
    masks = {}
    for name, found in result.masks.items():
        if found.ndim == 4:
            masks[name] = np.stack([resample_labels_onto(one, source, box).astype(bool) for one in found])
        else:
            masks[name] = resample_labels_onto(found, source, box)
    channels = tuple(_moved(volume, box) for volume in result.channels)
    return replace(result, channels=channels, masks=masks, probabilities={})


def upright_files(copied: CaseResult) -> Iterator[tuple[str, bytes]]:
    """The image that was drawn on and the map of every voxel task, as NIfTI in the folder `upright`."""
    volume = copied.volume
    yield f"{FOLDER}/image.nii.gz", nifti_bytes(volume.array, volume.grid)
    for name, data in mask_files(copied):
        yield f"{FOLDER}/{name}", data


def _moved(volume: Volume, box: Grid) -> Volume:
    low = float(volume.array.min())
    array: VoxelArray = resample_onto(volume.array, volume.grid, box, outside=low)
    if volume.array.dtype == np.int16:
        array = np.rint(array).astype(np.int16)
    return replace(volume, array=array, grid=box, acquired=None)
