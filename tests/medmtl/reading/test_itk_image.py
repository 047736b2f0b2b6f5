"""NRRD and MetaImage: the geometry ITK has, or a refusal."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medmtl.errors import Code, StudyError
from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.itk_image import read_itk_image


def image(dtype: type = np.int16) -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray((np.arange(4 * 5 * 6).reshape(4, 5, 6) - 60).astype(dtype))
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    made.SetDirection((turn * np.sign(np.linalg.det(turn))).ravel().tolist())
    made.SetSpacing((0.7, 0.9, 3.3))
    made.SetOrigin((-31.5, 12.25, 80.0))
    return made


def written(folder: Path, name: str, made: SimpleITK.Image, packed: bool = False) -> Path:
    path = folder / name
    SimpleITK.WriteImage(made, str(path), packed)
    return path


def refusal(path: Path) -> Code:
    with pytest.raises(StudyError) as caught:
        read_itk_image(path)
    return caught.value.code


@pytest.mark.parametrize("name", ["odd name.nrrd", "b.mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_and_points_are_those_of_itk(tmp_path: Path, name: str, packed: bool) -> None:
    made = image()
    path = written(tmp_path, name, made, packed)
    (case,) = discover(path)
    assert case.name == path.stem
    volume = read_case(case)[0]
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, SimpleITK.GetArrayFromImage(made).transpose(2, 1, 0))
    for index in [(0, 0, 0), (5, 4, 3), (2, 0, 1)]:
        there = made.TransformIndexToPhysicalPoint(index)
        assert volume.grid.to_lps(np.array(index, float)) == pytest.approx(there, abs=1e-6)
    assert volume.modality is None


def test_fractions_stay_float(tmp_path: Path) -> None:
    volume = read_itk_image(written(tmp_path, "a.nrrd", image(np.float64) / 4.0))
    assert volume.array.dtype == np.float32
    assert volume.array[1, 0, 0] == -14.75


def test_a_ras_nrrd_is_turned(tmp_path: Path) -> None:
    path = written(tmp_path, "a.nrrd", image())
    before = read_itk_image(path).grid.affine
    data = path.read_bytes().replace(b"space: left-posterior-superior", b"space: right-anterior-superior")
    path.write_bytes(data)
    assert read_itk_image(path).grid.affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ before, abs=1e-5)


def test_what_says_no_geometry_or_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a.nrrd", image())
    data = path.read_bytes()
    lines = data.split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"space directions")))
    assert refusal(path) == Code.MISSING_GEOMETRY
    path.write_bytes(data.replace(b"left-posterior-superior", b"scanner-xyz"))
    assert refusal(path) == Code.MISSING_GEOMETRY
    path.write_bytes(data[:-40])
    assert refusal(path) == Code.TRUNCATED
    path.write_bytes(data.replace(b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd"))
    assert refusal(path) == Code.UNSUPPORTED_ENCODING
    meta = written(tmp_path, "a.mha", image())
    data = meta.read_bytes()
    meta.write_bytes(data.replace(b"ElementDataFile = LOCAL", b"ElementDataFile = other.raw"))
    assert refusal(meta) == Code.UNSUPPORTED_ENCODING
    meta.write_bytes(b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"TransformMatrix")))
    assert refusal(meta) == Code.MISSING_GEOMETRY
    meta.write_bytes(data[:-1])
    assert refusal(meta) == Code.TRUNCATED


def test_other_dimensions_are_refused(tmp_path: Path) -> None:
    flat = SimpleITK.GetImageFromArray(np.zeros((1, 5, 6), np.int16))
    assert refusal(written(tmp_path, "flat.nrrd", flat)) == Code.SINGLE_SLICE
    colour = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    assert refusal(written(tmp_path, "colour.mha", colour)) == Code.COLOUR_IMAGE
    deep = SimpleITK.GetImageFromArray(np.zeros((2, 4, 5, 6), np.int16), isVector=False)
    assert refusal(written(tmp_path, "deep.nrrd", deep)) in (Code.FOUR_DIMENSIONAL, Code.MISSING_GEOMETRY)
    empty = image(np.float32)
    empty[1, 1, 1] = float("nan")
    assert refusal(written(tmp_path, "nan.mha", empty)) == Code.NOT_FINITE
