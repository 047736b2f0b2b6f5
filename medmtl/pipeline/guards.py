"""Whether a model may answer for a study: modality, geometry, field of view."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, GuardError, Notice
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import to_lps
from medmtl.preparation.plan import Orientation
from medmtl.reading.hounsfield import hounsfield_fault
from medmtl.shapes import FloatArray
from medmtl.volume import Volume

PASSABLE = (Code.MODALITY_MISMATCH, Code.FIELD_OF_VIEW, Code.NOT_HOUNSFIELD)
# How far beyond the training's range is still in it: pixels may be much finer, since images are resampled.
_FINER, _COARSER = 8.0, 1.5
_SMALLER, _LARGER = 2.0, 1.5


def check_guards(volume: Volume, bundle: Bundle, allowed: Collection[str]) -> tuple[Notice, ...]:
    """Notices for guards that were passed on request.

    Raises:
        GuardError: the study does not fit the model and the guard is not in `allowed`.
    """
    notices = []
    for code, what in _faults(volume, bundle):
        if code not in allowed:
            raise GuardError(code, what, f"use a model for this study, or pass --allow {code} and read the result so")
        notices.append(Notice(code=code, text=f"{what}; passed on request"))
    return tuple(notices)


def provenance_notices(channels: tuple[Volume, ...], bundle: Bundle) -> tuple[Notice, ...]:
    """A notice where a network of the model was trained on this very file: the answer proves no accuracy."""
    used = {path.name for path in bundle.weights}
    rows = [row for row in bundle.training.get("networks", ()) if row["weights"] in used]
    seen = {digest for row in rows for digest in row["images_sha256"]}
    if seen.isdisjoint(volume.content_hash for volume in channels):
        return ()
    text = "the model was trained on this case, so the result says nothing about its accuracy"
    return (Notice(code=Code.SEEN_IN_TRAINING, text=text),)


def fits(volume: Volume, bundle: Bundle) -> bool:
    """Whether no guard of the model refuses the study; a study that does not state its modality fits none."""
    return volume.modality is not None and not _geometry_faults(volume.grid, volume.modality, bundle)


def suits(grid: Grid, modality: str, bundle: Bundle) -> bool:
    """Whether modality, spacing and extent of a series are those of the model's training."""
    return not _geometry_faults(grid, modality, bundle)


def _faults(volume: Volume, bundle: Bundle) -> list[tuple[Code, str]]:
    faults = _geometry_faults(volume.grid, volume.modality, bundle)
    if bundle.modality == "CT" and (fault := hounsfield_fault(volume.array)):
        faults.append((Code.NOT_HOUNSFIELD, f"the values cannot be Hounsfield units: {fault}"))
    return faults


def _geometry_faults(grid: Grid, modality: str | None, bundle: Bundle) -> list[tuple[Code, str]]:
    faults = []
    if modality is not None and modality != bundle.modality:
        what = f"the study is {modality}, the model {bundle.name} reads {bundle.modality}"
        faults.append((Code.MODALITY_MISMATCH, what))
    if text := _far_from(np.sort(grid.spacing), bundle.reference["spacing_mm"], _FINER, _COARSER):
        faults.append((Code.FIELD_OF_VIEW, f"its spacing of {text} mm is far from the model {bundle.name}'s training"))
    if text := _far_extent(grid, bundle):
        faults.append((Code.FIELD_OF_VIEW, f"its extent of {text} mm is far from the model {bundle.name}'s training"))
    return faults


def _far_extent(grid: Grid, bundle: Bundle) -> str:
    """The extent in words where it is far from the training's.

    A model that reads a body in the patient's frame, window by window, reads any length of it: then only the width and
    the depth of the field of view count.
    """
    known = bundle.reference["extent_mm"]
    whole = bundle.plan.orientation is Orientation.LPS and not bundle.plan.edge_padding
    if not whole or bundle.modality != "CT":
        return _far_from(np.sort(np.asarray(grid.shape) * np.asarray(grid.spacing)), known, _SMALLER, _LARGER)
    turned = to_lps(grid).grid(grid)
    across = np.asarray(turned.shape[:2]) * np.asarray(turned.spacing[:2])
    limits = {"lowest": [known["lowest"][0]] * 2, "highest": [known["highest"][-1]] * 2}
    return _far_from(across, limits, _SMALLER, _LARGER)


def _far_from(values: FloatArray, known: Mapping[str, Any], below: float, above: float) -> str:
    """The values in words where one lies beyond the known range, widened by these factors; else nothing."""
    low, high = np.asarray(known["lowest"]) / below, np.asarray(known["highest"]) * above
    if ((values >= low) & (values <= high)).all():
        return ""
    return " x ".join(f"{value:.1f}" for value in values)
