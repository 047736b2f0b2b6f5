"""What the page draws: voxels, label maps and contour fields as plain arrays, and what they are, as JSON."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.findings.components import components
from medmtl.findings.extent import mask_extent
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn, slices_last, to_lps
from medmtl.outputs.files import json_bytes, write_atomic
from medmtl.result import CaseResult
from medmtl.shapes import VoxelArray
from medmtl.volume import Volume
from medmtl_app.drawn import Drawn, box
from medmtl_app.other_series import key_of
from medmtl_app.person import hidden, shown, write_thumbnail

SCHEMA = "medmtl-view/1"
_BODY_HU = -300
_PRESETS = {
    "CT": (("soft_tissue", 400, 40), ("lung", 1500, -550), ("bone", 1800, 400), ("brain", 80, 40)),
}


def write_view(folder: Path, volume: Volume, result: CaseResult | None) -> None:
    """Writes `volume.raw`, maps, fields and surfaces of structures, `thumb.png`, `person.json` and `view.json`.

    Arrays are turned so that i runs most nearly to the left, j to the back, k to the head; nothing is interpolated.
    i varies fastest. `volume.raw` is little-endian int16 (value = stored * slope + intercept), further channels are
    `volume-1.raw` and so on; the others are uint8 and gzipped. `person.json` holds what the page shows on request
    alone.

    Args:
        folder: made anew.
        volume: the image.
        result: its answers, None where no model gave any.
    """
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    turn = to_lps(volume.grid)
    grid = turn.grid(volume.grid)
    channels = _channels(partial, turn, (volume,) if result is None else result.channels, result)
    slice_axis = turn.order.index(slices_last(volume.grid).order[2])
    drawn = Drawn(partial, turn, grid)
    if result is not None:
        for task in result.tasks:
            if task.is_voxel:
                drawn.add(task, result)
    focus = _focus(volume, turn)
    write_thumbnail(partial / "thumb.png", turn.apply(volume.array), slice_axis, grid.spacing, focus)
    write_atomic(partial / "person.json", json_bytes(hidden(volume)))
    body = {
        "schema": SCHEMA,
        "shape": list(grid.shape),
        "affine_lps": grid.affine.tolist(),
        "modality": volume.modality,
        "unit": "HU" if volume.modality == "CT" else "",
        "channels": channels,
        "focus": focus,
        "slice_axis": slice_axis,
        "slice_counts_down": turn.flipped[slice_axis],
        "acquired": list(volume.dicom.places) if volume.dicom is not None else [],
        "notices": [{"code": str(notice.code), "text": notice.text} for notice in volume.notices],
        "maps": drawn.maps,
        "structures": drawn.structures,
        "lesions": [] if result is None else lesion_places(result, turn, grid),
    }
    write_atomic(partial / "view.json", json_bytes(body))
    partial.rename(folder)


def _channels(
    folder: Path, turn: AxisTurn, volumes: tuple[Volume, ...], result: CaseResult | None
) -> list[dict[str, Any]]:
    """Writes the voxels of every channel; file, values and windows of each."""
    names = result.channel_names if result is not None else ()
    rows = []
    for number, volume in enumerate(volumes):
        stored, slope, intercept = _stored(turn.apply(volume.array))
        row: dict[str, Any] = {"name": names[number] if number < len(names) else "", "file": channel_file(number)}
        _raw(folder / row["file"], stored)
        row |= {"slope": slope, "intercept": intercept, "resampled": volume.acquired is not None}
        rows.append({**row, "windows": _windows(volume)})
    return rows


def channel_file(number: int) -> str:
    """What the voxels of a channel are called."""
    return f"volume-{number}.raw" if number else "volume.raw"


def describe(volume: Volume, findings: dict[str, Any] | None) -> dict[str, Any]:
    """What the worklist says of a study: modality, series, lesions, trust."""
    planes = volume.grid.shape[slices_last(volume.grid).order[2]]
    body: dict[str, Any] = {
        "modality": volume.modality,
        "series": volume.dicom.description if volume.dicom is not None else "",
        "slices": int(planes if volume.dicom is None else len(volume.dicom.places) or planes),
        "spacing_mm": [round(value, 2) for value in volume.grid.spacing],
        "series_key": key_of(volume),
        **shown(volume),
    }
    if findings is not None:
        body["trust"] = findings["trust"]["level"]
        body["lesions"] = None if findings["lesions"] is None else findings["lesions"]["totals"]["count"]
        body["model"] = findings["model"]["name"]
    return body


def lesion_places(result: CaseResult, turn: AxisTurn, grid: Grid) -> list[dict[str, Any]]:
    """Where each lesion of the findings lies: the voxel to jump to and its box, in voxels of the view."""
    found = result.findings.get("lesions")
    if not found or not found["items"] or "lesions" not in result.masks:
        return []
    masks = result.masks["lesions"]
    union = masks.any(axis=0) if masks.ndim == 4 else masks > 0
    pieces = turn.apply(components(union)[0])  # numbered as the findings number lesions
    near = mask_extent(pieces > 0).box
    start = np.array([part.start for part in near])
    rows = []
    for item in found["items"]:
        where = np.argwhere(pieces[near] == item["id"]) + start
        centre = np.asarray(item["centroid_lps_mm"], dtype=np.float64)
        jump = where[np.linalg.norm(grid.to_lps(where.astype(np.float64)) - centre, axis=1).argmin()]
        low, high = where.min(axis=0), where.max(axis=0)
        rows.append({"id": item["id"], "jump": jump.tolist(), "low": low.tolist(), "high": high.tolist()})
    return rows


def _focus(volume: Volume, turn: AxisTurn) -> dict[str, list[int]]:
    """The box a study opens at: the body without table and air in CT, without empty borders elsewhere."""
    array = turn.apply(volume.array)
    steps = [max(1, count // 96) for count in array.shape]
    coarse = array[:: steps[0], :: steps[1], :: steps[2]]
    if volume.modality == "CT":
        pieces, count = components(coarse > _BODY_HU)
        held = pieces == 1 if count else pieces == 0
    else:
        held = coarse > coarse.min()
    low, high = box(held) if held.any() else (np.zeros(3, dtype=int), np.array(coarse.shape))
    last = np.array(array.shape) - 1
    ends = np.minimum(high * np.array(steps), last)
    return {"low": (low * np.array(steps)).tolist(), "high": ends.tolist()}


def _stored(array: VoxelArray) -> tuple[VoxelArray, float, float]:
    """The values as int16 with slope and intercept; whole numbers that fit are kept as they are."""
    if array.dtype == np.int16:
        return array, 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    if low >= -32768 and high <= 32767 and bool((array == np.rint(array)).all()):
        return array.astype(np.int16), 1.0, 0.0
    slope = (high - low) / 60000.0 or 1.0
    intercept = (high + low) / 2.0
    return np.rint((array - intercept) / slope).astype(np.int16), slope, intercept


def _windows(volume: Volume) -> list[dict[str, Any]]:
    """Names, widths and centres; the first is what a study opens with."""
    if volume.modality in _PRESETS:
        return [{"name": name, "width": width, "level": level} for name, width, level in _PRESETS[volume.modality]]
    values = volume.array.reshape(-1)
    sample = values[:: max(1, values.size // 500_000)]
    held = sample[sample > sample.min()]  # zeros around a turned or cut image say nothing of its greys
    sample = held if held.size else sample
    rows = []
    for name, tails in (("standard", (1.0, 99.5)), ("high_contrast", (20.0, 98.0)), ("full", (0.0, 100.0))):
        low, high = (float(value) for value in np.percentile(sample, tails))
        rows.append({"name": name, "width": round(max(high - low, 1e-3), 3), "level": round((low + high) / 2, 3)})
    return rows


def _raw(path: Path, array: VoxelArray) -> None:
    little = array.astype("<i2", copy=False)
    with path.open("wb") as stream:
        for k in range(little.shape[2]):
            stream.write(np.asfortranarray(little[:, :, k]).tobytes(order="F"))
