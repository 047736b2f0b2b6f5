"""Studies with SEG and RTSTRUCT: real ones of other makers, and those that medmtl itself writes."""

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import yaml
from pydicom.sr.codedict import codes

from medmtl.errors import MedmtlError, UsageError
from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl_training.data_check import check_dataset
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.medmtl_training.importing.conftest import Imported
from tests.tiny import heart_volume


def labels(path: Path, **tasks: list[dict[str, Any]]) -> Path:
    """A `dataset.yaml` with the wanted structures."""
    body = {"tasks": {name: {"kind": "segmentation", "labels": rows} for name, rows in tasks.items()}}
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    return path


def map_of(dataset: Any, task: str, case: int = 0) -> Any:
    return read_label_map(Path(str(dataset.cases[case].voxel_labels[task])))[0]


def test_a_segmentation_of_another_maker_lies_on_its_images(shared: Path, imported: Imported) -> None:
    dataset, _ = imported(shared / "dicom" / "seg_ct3_liver")
    assert (dataset.modality, [case.name for case in dataset.cases]) == ("CT", ["study-ed278eb3"])
    found = map_of(dataset, "organs")
    truth = hd.seg.segread(shared / "dicom" / "seg_ct3_liver" / "seg" / "liver.dcm").pixel_array
    assert int((found == 1).sum()) == int(truth.sum()) == 107098
    image = read_nifti(dataset.cases[0].images[0]).array
    inside, mirrored = (image[mask == 1] for mask in (found, found[::-1]))
    assert 30 < float(np.median(inside)) < 70  # liver without contrast, in HU
    assert inside.std() < 0.7 * mirrored.std()  # and not what lies opposite
    assert dataset.cases[0].patient.startswith("patient-")
    text = "".join(path.read_text(encoding="utf-8") for path in dataset.root.glob("*.*"))
    assert "JANCT" not in text


def test_older_codes_find_labels_of_other_names(shared: Path, imported: Imported, tmp_path: Path) -> None:
    hepar = {"name": "hepar", "code": {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}, "category": "organ"}
    spleen = {"name": "spleen", "category": "organ"}
    wanted = labels(tmp_path / "wanted.yaml", organs=[spleen, hepar])
    dataset, _ = imported(shared / "dicom" / "seg_ct3_liver", "--labels", str(wanted))
    assert np.unique(map_of(dataset, "organs")).tolist() == [0, 2]  # the second label, by its code
    assert dataset.cases[0].annotated["organs"] == {"hepar"}  # a spleen was not looked for


def test_contours_of_another_maker_lie_in_their_slice(shared: Path, imported: Imported) -> None:
    dataset, _ = imported(shared / "dicom" / "rt_ct2", "--name", "rt")
    found = map_of(dataset, "organs")
    assert found.sum(axis=(0, 1)).tolist() == [1443, 0]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A DICOM series of a heart phantom."""
    text = StudyText(study="import", description="heart phantom", body_part="HEART")
    return write_dicom_study(tmp_path / "pacs" / "study" / "images", heart_volume(), text).parent


def masks(shape: tuple[int, int, int]) -> dict[str, Any]:
    myocardium, infarct = np.zeros(shape, bool), np.zeros(shape, bool)
    myocardium[5:15, 6:20, 1:4] = True
    infarct[8:11, 8:14, 2] = True
    return {"myocardium": myocardium, "infarct": infarct}


def segment(number: int, name: str, kind: Any, *, abnormal: bool) -> Any:
    category = codes.SCT.MorphologicallyAbnormalStructure if abnormal else codes.SCT.AnatomicalStructure
    return hd.seg.SegmentDescription(number, name, category, kind, hd.seg.SegmentAlgorithmTypeValues.MANUAL)


@pytest.fixture
def segmented(study: Path) -> Path:
    """The study with a SEG of a myocardium and an infarct in it, by highdicom; frames without a voxel are left out."""
    sources = sorted((pydicom.dcmread(path) for path in (study / "images").iterdir()),
                     key=lambda d: float(d.ImagePositionPatient[2]))  # fmt: skip
    case = discover(study)[0]
    grid = read_case(case)[0].grid
    stacked = np.stack([mask.transpose(2, 1, 0) for mask in masks(grid.shape).values()], axis=-1)
    order = [int(np.rint(grid.to_index(np.array([float(v) for v in d.ImagePositionPatient])))[2]) for d in sources]
    seg = hd.seg.Segmentation(
        source_images=sources, pixel_array=stacked[order].astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            segment(1, "LV myocardium", codes.SCT.Heart, abnormal=False),
            segment(2, "Infarct", hd.sr.CodedConcept("22298006", "SCT", "Myocardial infarction"), abnormal=True),
        ],
        series_instance_uid=hd.UID(), series_number=9, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="x", manufacturer_model_name="x", software_versions="1", device_serial_number="1",
        omit_empty_frames=True,
    )  # fmt: skip
    (study / "objects").mkdir()
    seg.save_as(study / "objects" / "seg.dcm")
    return study


def test_tasks_are_made_of_what_was_drawn(segmented: Path, imported: Imported) -> None:
    dataset, _ = imported(segmented.parent, "--name", "hearts")
    assert {task.name: [(label.name, label.code.value if label.code else None) for label in task.labels]
            for task in dataset.tasks} == {
        "lesions": [("infarct", "22298006")], "organs": [("lv_myocardium", "80891009")],
    }  # fmt: skip
    grid = read_nifti(dataset.cases[0].images[0]).grid
    expected = masks(grid.shape)
    assert np.array_equal(map_of(dataset, "organs") == 1, expected["myocardium"])
    assert np.array_equal(map_of(dataset, "lesions") == 1, expected["infarct"])
    assert np.array_equal(read_nifti(dataset.cases[0].images[0]).array, read_case(discover(segmented)[0])[0].array)
    report = check_dataset(dataset.root)
    assert [fault for fault in report.faults if fault.severity == "error"] == []


def test_structures_nobody_asked_for_are_named(segmented: Path, imported: Imported, tmp_path: Path) -> None:
    wanted = labels(tmp_path / "w.yaml", lesions=[{"name": "infarct", "category": "lesion"},
                                                  {"name": "no_reflow", "category": "lesion"}])  # fmt: skip
    dataset, result = imported(segmented.parent, "--labels", str(wanted))
    assert "structure LV_myocardium was not imported: no label has this name or code" in result.output
    assert dataset.cases[0].annotated["lesions"] is None  # lesions were looked for: no no-reflow is none


def test_a_segmentation_on_another_grid_is_refused(segmented: Path, imported: Imported) -> None:
    path = segmented / "objects" / "seg.dcm"
    dataset = pydicom.dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0]
        position.ImagePositionPatient = [float(position.ImagePositionPatient[0]) + 2.0,
                                         *position.ImagePositionPatient[1:]]  # fmt: skip
    dataset.save_as(path)
    with pytest.raises(MedmtlError, match="does not lie on the voxels"):
        imported(segmented.parent)


def test_contours_written_by_medmtl_come_back_voxel_for_voxel(
    tmp_path: Path, study: Path, imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from medmtl.cli.predict import predict
    from tests.tiny import write_bundle

    write_bundle(tmp_path / "models" / "tiny")
    arguments = ["-i", str(study / "images"), "-o", str(tmp_path / "out"), "-m", str(tmp_path / "models" / "tiny")]
    arguments += ["--formats", "nii,json,rtstruct,seg", "--device", "cpu"]
    result = CliRunner().invoke(predict, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    answered = next(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    for name in ("rtstruct.dcm", "seg.dcm"):
        for old in study.glob("*.dcm"):
            old.unlink()
        (study / name).write_bytes((answered / name).read_bytes())
        target = tmp_path / name.partition(".")[0]
        target.mkdir()
        wanted = tmp_path / "models" / "tiny" / "bundle.yaml"
        dataset, _ = imported_into(target, study, "--labels", str(wanted))
        for task in ("lesions", "organs"):
            answer = read_label_map(answered / f"{task}.nii.gz")[0]
            assert answer.any()
            assert np.array_equal(map_of(dataset, task), answer), name


def imported_into(folder: Path, source: Path, *arguments: str) -> Any:
    from click.testing import CliRunner

    from medmtl_training.cases import read_dataset
    from medmtl_training.data_cli import data

    result = CliRunner().invoke(data, ["import", str(source), "-o", str(folder / "set"), *arguments],
                                catch_exceptions=False)  # fmt: skip
    assert result.exit_code == 0, result.output
    return read_dataset(folder / "set")[0], result


def test_which_case_is_which_study_stands_in_one_closed_file(
    segmented: Path, imported: Imported, tmp_path: Path
) -> None:
    dataset, _ = imported(segmented.parent, "--linkage", str(tmp_path / "linkage.csv"))
    text = (tmp_path / "linkage.csv").read_text(encoding="utf-8")
    assert text.startswith("case,accession,study_uid\n" + dataset.cases[0].name)
    assert (tmp_path / "linkage.csv").stat().st_mode & 0o777 == 0o600


def test_classes_come_by_accession_and_bring_studies_without_a_drawing(
    segmented: Path, imported: Imported, tmp_path: Path
) -> None:
    text = StudyText(study="another", description="heart phantom", body_part="HEART")
    other = write_dicom_study(tmp_path / "pacs" / "other", heart_volume(2), text)
    third = write_dicom_study(tmp_path / "pacs" / "third", heart_volume(3), StudyText(
        study="third", description="heart phantom", body_part="HEART"))  # fmt: skip
    for folder, accession in ((segmented / "images", "A1"), (other, "A2"), (third, "A3")):
        for path in folder.iterdir():
            header = pydicom.dcmread(path)
            header.AccessionNumber = accession
            header.save_as(path)
    (tmp_path / "t.csv").write_text("accession,diagnosis,age\nA1,ill,50\nA2,well,60\n", encoding="utf-8")
    dataset, _ = imported(tmp_path / "pacs", "--table", str(tmp_path / "t.csv"))
    found = {case.case_labels["diagnosis"]: (bool(case.voxel_labels), case.columns) for case in dataset.cases}
    assert found == {"ill": (True, {"age": "50"}), "well": (False, {"age": "60"})}  # nothing is known of the third
    assert "A1" not in (dataset.root / "cases.csv").read_text(encoding="utf-8")


def test_studies_without_structures_are_nothing_to_import(study: Path, imported: Imported) -> None:
    with pytest.raises(UsageError, match="no study with a SEG"):
        imported(study)
