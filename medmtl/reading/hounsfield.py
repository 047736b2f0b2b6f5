"""Can these be Hounsfield units? Air is -1000, water 0, whatever the scanner (PS3.3 C.11.1.1.2)."""

import numpy as np

from medmtl.shapes import VoxelArray

_BELOW_AIR = -1200.0  # noise in air stays above this
_DENSE = 300.0
_BEYOND_METAL = 32767.0
_FEW = 0.005


def hounsfield_fault(values: VoxelArray) -> str:
    """Why values cannot be Hounsfield units, in a clause; empty where they can.

    A crop may lack air, bone or fat, so only what no CT of any place shows counts: one value throughout, nothing below
    water, nothing above air, and many values below air other than one that fills the corners.

    Args:
        values: intensities of a CT, some slices are enough.
    """
    flat = np.asarray(values).ravel(order="K")  # no copy
    flat = flat[:: max(1, flat.size // 500_000)]
    low, high = float(flat.min()), float(flat.max())
    if low == high:
        return f"every value is {low:g}"
    if low > _DENSE or (low >= 0.0 and _empty_at(flat, low)):
        return f"no value lies below water, the lowest is {low:g}"
    if high < -500.0:
        return f"no value lies above air, the highest is {high:g}"
    if high > _BEYOND_METAL:
        return f"the highest value is {high:g}"
    beneath = (flat < _BELOW_AIR) & (flat != low)
    if float(beneath.mean()) > _FEW:
        return f"{100 * float(beneath.mean()):.0f} % of the values lie below air"
    return ""


def _empty_at(flat: VoxelArray, low: float) -> bool:
    """Whether the lowest values stand where air would: far below the bulk, in a good share of the voxels."""
    return float((flat < low + 150.0).mean()) > 0.01 and float(np.percentile(flat, 90)) - low > 500.0
