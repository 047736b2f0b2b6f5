"""Values that no CT has are told from those of crops, noise and padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.hounsfield import hounsfield_fault
from medmtl.reading.nifti import read_nifti


def body(seed: int = 0) -> Any:
    """Air round soft tissue with some bone, HU with noise."""
    rng = np.random.default_rng(seed)
    values = np.full((24, 24, 8), -1000.0)
    values[4:20, 4:20] = 40
    values[10:13, 10:13] = 900
    return np.rint(values + rng.normal(0, 20, values.shape))


@pytest.mark.parametrize(
    "values",
    [
        body(),
        np.where(body() < -900, -3024, body()),  # padding without a tag
        body()[4:10, 4:10] + 0,  # a crop of soft tissue
        np.clip(body(), -1024, 3071),
        body()[8:15, 8:15],  # bone and what lies round it
    ],
)
def test_hounsfield_units_pass(values: Any) -> None:
    assert hounsfield_fault(values) == ""


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.clip(body() + 1024, 0, None), "below water"),
        (4095 - (body() + 1024), "below water"),
        (body() - 1024, "below air"),
        (body() * 20, "below air"),
        (np.where(body() > 500, 60000, body()), "highest"),
        (np.full((4, 4, 4), 7.0), "every value"),
        (body()[:3, :3], "above air"),
        (np.abs(np.random.default_rng(1).normal(0, 400, (20, 20, 8))), "below water"),
    ],
)
def test_other_values_do_not(values: Any, word: str) -> None:
    assert word in hounsfield_fault(values)


def test_every_ct_at_hand_passes(shared: Path) -> None:
    for name in ("ct_axial_28", "ct_axial_20_j2k", "seg_ct3_liver", "rt_ct2", "hostile/control_ok"):
        (case,) = discover(shared / "dicom" / name)
        assert hounsfield_fault(read_case(case)[0].array) == "", name
    for path in sorted((shared / "data/lung_nodule_ct/images").glob("*.nii.gz"))[:20]:
        assert hounsfield_fault(read_nifti(path).array) == "", path.name
    for name in ("no_slope", "monochrome1", "perslice_slope_overflow"):
        (case,) = discover(shared / "dicom/hostile" / name)
        assert hounsfield_fault(read_case(case)[0].array), name
