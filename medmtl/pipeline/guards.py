"""Whether a model may answer for a study: modality, geometry, field of view."""

from collections.abc import Collection

import numpy as np

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, GuardError, Notice
from medmtl.volume import Volume

PASSABLE = (Code.MODALITY_MISMATCH, Code.FIELD_OF_VIEW)
_SPACING_FACTOR = 1.6
_EXTENT_FACTOR = 1.35


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


def fits(volume: Volume, bundle: Bundle) -> bool:
    """Whether no guard of the model refuses the study; a study that does not state its modality fits none."""
    return volume.modality is not None and not _faults(volume, bundle)


def _faults(volume: Volume, bundle: Bundle) -> list[tuple[Code, str]]:
    faults = []
    if volume.modality is not None and volume.modality != bundle.modality:
        what = f"the study is {volume.modality}, the model {bundle.name} reads {bundle.modality}"
        faults.append((Code.MODALITY_MISMATCH, what))
    spacing = np.sort(volume.grid.spacing)
    extent = np.sort(np.asarray(volume.grid.shape) * np.asarray(volume.grid.spacing))
    reference = bundle.reference
    for name, values, factor in (("spacing", spacing, _SPACING_FACTOR), ("extent", extent, _EXTENT_FACTOR)):
        low, high = (np.asarray(reference[f"{name}_mm"][end]) for end in ("lowest", "highest"))
        if (values < low / factor).any() or (values > high * factor).any():
            shown = " x ".join(f"{value:.1f}" for value in values)
            what = f"its {name} of {shown} mm lies far from what the model {bundle.name} was trained on"
            faults.append((Code.FIELD_OF_VIEW, what))
            break
    return faults
