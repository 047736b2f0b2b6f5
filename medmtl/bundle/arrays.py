"""What an engine needs of a bundle without torch: its weights as arrays and a head per task."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from medmtl.bundle.bundle import refuse_unsafe
from medmtl.errors import BundleError, Code
from medmtl.network.head import Head
from medmtl.shapes import VoxelArray
from medmtl.task import Kind, Task

_EXCLUSIVE = (Kind.SEGMENTATION, Kind.CLASSIFICATION, Kind.ORDINAL)


def network_heads(tasks: tuple[Task, ...]) -> tuple[Head, ...]:
    """A head per task, in the tasks' order."""
    return tuple(
        Head(name=task.name, outputs=task.outputs, dense=task.is_voxel, exclusive=task.kind in _EXCLUSIVE)
        for task in tasks
    )


def load_arrays(path: Path) -> Mapping[str, VoxelArray]:
    """Name to array, as stored, of a safetensors file.

    Raises:
        BundleError: it is none, or damaged.
    """
    refuse_unsafe(path)
    try:
        found: Mapping[str, VoxelArray] = load_file(path)
    except (SafetensorError, OSError):
        what = f"weights/{path.name} cannot be read"
        raise BundleError(Code.BUNDLE_DAMAGED, what, "install the model again") from None
    return found
