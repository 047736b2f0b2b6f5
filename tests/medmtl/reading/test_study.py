"""Real and hostile studies: the right volume at the right place, or a refusal by name. Truth: truth.json."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

from medmtl.errors import Code, MedmtlError, StudyError
from medmtl.reading.any_volume import discover, list_series, read_case
from medmtl.reading.study import series_of
from medmtl.volume import Volume


def read(folder: Path, **options: Any) -> Volume:
    (case,) = discover(folder)
    return read_case(case, **options)[0]


def refusal(folder: Path) -> Code:
    with pytest.raises(StudyError) as caught:
        read(folder)
    return caught.value.code


def codes(volume: Volume) -> set[Code]:
    return {notice.code for notice in volume.notices}


def largest_corner_error_mm(volume: Volume) -> float:
    """Over the four corners of every slice, against the headers of the very files (PS3.3 C.7.6.2.1.1)."""
    assert volume.dicom is not None
    worst = 0.0
    columns, rows, count = volume.grid.shape
    places = volume.dicom.places or range(count)
    for k, path in zip(places, volume.dicom.instances, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        position, axes = np.array(header.ImagePositionPatient, float), np.array(header.ImageOrientationPatient, float)
        between_rows, between_columns = map(float, header.PixelSpacing)
        for i in (0, columns - 1):
            for j in (0, rows - 1):
                there = position + i * between_columns * axes[:3] + j * between_rows * axes[3:]
                worst = max(worst, float(np.linalg.norm(volume.grid.to_lps(np.array([i, j, k])) - there)))
    return worst


@pytest.mark.parametrize(
    "name",
    [
        "ct_axial_28",
        "ct_axial_20_j2k",
        "mr_sag_10",
        "mr_coronal_4",
        "mr_oblique_4",
        "mr_perslice_slope_4",
        "transfer_syntax/explicit_le",
        "seg_ct3_liver/ct",
        "rt_ct2/ct",
    ],
)
def test_real_series_lie_where_the_truth_says(shared: Path, name: str) -> None:
    truth = json.loads((shared / "dicom/truth.json").read_text())[name]
    volume = read(shared / "dicom" / name)
    assert list(volume.grid.shape) == truth["shape_ijk"]
    affine = volume.grid.affine
    assert affine[:3, 3] == pytest.approx(truth["origin"], abs=0.05)
    assert affine[:3, 0] == pytest.approx(np.array(truth["dir_i"]) * truth["spacing_ij"][0], abs=1e-3)
    assert affine[:3, 1] == pytest.approx(np.array(truth["dir_j"]) * truth["spacing_ij"][1], abs=1e-3)
    assert affine[:3, 2] == pytest.approx(truth["step"], abs=1e-3)
    far = volume.grid.to_lps(np.array(volume.grid.shape) - 1.0)
    assert far == pytest.approx(truth["lps_corner_far"], abs=0.05)
    assert largest_corner_error_mm(volume) < 0.05


def test_values_agree_with_a_second_reader(shared: Path) -> None:
    for name in ("ct_axial_28", "mr_perslice_slope_4", "hostile/perslice_slope_overflow"):
        folder = shared / "dicom" / name
        volume = read(folder)
        assert volume.dicom is not None
        for k, path in enumerate(volume.dicom.instances):  # slice by slice: as a series SimpleITK lets values wrap
            other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))[0].T
            assert np.allclose(volume.array[:, :, k], other, atol=1e-2)


def test_eight_transfer_syntaxes_give_the_pixels_that_were_packed(shared: Path) -> None:
    """Stored from three sources of other pixels each: within a source one array, and all on one grid."""
    folder = shared / "dicom/transfer_syntax"
    sources = (("explicit_le", "big_endian", "deflated"), ("implicit_le",), ("rle", "jpeg_lossless", "jpeg_ls", "j2k"))
    assert sorted(name for names in sources for name in names) == sorted(child.name for child in folder.iterdir())
    grid = read(folder / "explicit_le").grid
    for names in sources:
        first = read(folder / names[0])
        assert first.dicom is not None
        for k, path in enumerate(first.dicom.instances):
            other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))[0].T
            assert np.array_equal(first.array[:, :, k], other)
        for name in names:
            volume = read(folder / name)
            assert np.array_equal(volume.array, first.array), name
            assert volume.grid.same_as(grid, 1e-6)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("enh_mr_10f_variants", Code.MISSING_GEOMETRY),
        ("rgb_4", Code.COLOUR_IMAGE),
    ],
)
def test_real_series_that_are_no_volume_are_refused_by_name(shared: Path, name: str, code: Code) -> None:
    assert refusal(shared / "dicom" / name) == code


@pytest.mark.parametrize("name", ["ct_tilt_varspacing_10", "hostile/inconsistent_spacing"])
def test_uneven_slices_are_interpolated_at_their_places(shared: Path, name: str) -> None:
    volume = read(shared / "dicom" / name)
    assert volume.dicom is not None
    assert Code.SLICES_RESAMPLED in codes(volume)
    assert len(volume.dicom.places) == len(volume.dicom.instances)
    images = [pydicom.dcmread(path) for path in volume.dicom.instances]
    stored = [image.pixel_array.T * float(image.RescaleSlope) + float(image.RescaleIntercept) for image in images]
    slices = [np.where(values < -1024, -1024, values) for values in stored]  # outside the field of view
    for image, place in zip(images, volume.dicom.places, strict=True):
        origin = volume.grid.to_lps(np.array([0.0, 0.0, place]))
        assert origin == pytest.approx(list(image.ImagePositionPatient), abs=1e-3)
    for k in range(volume.grid.shape[2]):
        above = min(int(np.searchsorted(volume.dicom.places, k)), len(slices) - 1)
        below = max(0, above - 1)
        low, high = volume.dicom.places[below], volume.dicom.places[above]
        share = min(1.0, (k - low) / (high - low)) if above > below else 0.0
        expected = slices[below] * (1 - share) + slices[above] * share
        assert np.abs(volume.array[:, :, k] - expected).max() <= 0.51


def test_uneven_series_come_after_even_ones(make_series: Any) -> None:
    heights = (0.0, 2.0, 4.0, 9.0, 14.0, 19.0)
    make_series("study", each=lambda n: {"ImagePositionPatient": [-10, -20, heights[n]]}, SeriesNumber=1)
    folder = make_series("study", SeriesNumber=2)
    (case,) = discover(folder)
    volume = read_case(case)[0]
    assert volume.dicom is not None
    assert volume.dicom.number == 2


@pytest.mark.parametrize("name", ["enh_ct_2f/eCT_Supplemental.dcm", "enh_mr_siemens_4vol/6_1.dcm"])
def test_simple_multi_frame_objects_are_read_by_their_functional_groups(shared: Path, name: str) -> None:
    truth = json.loads((shared / "dicom/truth.json").read_text())[name]
    volume = read(shared / "dicom" / name)
    assert list(volume.grid.shape) == truth["shape_ijk"]
    assert volume.grid.spacing[2] == pytest.approx(truth["step_mm"], abs=1e-3)
    # the normal of enh_ct_2f points to the feet, so its slices come in the truth's order
    assert volume.grid.affine[:3, 3] == pytest.approx(truth["origin"], abs=0.05)
    assert volume.grid.to_lps(np.array(volume.grid.shape) - 1.0) == pytest.approx(truth["lps_corner_far"], abs=0.05)
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(shared / "dicom" / name)))
    stacks = [image.transpose(2, 1, 0), image.transpose(2, 1, 0)[:, :, ::-1]]
    assert any(np.array_equal(volume.array, stack) for stack in stacks)


SAME_AS_CONTROL = [
    "shuffled", "reversed_order", "same_instance_number", "doubled_file", "doubled_slice", "localizer_mixed",
    "no_extension", "wrong_thickness", "wrong_sbs", "jitter_spacing",
]  # fmt: skip


@pytest.mark.parametrize("name", SAME_AS_CONTROL)
def test_harmless_faults_change_nothing(shared: Path, name: str) -> None:
    control = read(shared / "dicom/hostile/control_ok")
    volume = read(shared / "dicom/hostile" / name)
    assert np.array_equal(volume.array, control.array)
    assert volume.grid.same_as(control.grid, 0.02)
    expected = {"doubled_file": Code.DUPLICATE_DROPPED, "doubled_slice": Code.DUPLICATE_DROPPED}
    if name in expected:
        assert expected[name] in codes(volume)
    if name == "localizer_mixed":
        assert Code.LOCALIZER in codes(volume)


def test_a_normal_to_the_feet_turns_the_slice_order_about(shared: Path) -> None:
    """The set mirrors the row direction and keeps the pixels: the same slices, from the head down."""
    control = read(shared / "dicom/hostile/control_ok")
    turned = read(shared / "dicom/hostile/normal_minus_z")
    assert np.linalg.det(turned.grid.affine[:3, :3]) > 0
    assert np.array_equal(turned.array, control.array[:, :, ::-1])
    for index in ([0, 0, 0], [31, 4, 7], [10, 20, 3]):
        i, j, k = index
        there = control.grid.to_lps(np.array([31 - i, j, 7 - k], float))
        assert turned.grid.to_lps(np.array(index, float)) == pytest.approx(there)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing_slice", Code.MISSING_SLICE),
        ("missing_two", Code.MISSING_SLICE),
        ("doubled_slice_differs", Code.DOUBLED_SLICE),
        ("mixed_patients", Code.MIXED_PATIENTS),
        ("two_frames_of_reference", Code.MIXED_FRAME_OF_REFERENCE),
        ("spacing_differs", Code.MIXED_SPACING),
        ("rows_differ", Code.MIXED_MATRIX),
        ("iop_varies", Code.MIXED_ORIENTATION),
        ("single_slice", Code.SINGLE_SLICE),
        ("missing_iop", Code.MISSING_GEOMETRY),
        ("missing_ipp", Code.MISSING_GEOMETRY),
        ("missing_ipp_one", Code.MISSING_GEOMETRY),
        ("missing_pixelspacing", Code.MISSING_GEOMETRY),
        ("zero_pixelspacing", Code.BAD_GEOMETRY),
        ("negative_pixelspacing", Code.BAD_GEOMETRY),
        ("iop_not_unit", Code.BAD_GEOMETRY),
        ("iop_not_orthogonal", Code.BAD_GEOMETRY),
        ("iop_zero", Code.BAD_GEOMETRY),
        ("nan_slope", Code.BAD_RESCALE),
        ("inf_slope", Code.BAD_RESCALE),
        ("zero_slope", Code.BAD_RESCALE),
        ("text_slope", Code.BAD_RESCALE),
        ("comma_slope", Code.BAD_RESCALE),
        ("truncated", Code.TRUNCATED),
        ("truncated_last", Code.TRUNCATED),
        ("truncated_header.dcm", Code.TRUNCATED),
        ("only_preamble.dcm", Code.TRUNCATED),
        ("huge_length.dcm", Code.TRUNCATED),
        ("absurd_rows.dcm", Code.TRUNCATED),
        ("absurd_frames.dcm", Code.TOO_LARGE),
        ("bits_13.dcm", Code.BAD_PIXELS),
        ("no_pixels.dcm", Code.BAD_PIXELS),
        ("wrong_sop.dcm", Code.NOT_THREE_DIMENSIONAL),
        ("not_dicom.dcm", Code.NOT_AN_IMAGE),
        ("renamed_png.dcm", Code.NOT_AN_IMAGE),
        ("empty.dcm", Code.EMPTY_INPUT),
    ],
)
def test_hostile_studies_are_refused_by_name(shared: Path, name: str, code: Code) -> None:
    assert refusal(shared / "dicom/hostile" / name) == code


def test_nothing_hostile_raises_anything_else(shared: Path) -> None:
    """Every path of the set ends in a volume that fits its headers or in one of our own errors, warnings or not."""
    read_count, refusals = 0, list[str]()
    for path in sorted((shared / "dicom/hostile").iterdir()):
        if path.suffix == ".csv":
            continue
        for case in discover(path):
            try:
                volume = read_case(case)[0]
            except MedmtlError as error:
                refusals.append(error.line(case.where))
                continue
            assert np.isfinite(volume.array).all()
            assert largest_corner_error_mm(volume) < 0.05
            read_count += 1
    assert read_count >= 25
    assert len(refusals) >= 45
    for identity in ("HOSTILE", "PHI", "1.2.826", "hostile", "\n"):
        assert not any(identity in line for line in refusals), identity


def test_values_of_hostile_series(shared: Path) -> None:
    hostile = shared / "dicom/hostile"
    control = read(hostile / "control_ok")
    assert np.abs(read(hostile / "perslice_slope").array - control.array).max() <= 1
    assert read(hostile / "perslice_slope_overflow").array.max() == pytest.approx(69360)
    assert read(hostile / "perslice_slope_fraction").array.dtype == np.float32
    inverted = read(hostile / "monochrome1")
    assert np.array_equal(inverted.array, 4095 - (control.array + 1024))
    assert Code.INVERTED_DISPLAY in codes(inverted)
    assert Code.NO_RESCALE in codes(read(hostile / "no_slope"))
    for name in ("padding_signed", "padding_unsigned"):
        padded = read(hostile / name)
        assert Code.PADDING_MASKED in codes(padded)
        changed = padded.array != control.array
        assert (padded.array[changed] == -1024).all()
        assert padded.array.max() == control.array.max()


def test_no_preamble_and_high_bits(shared: Path, tmp_path: Path) -> None:
    """Single files of the set, made to stacks of two with a neighbour of the control series."""
    hostile = shared / "dicom/hostile"
    control = read(hostile / "control_ok")
    neighbour = pydicom.dcmread(hostile / "control_ok/s02.dcm")
    for name in ("no_preamble.dcm", "high_bits_set.dcm", "overlay_comments.dcm", "private_junk.dcm"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a").write_bytes((hostile / name).read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(hostile / name, force=True, stop_before_pixels=True)
        neighbour.SeriesInstanceUID = header.SeriesInstanceUID
        neighbour.save_as(folder / "b")
        volume = read(folder)
        stored = control.array[:, :, 0]
        expected = stored & 0xFFF if name == "high_bits_set.dcm" else stored  # its 12 bits of the same picture
        assert np.array_equal(volume.array[:, :, 0], expected), name


def test_a_study_of_several_series_is_listed_and_one_is_chosen(shared: Path) -> None:
    found = series_of(sorted((shared / "dicom/study_ct_phantom").rglob("*.dcm")))
    numbers = [series.first.series_number for series in found]
    assert numbers == sorted(numbers)
    assert [series.state for series in found] == ["refused", "ok", "ok"]
    assert found[0].error is not None
    assert found[0].error.code == Code.LOCALIZER
    volume = read(shared / "dicom/hostile/mixed_series")
    assert volume.array.shape == (32, 32, 4)
    assert Code.SERIES_CHOSEN in codes(volume)


def test_an_unreadable_file_refuses_the_series_beside_it(make_series: Any) -> None:
    folder = make_series("study")
    (folder / "1_000.dcm").write_bytes(b"<html>gateway timeout</html>")  # else the first slice would go missing unseen
    assert refusal(folder) == Code.NOT_AN_IMAGE


def test_modality_and_source_are_kept(shared: Path) -> None:
    volume = read(shared / "dicom/ct_axial_28")
    assert volume.modality == "CT"
    assert volume.dicom is not None
    assert volume.dicom.number == 201
    assert len(set(volume.dicom.instance_uids)) == 28
    heights = [
        pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2] for path in volume.dicom.instances
    ]
    assert heights == sorted(heights)


def test_gaps_in_the_numbers_are_told(make_series: Any) -> None:
    assert not codes(read(make_series("whole")))
    assert Code.SLICES_UNVERIFIED in codes(read(make_series("cut", each=lambda k: {"InstanceNumber": k + 2})))
    assert Code.SLICES_UNVERIFIED in codes(read(make_series("more", ImagesInAcquisition=9)))


def test_two_patients_in_one_study_are_refused(make_series: Any) -> None:
    folder = make_series("study", SeriesNumber=1)
    make_series("study", SeriesNumber=2, PatientID="ANOTHER")
    assert refusal(folder) == Code.MIXED_PATIENTS


def test_one_series_in_two_studies_is_refused(make_series: Any) -> None:
    folder = make_series("study", each=lambda k: {"StudyInstanceUID": "1.2.3" if k < 3 else "1.2.4"})
    assert refusal(folder) == Code.MIXED_SERIES


def test_lookup_tables_floats_and_odd_bits_are_refused(make_series: Any) -> None:
    assert refusal(make_series("bits", HighBit=14)) == Code.BAD_PIXELS
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "HU", b"\0\0\1\0"
    assert refusal(make_series("table", ModalityLUTSequence=[table])) == Code.BAD_RESCALE


def test_listing_reads_no_pixels(shared: Path) -> None:
    (case,) = discover(shared / "dicom/ct_axial_28")
    (series,) = list_series(case)
    assert series.grid is not None
    assert series.grid.same_as(read_case(case)[0].grid, 0.0)
