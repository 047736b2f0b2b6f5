"""What no model of ours may answer for, unless it is asked to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, GuardError
from medmtl.geometry.grid import Grid
from medmtl.pipeline.guards import PASSABLE, check_guards, fits, suits
from medmtl.preparation.plan import Normalisation, Scheme
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


def test_a_ct_model_of_the_body_reads_any_length_of_it(tmp_path: Path) -> None:
    reference = {
        "spacing_mm": {"lowest": [1.99, 1.99, 2.5], "highest": [2.01, 2.01, 5.0]},
        "extent_mm": {"lowest": [267.0, 267.0, 372.0], "highest": [439.0, 439.0, 655.0]},
    }
    body = unwritten_bundle(tmp_path, modality="CT", plan=CUBE, reference=reference)

    def of(wide: float, slices: int, step: float, pixel: float = 0.8) -> Grid:
        count = round(wide / pixel)
        return Grid(shape=(count, count, slices), affine=np.diag([pixel, pixel, step, 1.0]))

    assert suits(of(400, 20, 2.0), "CT", body)  # 40 mm of an abdomen
    assert suits(of(400, 900, 1.25), "CT", body)  # from head to knee
    assert suits(of(350, 700, 0.5), "CT", body)  # thin slices, which are resampled
    assert not suits(of(120, 100, 2.0, pixel=0.6), "CT", body)  # a joint
    assert not suits(of(400, 40, 10.0), "CT", body)  # slices too far apart
    crops = unwritten_bundle(tmp_path, modality="CT", plan=replace(CUBE, edge_padding=True), reference=reference)
    assert not suits(of(400, 20, 2.0), "CT", crops)


def test_values_cut_as_the_training_had_them_are_hounsfield_units_too(bundle: Any, shared: Path) -> None:
    """The whole range of a scanner and its part from -125 to 275 HU, as the abdomen set has it."""
    from medmtl.preparation.prepare import prepare
    from medmtl.reading.nifti import read_nifti

    path = next((shared / "data/abdomen_ct/images").glob("*.nii.gz"))
    cut = replace(read_nifti(path), modality="CT")
    assert (cut.array.min(), cut.array.max()) == (-125.0, 275.0)
    reads = replace(bundle, reference={key: {"lowest": [0.1] * 3, "highest": [999.0] * 3} for key in REFERENCE})
    assert check_guards(cut, reads, ()) == ()
    scanner = np.asarray(cut.array, dtype=np.float32)
    scanner = np.where(scanner <= -125, -1000.0, np.where(scanner >= 275, 1500.0, scanner))
    whole = replace(cut, array=scanner)
    assert check_guards(whole, reads, ()) == ()
    rule = Normalisation(scheme=Scheme.CLIP, low=-125, high=275, mean=75.0, spread=80.0)
    coarse = replace(CUBE, normalisation=(rule,), spacing=(8.0, 8.0, 8.0))
    assert np.array_equal(prepare((cut,), coarse).image, prepare((whole,), coarse).image)
