"""A case of slices at uneven distances once more on those slices, for objects that refer to the source images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medmtl.geometry.slices import SliceGrid, nearest_planes
from medmtl.result import CaseResult
from medmtl.shapes import VoxelArray


def on_source_slices(result: CaseResult) -> CaseResult:
    """`result` with the masks of its first channel's slices; as it is where its planes are these slices already.

    Each slice has the structures of the even plane next to it, which lies at most half the smallest step away.
    """
    volume = result.volume
    if volume.dicom is None or not volume.dicom.places:
        return result
    places = volume.dicom.places
    grid = SliceGrid(shape=(*volume.grid.shape[:2], len(places)), affine=volume.grid.affine, places=places)
    planes = nearest_planes(places)
    masks: Mapping[str, Any] = {name: mask[..., planes] for name, mask in result.masks.items()}
    array: VoxelArray = volume.array[:, :, planes]
    return replace(
        result, channels=(replace(volume, array=array, grid=grid), *result.channels[1:]), masks=masks, probabilities={}
    )
