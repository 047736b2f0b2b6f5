"""Every row of the hostile set's list, and what becomes of it: read, split, repaired, or refused by its name."""

import csv
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medmtl.errors import Code, MedmtlError
from medmtl.reading.any_volume import discover, each_series, read_case

OK = "read"
BY_OTHER_TESTS = {  # archives that a test makes, links, identities
    "zip_slip.zip", "bomb_flat.zip", "bomb_nested.zip", "bomb_lying_size.zip", "(not stored) symlink loop",
}  # fmt: skip
EXPECTED: dict[str, str | Code] = {
    "control_ok/": OK, "truncated/s04.dcm": Code.TRUNCATED, "truncated_header.dcm": Code.TRUNCATED,
    "no_preamble.dcm": OK, "not_dicom.dcm": Code.NOT_AN_IMAGE, "empty.dcm": Code.EMPTY_INPUT,
    "only_preamble.dcm": Code.TRUNCATED, "renamed_png.dcm": Code.NOT_AN_IMAGE, "no_pixels.dcm": Code.BAD_PIXELS,
    "nested4.zip": Code.UNSAFE_ARCHIVE, "many_members.zip": Code.NOT_AN_IMAGE, "dup_names.zip": OK,
    "truncated.zip": Code.TRUNCATED, "missing_slice/": Code.MISSING_SLICE, "missing_two/": Code.MISSING_SLICE,
    "doubled_slice/": OK, "doubled_slice_differs/": Code.DOUBLED_SLICE, "doubled_file/": OK, "shuffled/": OK,
    "reversed_order/": OK, "same_instance_number/": OK, "mixed_series/": OK, "mixed_patients/": Code.MIXED_PATIENTS,
    "inconsistent_spacing/": OK, "jitter_spacing/": OK, "missing_iop/": Code.MISSING_GEOMETRY,
    "missing_ipp/": Code.MISSING_GEOMETRY, "missing_ipp_one/": Code.MISSING_GEOMETRY,
    "missing_pixelspacing/": Code.MISSING_GEOMETRY, "zero_pixelspacing/": Code.BAD_GEOMETRY,
    "negative_pixelspacing/": Code.BAD_GEOMETRY, "iop_not_unit/": Code.BAD_GEOMETRY,
    "iop_not_orthogonal/": Code.BAD_GEOMETRY, "iop_zero/": Code.BAD_GEOMETRY, "iop_varies/": Code.MIXED_ORIENTATION,
    "in_plane_shift/": OK, "tilt20/": OK, "nonsquare/": OK, "rows_differ/": Code.MIXED_MATRIX,
    "spacing_differs/": Code.MIXED_SPACING, "wrong_thickness/": OK, "wrong_sbs/": OK,
    "single_slice/": Code.SINGLE_SLICE, "localizer_mixed/": OK, "two_phases/": OK,
    "two_frames_of_reference/": Code.MIXED_FRAME_OF_REFERENCE, "feet_first/": OK, "normal_minus_z/": OK,
    "nan_slope/": Code.BAD_RESCALE, "inf_slope/": Code.BAD_RESCALE, "zero_slope/": Code.BAD_RESCALE,
    "text_slope/": Code.BAD_RESCALE, "comma_slope/": Code.BAD_RESCALE, "perslice_slope/": OK, "no_slope/": OK,
    "monochrome1/": OK, "padding_signed/": OK, "padding_unsigned/": OK, "smallest_vr_mismatch/": OK,
    "high_bits_set.dcm": OK, "absurd_rows.dcm": Code.TRUNCATED, "absurd_frames.dcm": Code.TOO_LARGE,
    "bits_13.dcm": Code.BAD_PIXELS, "huge_length.dcm": Code.TRUNCATED, "deep_sequence.dcm": OK,
    "private_junk.dcm": OK, "bad_charset.dcm": OK, "wrong_sop.dcm": Code.NOT_THREE_DIMENSIONAL, "phi/phi.dcm": OK,
    "phi/phi_burned.dcm": OK, "names/": OK, "name255/": OK, "no_extension/": OK,
    "truncated_last/s08.dcm": Code.TRUNCATED, "perslice_slope_overflow/": OK, "perslice_slope_fraction/": OK,
    "spacing_tolerance_edge/": OK, "overlay_comments.dcm": OK,
}  # fmt: skip
SLICES = {"mixed_series/": [4, 4], "two_phases/": [8, 8], "dup_names.zip": [2], "inconsistent_spacing/": [11]}
NOTICES = {
    "no_preamble.dcm": Code.HEADER_REPAIRED, "bad_charset.dcm": Code.HEADER_REPAIRED, "tilt20/": Code.TILTED,
    "in_plane_shift/": Code.TILTED, "doubled_slice/": Code.DUPLICATE_DROPPED, "doubled_file/": Code.DUPLICATE_DROPPED,
    "localizer_mixed/": Code.LOCALIZER, "two_phases/": Code.SERIES_SPLIT, "mixed_series/": Code.SERIES_CHOSEN,
    "no_slope/": Code.NO_RESCALE, "monochrome1/": Code.INVERTED_DISPLAY, "padding_signed/": Code.PADDING_MASKED,
    "padding_unsigned/": Code.PADDING_MASKED, "inconsistent_spacing/": Code.SLICES_RESAMPLED,
}  # fmt: skip


def with_neighbour(path: Path, folder: Path) -> Path:
    """A file of the set is one slice: it is read beside a twin of itself, a step higher."""
    folder.mkdir()
    (folder / "a.dcm").write_bytes(path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = pydicom.dcmread(path, force=True)
        x, y, z = map(float, twin.ImagePositionPatient)
        twin.ImagePositionPatient, twin.SOPInstanceUID = [x, y, z + 5.0], f"{twin.SOPInstanceUID}.9"
        twin.save_as(folder / "b.dcm", **({} if twin.preamble else {"implicit_vr": False, "little_endian": True}))
    return folder


def test_the_list_is_known(shared: Path) -> None:
    with (shared / "dicom/hostile/manifest.csv").open(newline="") as stream:
        listed = {row["path"] for row in csv.DictReader(stream)}
    assert listed == set(EXPECTED) | BY_OTHER_TESTS


@pytest.mark.parametrize("name", EXPECTED)
def test_each_row_ends_as_it_should(shared: Path, tmp_path: Path, name: str) -> None:
    hostile, expected = shared / "dicom/hostile", EXPECTED[name]
    path = hostile / name
    if name in ("names/", "name255/"):
        with tarfile.open(hostile / "names.tar") as archive:
            archive.extractall(tmp_path, filter="data")
        path = tmp_path / name
        if name == "name255/":
            path = with_neighbour(next(path.iterdir()), tmp_path / "pair")
    elif expected == OK and path.suffix == ".dcm":
        path = with_neighbour(path, tmp_path / "pair")
    elif path.parent.name.startswith("truncated"):
        path = path.parent  # the whole series
    cases = discover(path)
    if expected != OK:
        for case in cases:
            with pytest.raises(MedmtlError) as caught:
                read_case(case)
            assert caught.value.code == expected
        return
    volumes = [read_case(one)[0] for case in cases for one in each_series(case)]
    count = 2 if path.name == "pair" else 8
    assert [volume.grid.shape[2] for volume in volumes] == SLICES.get(name, [count])
    assert all(np.isfinite(volume.array).all() for volume in volumes)
    if name in NOTICES:
        assert NOTICES[name] in {notice.code for notice in read_case(cases[0])[0].notices}
