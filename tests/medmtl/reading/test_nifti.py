"""NIfTI files come in with the right values at the right place, or not at all."""

import gzip
import hashlib
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.errors import Code, DatasetError, StudyError
from medmtl.reading.nifti import looks_like_nifti, read_label_map, read_nifti

AFFINE = np.array([[-1.5, 0, 0, 90.0], [0, 2.0, 0, -126.0], [0, 0, 3.0, -72.0], [0, 0, 0, 1.0]])
VALUES = np.arange(4 * 5 * 6).reshape(4, 5, 6)


def save(path: Path, values: np.ndarray = VALUES, dtype: type = np.int16, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(values.astype(dtype), affine, dtype=dtype), path)
    return path


def refusal(path: Path) -> Code:
    with pytest.raises(StudyError) as caught:
        read_nifti(path)
    return caught.value.code


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "no_suffix.bin"])
def test_a_plain_file_reads_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "written.nii.gz" if name.endswith("gz") else tmp_path / "written.nii").rename(
        tmp_path / name
    )
    volume = read_nifti(path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, VALUES)
    assert volume.modality is None
    assert volume.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(volume.grid.affine, np.diag([-1, -1, 1, 1]) @ AFFINE)


@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(0.3, 12)] * 3), st.booleans())
def test_every_voxel_lies_where_nibabel_puts_it(angles: tuple, spacing: tuple, mirrored: bool) -> None:
    rotation = nib.eulerangles.euler2mat(*angles)
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(spacing) * ([-1, 1, 1] if mirrored else [1, 1, 1])
    affine[:3, 3] = (12.5, -40.25, 7.0)
    image = nib.Nifti1Image(VALUES.astype(np.int16), affine)
    image.set_qform(affine, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii"
        nib.save(image, path)
        volume = read_nifti(path)
        expected = nib.load(path).affine @ [3, 4, 5, 1]
    assert volume.grid.to_lps(np.array([3.0, 4.0, 5.0])) == pytest.approx(expected[:3] * [-1, -1, 1], abs=1e-4)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (VALUES, np.uint8, np.int16),
        (VALUES, np.uint16, np.int16),
        (VALUES + 40000, np.uint16, np.float32),
        (VALUES * 1000, np.int32, np.float32),
        (VALUES / 7, np.float64, np.float32),
        (VALUES - 60, np.int8, np.int16),
    ],
)
def test_values_stay_int16_where_nothing_is_lost(
    tmp_path: Path, values: np.ndarray, dtype: type, expected: type
) -> None:
    volume = read_nifti(save(tmp_path / "a.nii.gz", values, dtype))
    assert volume.array.dtype == expected
    assert np.array_equal(volume.array, values.astype(dtype).astype(expected))


@pytest.mark.parametrize(("slope", "inter", "dtype"), [(2.0, -1024.0, np.int16), (0.5, 3.25, np.float32)])
def test_the_scale_of_the_header_is_applied(tmp_path: Path, slope: float, inter: float, dtype: type) -> None:
    image = nib.Nifti1Image(VALUES.astype(np.int16), AFFINE)
    image.header.set_slope_inter(slope, inter)
    data = bytearray(image.to_bytes())
    data[112:120] = np.array([slope, inter], dtype="<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(data))
    stored = nib.load(tmp_path / "a.nii").dataobj.get_unscaled()
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.array.dtype == dtype
    assert np.array_equal(volume.array, stored * slope + inter)


def test_big_endian_and_nifti2_read_the_same(tmp_path: Path) -> None:
    swapped = nib.Nifti1Image(VALUES.astype(">i2"), AFFINE, header=nib.Nifti1Header(endianness=">"))
    swapped.set_sform(AFFINE, 1)
    nib.save(swapped, tmp_path / "big.nii")
    nib.save(nib.Nifti2Image(VALUES.astype(np.int16), AFFINE), tmp_path / "two.nii.gz")
    plain = read_nifti(save(tmp_path / "plain.nii"))
    for name in ("big.nii", "two.nii.gz"):
        other = read_nifti(tmp_path / name)
        assert np.array_equal(other.array, plain.array)
        assert plain.grid.same_as(other.grid, 1e-6)


def test_trailing_axes_of_one_are_dropped_and_a_fourth_axis_is_refused(tmp_path: Path) -> None:
    assert read_nifti(save(tmp_path / "a.nii", VALUES[..., None])).array.shape == (4, 5, 6)
    assert refusal(save(tmp_path / "b.nii", np.stack([VALUES] * 2, axis=-1))) == Code.FOUR_DIMENSIONAL


def test_both_traps_are_refused_with_a_remedy(shared: Path) -> None:
    traps = sorted((shared / "data/nifti_traps").glob("*.nii.gz"))
    assert len(traps) == 2
    for trap in traps:
        with pytest.raises(StudyError, match="set sform, qform and pixdim alike") as caught:
            read_nifti(trap)
        assert caught.value.code == Code.SPACING_CONTRADICTION


def test_real_cases_read_as_nibabel_reads_them(shared: Path) -> None:
    for folder in ("cardiac_lge_mr", "cardiac_cine_mr", "hippocampus_mr", "abdomen_ct", "lung_nodule_ct"):
        path = sorted((shared / "data" / folder / "images").glob("*.nii.gz"))[0]
        image = nib.load(path)
        volume = read_nifti(path)
        assert np.array_equal(volume.array, np.asarray(image.dataobj))
        assert volume.grid.affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ image.affine, abs=1e-4)


def _forms(path: Path, qform: np.ndarray, sform_code: int, qform_code: int) -> Path:
    image = nib.Nifti1Image(VALUES.astype(np.int16), AFFINE)
    image.set_qform(qform, qform_code)
    image.set_sform(AFFINE, sform_code)
    nib.save(image, path)
    return path


def test_qform_against_sform(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 5
    mirrored = AFFINE @ np.diag([-1, 1, 1, 1])
    assert refusal(_forms(tmp_path / "a.nii", moved, 1, 1)) == Code.BAD_GEOMETRY
    assert refusal(_forms(tmp_path / "b.nii", moved, 2, 1)) == Code.BAD_GEOMETRY
    assert refusal(_forms(tmp_path / "c.nii", mirrored, 4, 1)) == Code.BAD_GEOMETRY
    read_nifti(_forms(tmp_path / "d.nii", AFFINE, 1, 1))
    in_template = read_nifti(_forms(tmp_path / "e.nii", moved, 4, 1))  # another frame, as the code says
    assert in_template.grid.affine[0, 3] == -AFFINE[0, 3]
    assert refusal(_forms(tmp_path / "f.nii", AFFINE, 0, 0)) == Code.MISSING_GEOMETRY


@pytest.mark.parametrize("tilt", [0.0, 1e-4, 5e-4, 1.2e-3, 3e-3, 0.01, 0.1, 0.5])
def test_a_qform_of_nearly_a_half_turn_is_as_exact_as_it_can_be(tmp_path: Path, tilt: float) -> None:
    """Axial stacks are half turns in NIfTI's frame; single precision there blurs the angle by a thousandth."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ nib.eulerangles.euler2mat(tilt, -tilt / 2, tilt) * [1.5, 1.5, 10.0]
    for name, turn, readable in (("a.nii", 0.0, True), ("b.nii", 0.02, False)):
        image = nib.Nifti1Image(np.zeros((128, 128, 12), np.int16) + np.arange(12, dtype=np.int16), affine)
        other = affine.copy()
        other[:3, :3] = nib.eulerangles.euler2mat(turn) @ affine[:3, :3]
        image.set_qform(other, 1)
        image.set_sform(affine, 1)
        nib.save(image, tmp_path / name)
        if readable:
            assert np.allclose(read_nifti(tmp_path / name).grid.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-4)
        else:
            assert refusal(tmp_path / name) == Code.BAD_GEOMETRY


def test_a_qform_alone_is_enough(tmp_path: Path) -> None:
    volume = read_nifti(_forms(tmp_path / "a.nii", AFFINE, 0, 1))
    assert volume.grid.affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ AFFINE, abs=1e-5)


def test_a_zero_affine_is_refused(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "a.nii").read_bytes())
    data[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    (tmp_path / "a.nii").write_bytes(bytes(data))
    assert refusal(tmp_path / "a.nii") == Code.BAD_GEOMETRY


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    values = VALUES.astype(np.float32)
    values[1, 2, 3] = value
    assert refusal(save(tmp_path / "a.nii.gz", values, np.float32)) == Code.NOT_FINITE


@pytest.mark.parametrize("keep", [1, 200, 348, 400, -1, -8])
def test_files_cut_short_are_refused(tmp_path: Path, keep: int) -> None:
    rng = np.random.default_rng(0)
    path = save(tmp_path / "a.nii.gz", rng.integers(0, 30000, (9, 9, 9)))
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(path) in (Code.TRUNCATED, Code.NOT_AN_IMAGE)
    plain = save(tmp_path / "b.nii")
    plain.write_bytes(plain.read_bytes()[:keep])
    assert refusal(plain) in (Code.TRUNCATED, Code.NOT_AN_IMAGE)


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 30000, (30, 30, 30)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    assert refusal(path) in (Code.TRUNCATED, Code.UNREADABLE)


def test_a_header_that_asks_for_more_than_the_file_can_hold_takes_no_memory(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "a.nii").read_bytes())
    data[42:48] = np.array([1500, 1500, 900], dtype="<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(data))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(data)))
    assert refusal(tmp_path / "a.nii") == Code.TRUNCATED
    assert refusal(tmp_path / "a.nii.gz") == Code.TRUNCATED
    data[42:48] = np.array([32000, 32000, 900], dtype="<i2").tobytes()
    (tmp_path / "b.nii").write_bytes(bytes(data))
    assert refusal(tmp_path / "b.nii") == Code.TOO_LARGE


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    for name, data, code in (
        ("text.nii.gz", b"not an image\n" * 40, Code.NOT_AN_IMAGE),
        ("packed.nii.gz", gzip.compress(b"not an image\n" * 40), Code.NOT_AN_IMAGE),
        ("empty.nii.gz", b"", Code.EMPTY_INPUT),
    ):
        (tmp_path / name).write_bytes(data)
        assert refusal(tmp_path / name) == code
    assert not looks_like_nifti(b"")


def test_colours_and_single_slices_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, AFFINE), tmp_path / "rgb.nii")
    assert refusal(tmp_path / "rgb.nii") == Code.COLOUR_IMAGE
    assert refusal(save(tmp_path / "flat.nii", VALUES[:, :, :1])) == Code.SINGLE_SLICE


def test_label_maps_hold_integers_only(tmp_path: Path, shared: Path) -> None:
    labels, grid = read_label_map(save(tmp_path / "a.nii.gz", VALUES % 3, np.float32))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, VALUES % 3)
    assert grid.shape == labels.shape
    for values in (VALUES / 2, VALUES - 1, VALUES + 200):
        with pytest.raises(DatasetError) as caught:
            read_label_map(save(tmp_path / "b.nii.gz", values, np.float32))
        assert caught.value.code == Code.BAD_LABEL_VALUE
    folder = shared / "data/cardiac_lge_mr"
    case = sorted((folder / "organs").glob("*.nii.gz"))[0]
    labels, grid = read_label_map(case)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert grid.same_as(read_nifti(folder / "images" / case.name).grid)
