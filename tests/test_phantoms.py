"""Phantoms: voxel counts against closed forms, anatomy, determinism, data sets and DICOM studies made of them."""

import csv
import itertools
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medmtl.task import tasks_from_mapping
from sample_data.abdomen import ORGANS, abdomen
from sample_data.dicom_study import PATIENT_ID, PATIENT_NAME, StudyText, instances, write_dicom_study
from sample_data.hearts import heart
from sample_data.phantoms import phantom, write_dataset
from sample_data.solids import Ellipsoid, Phantom, centred_grid, ellipsoid, paint, rotation

ROOT = Path(__file__).resolve().parent.parent
LABELS = {
    kind: {
        f"{task}.{row['name']}": row["value"]
        for task, body in yaml.safe_load((ROOT / "sample_data" / f"{kind}.yaml").read_text())["tasks"].items()
        for row in body.get("labels", [])
    }
    for kind in ("hearts", "abdomen")
}
TEXT = StudyText(study="test", description="Phantom", body_part="HEART")


def counted_ml(made: Phantom, kind: str) -> dict[str, float]:
    return {
        name: np.count_nonzero(made.maps[name.split(".")[0]] == value) * made.grid.voxel_ml
        for name, value in LABELS[kind].items()
    }


def assert_ml_close(made: Phantom, kind: str, relative: float, absolute_ml: float) -> None:
    counted = counted_ml(made, kind)
    assert counted.keys() == made.ml.keys()
    for name, analytic in made.ml.items():
        assert counted[name] == pytest.approx(analytic, rel=relative, abs=absolute_ml), name


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(6, 15)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(0.6, 1.2)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_any_ellipsoid_fills_its_millilitres(
    radii: tuple[float, float, float],
    pose: tuple[float, float, float],
    spacing: tuple[float, float, float],
    grid_pose: tuple[float, float, float],
) -> None:
    centre = np.array([40.0, -25.0, 300.0])
    solid = ellipsoid((0, 0, 0), radii).mapped(rotation(pose), centre)
    grid = centred_grid((60, 60, 60), spacing, centre + 1.3, rotation(grid_pose))
    target = np.zeros(grid.shape, dtype=np.uint8)
    paint(target, solid, grid, 1)
    assert target.sum() * grid.voxel_ml == pytest.approx(4 / 3 * np.pi * np.prod(radii) / 1000, rel=0.04)


def test_a_solid_outside_the_grid_leaves_no_trace() -> None:
    grid = centred_grid((10, 10, 10), (1.0, 1.0, 1.0), np.zeros(3))
    target = np.zeros(grid.shape)
    paint(target, ellipsoid((100, 0, 0), (5, 5, 5)), grid, 1)
    assert not target.any()


@settings(max_examples=50)
@given(st.floats(0.1, 1), st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_shrunk_solid_stays_inside(
    factor: float, towards: tuple[float, float, float], surface: tuple[float, float, float]
) -> None:
    unit = [np.array(v) / max(1.0, float(np.linalg.norm(v))) for v in (towards, surface)]
    outer = Ellipsoid(centre=np.array([1.0, 2.0, 3.0]), axes=rotation((10, 20, 30)) @ np.diag([5.0, 8.0, 13.0]))
    inner = outer.shrunk(factor, unit[0])
    point = inner.centre + inner.axes @ unit[1]
    assert np.linalg.norm(np.linalg.solve(outer.axes, point - outer.centre)) <= 1 + 1e-9


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_fine_hearts_fill_their_millilitres(seed: int) -> None:
    made = heart(seed=seed, infarction=True, shape=(170, 170, 80), spacing=(0.9, 0.9, 1.4))
    assert made.ml["lesions.infarct"] > 1
    assert_ml_close(made, "hearts", relative=0.03, absolute_ml=0.05)


@pytest.mark.parametrize("seed", [0, 3])
def test_fine_abdomens_fill_their_millilitres(seed: int) -> None:
    made = abdomen(seed=seed, lesion=True, shape=(256, 192, 160), spacing=(1.5, 1.5, 2.0))
    assert made.ml["lesions.liver_lesion"] > 0.5
    assert_ml_close(made, "abdomen", relative=0.03, absolute_ml=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_clinical_hearts_are_near_their_millilitres(seed: int) -> None:
    made = heart(seed=seed, infarction=seed % 2 == 1)
    assert made.grid.spacing == pytest.approx((1.5, 1.5, 10.0))
    for name in ("organs.lv_cavity", "organs.myocardium"):
        assert counted_ml(made, "hearts")[name] == pytest.approx(made.ml[name], rel=0.12)
    assert (made.diagnosis == "infarction") == bool(made.maps["lesions"].any())
    assert (made.maps["organs"][made.maps["lesions"] > 0] == 2).all()
    bright = made.array[made.maps["lesions"] == 1]
    assert (
        not bright.size
        or bright.mean() > 2 * made.array[(made.maps["organs"] == 2) & (made.maps["lesions"] == 0)].mean()
    )


def test_some_infarcts_have_a_core_within() -> None:
    cores = [heart(seed=seed, infarction=True).ml["lesions.no_reflow"] for seed in range(12)]
    assert 2 <= sum(core > 0 for core in cores) <= 10


@pytest.mark.parametrize("seed", range(4))
def test_abdomens_have_all_organs_in_their_places(seed: int) -> None:
    made = abdomen(seed=seed, lesion=True)
    organs, lesions = made.maps["organs"], made.maps["lesions"]
    assert set(np.unique(organs)) == set(range(15))
    assert (organs[lesions > 0] == LABELS["abdomen"]["organs.liver"]).all()
    places = {
        name: made.grid.to_lps(np.argwhere(organs == value).astype(float)).mean(axis=0)
        for name, value in LABELS["abdomen"].items()
        if name.startswith("organs.")
    }
    assert places["organs.kidney_left"][0] > places["organs.kidney_right"][0] + 60  # LPS: x grows to the left
    assert places["organs.spleen"][0] > places["organs.liver"][0]
    assert places["organs.aorta"][1] > places["organs.stomach"][1]  # y grows to the back
    assert places["organs.urinary_bladder"][2] < places["organs.liver"][2]  # z grows to the head
    edge = np.ones(organs.shape, dtype=bool)
    edge[1:-1, 1:-1, 1:-1] = False
    assert not organs[edge].any()
    assert made.array[0, 0, 0] < -900
    assert made.array[organs == 6].mean() == pytest.approx(105, abs=15)


def test_organs_never_overlap() -> None:
    grid = centred_grid((190, 130, 165), (2.0, 2.0, 2.0), np.zeros(3))
    counts = np.zeros(grid.shape, dtype=np.uint8)
    for centre, radii, _ in ORGANS.values():
        box, mask = ellipsoid(centre, radii).voxels(grid)
        counts[box] += mask
    assert counts.max() == 1


def test_organs_stand_in_the_order_of_their_labels() -> None:
    names = [name.split(".")[1] for name in LABELS["abdomen"] if name.startswith("organs.")]
    assert list(ORGANS) == names
    assert [LABELS["abdomen"][f"organs.{name}"] for name in names] == list(range(1, 15))


@pytest.mark.parametrize(("shape", "spacing"), [((64, 64, 32), (4.0, 4.0, 4.0)), ((48, 40, 30), (2.0, 2.0, 2.0))])
def test_a_small_grid_gets_a_small_body(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    made = abdomen(seed=2, lesion=False, shape=shape, spacing=spacing)
    assert made.ml["organs.liver"] < 500
    assert counted_ml(made, "abdomen")["organs.liver"] == pytest.approx(made.ml["organs.liver"], rel=0.1)


@pytest.mark.parametrize("kind", ["hearts", "abdomen"])
def test_seeds_decide_everything(kind: str) -> None:
    first, again, other = (phantom(kind, seed=seed, lesion=True) for seed in (4, 4, 5))
    assert np.array_equal(first.array, again.array)
    assert np.array_equal(first.grid.affine, again.grid.affine)
    assert first.volume().content_hash == again.volume().content_hash != other.volume().content_hash
    assert first.ml != other.ml


@pytest.mark.parametrize("kind", ["hearts", "abdomen"])
def test_data_sets_are_whole_and_the_same_every_time(kind: str, tmp_path: Path) -> None:
    small = {"shape": (48, 48, 10), "spacing": (8.0, 8.0, 32.0)} if kind == "abdomen" else {}
    ml = write_dataset(tmp_path / "a", kind, cases=4, seed=1, **small)
    write_dataset(tmp_path / "b", kind, cases=4, seed=1, **small)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 3 + 4 * 3
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    tasks = {
        task.name: task
        for task in tasks_from_mapping(yaml.safe_load((tmp_path / "a/dataset.yaml").read_text())["tasks"])
    }
    with (tmp_path / "a" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    classes = [label.name for label in tasks["diagnosis"].labels]
    assert [classes.index(row["diagnosis"]) for row in rows] == [0, 1, 0, 1]
    assert len({row["patient"] for row in rows}) == 4
    assert [row["fold"] for row in rows] == ["0", "0", "1", "1"]
    for row, task in itertools.product(rows, ("lesions", "organs")):
        image, labels = (nibabel.load(tmp_path / "a" / f / f"{row['case']}.nii.gz") for f in ("images", task))
        assert np.array_equal(image.affine, labels.affine)
        assert set(np.unique(labels.dataobj)) <= {0, *(label.value for label in tasks[task].labels)}
        assert set(ml[row["case"]]) == set(LABELS[kind])


def test_nifti_lies_where_the_phantom_lies(tmp_path: Path) -> None:
    write_dataset(tmp_path, "hearts", cases=1, seed=7)
    made = heart(seed=70_000, infarction=False)
    image = nibabel.load(tmp_path / "images" / "HEARTS_000.nii.gz")
    assert np.array_equal(image.dataobj, made.array)
    assert np.diag([-1, -1, 1, 1]) @ image.affine == pytest.approx(made.grid.affine, abs=1e-4)
    assert image.header.get_zooms() == pytest.approx(made.grid.spacing, abs=1e-5)


def test_the_script_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sample_data" / "phantoms.py"), "hearts", "-o", str(tmp_path), "--cases", "1"]
    done = subprocess.run([*command, "--dicom"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 cases" in done.stdout
    assert (tmp_path / "dicom" / "HEARTS_000.zip").is_file()


@pytest.mark.parametrize("kind", ["hearts", "abdomen"])
def test_dicom_study_holds_the_volume(kind: str, tmp_path: Path) -> None:
    volume = phantom(kind, seed=3, lesion=True).volume()
    write_dicom_study(tmp_path / "study", volume, TEXT)
    files = sorted((tmp_path / "study").iterdir())
    assert len(files) == volume.grid.shape[2]
    for k, path in enumerate(files):
        slice_ = pydicom.dcmread(path)
        values = slice_.pixel_array.T.astype(int) * int(slice_.get("RescaleSlope", 1)) + int(
            slice_.get("RescaleIntercept", 0)
        )
        assert np.array_equal(values, volume.array[:, :, k])
        across = np.array(slice_.ImageOrientationPatient, dtype=float).reshape(2, 3)
        last = np.array(slice_.ImagePositionPatient, dtype=float)
        last += across[0] * slice_.PixelSpacing[1] * (slice_.Columns - 1) + across[1] * slice_.PixelSpacing[0] * (
            slice_.Rows - 1
        )
        assert last == pytest.approx(
            volume.grid.to_lps(np.array([*np.subtract(volume.grid.shape[:2], 1), k])), abs=1e-3
        )
        assert slice_.PatientName == PATIENT_NAME
        assert slice_.PatientID == PATIENT_ID


def test_dicom_zip_is_the_same_every_time(tmp_path: Path) -> None:
    volume = heart(seed=3, infarction=True).volume()
    for name in ("a", "b"):
        write_dicom_study(tmp_path / f"{name}.zip", volume, TEXT)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    write_dicom_study(tmp_path / "folder", volume, TEXT)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for path in (tmp_path / "folder").iterdir():
            assert archive.read(path.name) == path.read_bytes()


def test_dicom_uids_are_unique_within_and_across_studies() -> None:
    volume = heart(seed=3, infarction=True).volume()
    other = StudyText(study="other", description="Phantom", body_part="HEART")
    both = [*instances(volume, TEXT), *instances(volume, other)]
    assert len({instance.SOPInstanceUID for instance in both}) == len(both)
    assert len({instance.StudyInstanceUID for instance in both}) == 2
    assert len({instance.SeriesInstanceUID for instance in both}) == 2
    assert len({instance.FrameOfReferenceUID for instance in both}) == 2


@pytest.mark.parametrize("kind", ["hearts", "abdomen"])
def test_dicom_study_passes_dciodvfy(kind: str, tmp_path: Path) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy (apt package dicom3tools) is not installed")
    write_dicom_study(tmp_path, phantom(kind, seed=3, lesion=True).volume(), TEXT)
    for path in sorted(tmp_path.iterdir())[:3]:
        done = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, done.stderr
        assert {"hearts": "MRImage", "abdomen": "CTImage"}[kind] in done.stdout + done.stderr


def test_values_beyond_twelve_bits_are_refused() -> None:
    made = heart(seed=1, infarction=False)
    made.array[0, 0, 0] = 5000
    with pytest.raises(ValueError, match="12 bits"):
        instances(made.volume(), TEXT)
