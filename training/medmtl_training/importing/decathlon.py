"""Decathlon's data list, as MONAI reads it: `dataset.json` with `training: [{image, label, fold}]`.

Images of several channels are four-dimensional there and become a file a channel.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.errors import Code, DatasetError
from medmtl.geometry.affine import swap_ras_lps
from medmtl.geometry.grid import Grid
from medmtl.outputs.files import write_atomic
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl_training.importing.draft import CaseDraft, ImportOptions, SetDraft, modality_of, safe_name, voxel_tasks
from medmtl_training.importing.nnunet import LabelRule, bad_source, read_json
from medmtl_training.importing.table import case_name
from medmtl_training.importing.writing import copy_image


def draft_of_decathlon(source: Path, options: ImportOptions) -> SetDraft:
    """The set of a data list: a folder with `dataset.json`, or the JSON file itself.

    Raises:
        DatasetError: the list cannot be used.
    """
    path = source / "dataset.json" if source.is_dir() else source
    head = read_json(path)
    entries = head.get("training") if isinstance(head, dict) else None
    if not isinstance(entries, list) or not entries:
        raise bad_source("the data list has no training cases")
    labels = {str(name): int(value) for value, name in dict(head.get("labels") or {}).items() if int(value) != 0}
    rule = (
        LabelRule(tasks=voxel_tasks(labels, options.task), known=frozenset({0, *labels.values()})) if labels else None
    )
    modality = {int(key): str(name) for key, name in dict(head.get("modality") or {"0": "image"}).items()}
    channels = tuple(safe_name(modality[key]) for key in sorted(modality))
    return SetDraft(
        name=options.name or safe_name(str(head.get("name") or path.parent.name)),
        modality=modality_of(options, list(modality.values())),
        channels=channels,
        tasks=tuple(task for task, _ in rule.tasks) if rule else (),
        cases=tuple(_case(entry, path.parent, len(channels), rule) for entry in entries),
        licence=str(head.get("licence") or head.get("license") or ""),
        citation=str(head.get("reference") or ""),
        description=str(head.get("description") or ""),
    )


def _case(entry: Any, root: Path, channels: int, rule: LabelRule | None) -> CaseDraft:
    if isinstance(entry, str):
        entry = {"image": entry}
    if not isinstance(entry, Mapping) or "image" not in entry:
        raise bad_source("an entry of the data list has no image")
    images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    paths = tuple(_inside(root, str(name)) for name in images)
    label = entry.get("label")
    fold = entry.get("fold")
    name = case_name(str(images[0]))
    return CaseDraft(
        name=name,
        write=_writer(name, paths, channels, (_inside(root, label) if isinstance(label, str) else None, rule)),
        patient=str(entry["patient"]) if "patient" in entry else None,
        fold=int(fold) if isinstance(fold, int) else None,
    )


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise bad_source("an entry of the data list leads out of its folder", "keep images beside the list")
    return path


def _writer(
    name: str, images: tuple[Path, ...], channels: int, labels: tuple[Path | None, LabelRule | None]
) -> Callable[[Path], None]:
    label, rule = labels

    def write(folder: Path) -> None:
        if len(images) == 1 and channels > 1:
            _split(images[0], folder, name, channels)
        elif len(images) == channels:
            for index, path in enumerate(images):
                suffix = f"_{index:04d}" if channels > 1 else ""
                copy_image(path, folder / "images" / f"{name}{suffix}.nii.gz")
        else:
            what = f"the case has {len(images)} images, the list {channels} channels"
            raise DatasetError(Code.CHANNEL_MISSING, what, "correct the data list")
        if label is not None and rule is not None:
            rule.write(label, folder, name)

    return write


def _split(path: Path, folder: Path, name: str, channels: int) -> None:
    """Channels of a four-dimensional NIfTI as files of their own."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.load(path)
        array = np.asarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError) as fault:
        raise DatasetError(Code.UNREADABLE, "an image cannot be read", "copy it again") from fault
    if array.ndim != 4 or array.shape[3] != channels:
        what = f"an image has the shape {array.shape}, the list {channels} channels"
        raise DatasetError(Code.CHANNEL_MISSING, what, "correct the data list")
    i, j, k = array.shape[:3]
    grid = Grid(shape=(i, j, k), affine=swap_ras_lps(np.asarray(image.affine, dtype=np.float64)))
    for index in range(channels):
        kept = array[..., index]
        whole = np.array_equal(kept, kept.astype(np.int16))
        data = nifti_bytes(np.ascontiguousarray(kept.astype(np.int16 if whole else np.float32)), grid)
        write_atomic(folder / "images" / f"{name}_{index:04d}.nii.gz", data)
