"""What no model of ours may answer for, unless it is asked to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, GuardError
from medmtl.geometry.grid import Grid
from medmtl.pipeline.guards import PASSABLE, check_guards, fits, suits
from medmtl.volume import Volume
from tests.tiny import CUBE, unwritten_bundle

GRID = Grid(shape=(20, 20, 10), affine=np.diag([2.0, 2.0, 4.0, 1.0]))
REFERENCE = {
    "spacing_mm": {"lowest": [2.0, 2.0, 4.0], "highest": [2.0, 2.0, 4.0]},
    "extent_mm": {"lowest": [40.0, 40.0, 40.0], "highest": [40.0, 40.0, 40.0]},
}


def ct(values: Any) -> Volume:
    return Volume(array=values.astype(np.int16), grid=GRID, modality="CT", content_hash="1")


def hounsfield() -> Any:
    values = np.full(GRID.shape, -1000)
    values[4:16, 4:16] = 40
    values[8:10, 8:10] = 900
    return values + np.random.default_rng(0).integers(-20, 20, GRID.shape)


@pytest.fixture
def bundle(tmp_path: Path) -> Any:
    return unwritten_bundle(tmp_path, modality="CT", plan=CUBE, reference=REFERENCE)


def test_a_ct_in_hounsfield_units_passes(bundle: Any) -> None:
    assert check_guards(ct(hounsfield()), bundle, ()) == ()


def test_values_that_are_no_hounsfield_units_are_refused_or_said(bundle: Any) -> None:
    raw = ct(np.clip(hounsfield() + 1024, 0, None))
    with pytest.raises(GuardError) as caught:
        check_guards(raw, bundle, ())
    assert caught.value.code == Code.NOT_HOUNSFIELD
    assert Code.NOT_HOUNSFIELD in PASSABLE
    (notice,) = check_guards(raw, bundle, (Code.NOT_HOUNSFIELD,))
    assert "passed on request" in notice.text


def test_no_ct_of_the_hostile_set_without_rescale_reaches_a_ct_model(bundle: Any, shared: Path) -> None:
    from medmtl.reading.any_volume import discover, read_case

    for name in ("no_slope", "monochrome1", "perslice_slope_overflow"):
        volume = read_case(discover(shared / "dicom/hostile" / name)[0])[0]
        codes = set()
        for allowed in ((), (Code.FIELD_OF_VIEW,)):
            with pytest.raises(GuardError) as caught:
                check_guards(volume, bundle, allowed)
            codes.add(caught.value.code)
        assert Code.NOT_HOUNSFIELD in codes, name


def test_what_suits_is_told_from_headers_alone(bundle: Any) -> None:
    assert suits(GRID, "CT", bundle)
    assert fits(ct(hounsfield()), bundle)
    assert not suits(GRID, "MR", bundle)
    far = Grid(shape=(20, 20, 100), affine=np.diag([2.0, 2.0, 40.0, 1.0]))
    assert not suits(far, "CT", bundle)
