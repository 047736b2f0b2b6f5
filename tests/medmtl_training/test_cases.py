from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medmtl.errors import Code, DatasetError
from medmtl_training.cases import read_dataset

SETS = {
    "abdomen_ct": (24, 24, 4, 1),
    "cardiac_cine_mr": (80, 79, 5, 2),
    "cardiac_lge_mr": (76, 76, 5, 1),
    "hippocampus_mr": (193, 126, 5, 1),
    "lung_nodule_ct": (746, 413, 5, 1),
}


@pytest.mark.parametrize("name", SETS)
def test_real_data_sets_load(shared: Path, name: str) -> None:
    cases, patients, folds, channels = SETS[name]
    dataset, notices = read_dataset(shared / "data" / name)
    assert len(dataset.cases) == cases
    assert len({case.patient for case in dataset.cases}) == patients
    assert len(dataset.folds) == folds
    assert len(dataset.channels) == channels
    assert dataset.licence
    assert [notice.code for notice in notices] == ([Code.NO_PATIENT_COLUMN] if name == "cardiac_lge_mr" else [])
    for case in dataset.cases:
        assert len(case.images) == channels
        assert all(path.is_file() for path in case.images)
        for task in dataset.tasks:
            if task.is_voxel:
                assert case.voxel_labels[task.name].is_file()


def test_every_case_with_a_dataset_yaml_is_among_them(shared: Path) -> None:
    assert {path.parent.name for path in (shared / "data").glob("*/dataset.yaml")} == set(SETS)


def test_unknown_truth_is_none(shared: Path) -> None:
    dataset, _ = read_dataset(shared / "data" / "lung_nodule_ct")
    answers = [case.case_labels["diagnosis"] for case in dataset.cases]
    assert (answers.count("benign"), answers.count("malignant"), answers.count(None)) == (212, 231, 303)


def test_folds_part_the_cases_by_patient(shared: Path) -> None:
    dataset, _ = read_dataset(shared / "data" / "hippocampus_mr")
    seen: list[str] = []
    for number in dataset.folds:
        training, held_out = dataset.fold(number)
        assert len(training) + len(held_out) == len(dataset.cases)
        assert not {case.patient for case in training} & {case.patient for case in held_out}
        seen += [case.name for case in held_out]
    assert sorted(seen) == sorted(case.name for case in dataset.cases)


def test_a_case_may_lack_any_label(dataset_writer: Any) -> None:
    empty = np.zeros(dataset_writer.shape)
    dataset_writer.add({"case": "a", "patient": "p", "fold": "0", "diagnosis": "ill", "site": "x"}, {"organs": empty})
    dataset_writer.add({"case": "b", "patient": "q"}, {"lesions": empty})
    dataset, _ = read_dataset(dataset_writer.write())
    first, second = dataset.cases
    assert set(first.voxel_labels) == {"organs"}
    assert set(second.voxel_labels) == {"lesions"}
    assert (first.case_labels["diagnosis"], second.case_labels["diagnosis"]) == ("ill", None)
    assert (first.fold, second.fold) == (0, None)
    assert first.columns == {"site": "x"}
    assert [first.has(task) for task in dataset.tasks] == [False, True, True]


def test_annotated_column_names_the_labels_drawn(dataset_writer: Any) -> None:
    empty = np.zeros(dataset_writer.shape)
    dataset_writer.add({"case": "a", "patient": "p", "lesions:annotated": "rim"}, {"lesions": empty})
    dataset_writer.add({"case": "b", "patient": "q", "lesions:annotated": "core;rim"}, {"lesions": empty})
    dataset_writer.add({"case": "c", "patient": "r", "lesions:annotated": ""}, {"lesions": empty})
    cases = read_dataset(dataset_writer.write())[0].cases
    assert [case.annotated["lesions"] for case in cases] == [frozenset({"rim"}), None, None]
    assert not cases[0].columns


def test_regions_multilabel_and_regression(dataset_writer: Any) -> None:
    dataset_writer.head["tasks"] = {
        "zones": {"kind": "regions", "labels": ["inner", "outer"]},
        "signs": {"kind": "multilabel", "classes": ["oedema", "scar"]},
        "ef": {"kind": "regression", "unit": "%"},
    }
    empty = np.zeros(dataset_writer.shape)
    dataset_writer.add({"case": "a", "patient": "p", "signs": "scar; oedema", "ef": "55.5"}, {"zones/inner": empty})
    both = {"zones/inner": empty, "zones/outer": empty}
    dataset_writer.add({"case": "b", "patient": "q", "signs": "none", "ef": ""}, both)
    first, second = read_dataset(dataset_writer.write())[0].cases
    assert first.case_labels == {"signs": ("oedema", "scar"), "ef": 55.5}
    assert second.case_labels == {"signs": (), "ef": None}
    assert set(first.voxel_labels["zones"]) == {"inner"}
    assert first.annotated["zones"] == frozenset({"inner"})
    assert second.annotated["zones"] is None


def test_several_channels(dataset_writer: Any, nifti_writer: Any) -> None:
    dataset_writer.head["channels"] = ["T1", "T2"]
    image = np.ones(dataset_writer.shape, dtype=np.int16)
    for index in (0, 1):
        nifti_writer(dataset_writer.root / "images" / f"a_{index:04d}.nii.gz", image)
    dataset_writer.rows.append({"case": "a", "patient": "p"})
    dataset, _ = read_dataset(dataset_writer.write())
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    (dataset_writer.root / "images" / "a_0001.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"a_0001.*T2") as caught:
        read_dataset(dataset_writer.root)
    assert caught.value.code == Code.BAD_CASES


ROW = {"case": "b", "patient": "q", "fold": "1", "diagnosis": "well"}
BAD_ROWS = {
    "image missing": ({"case": "absent"}, "absent.nii.gz is missing"),
    "doubled case": ({"case": "a", "fold": "0", "patient": "p"}, "listed twice"),
    "unknown class": ({"diagnosis": "dead"}, "'dead'"),
    "patient in two folds": ({"patient": "p"}, "two folds"),
    "fold that is no number": ({"fold": "first"}, "'first'"),
    "case name that leaves the folder": ({"case": "../b"}, "no file name"),
    "unknown annotated label": ({"organs:annotated": "tail"}, "tail"),
    "annotated of no task": ({"heads:annotated": "x"}, "heads:annotated"),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_bad_cases_are_refused(dataset_writer: Any, fault: str) -> None:
    change, words = BAD_ROWS[fault]
    labels = {"organs": np.zeros(dataset_writer.shape)}
    for name in ("a", "b"):
        dataset_writer.add({**ROW, "case": name, "patient": "p" if name == "a" else "q", "fold": "0"}, labels)
    read_dataset(dataset_writer.write())
    dataset_writer.rows[1] = {**ROW, **change}
    with pytest.raises(DatasetError, match=words) as caught:
        read_dataset(dataset_writer.write())
    assert caught.value.code == (Code.PATIENT_IN_TWO_FOLDS if words == "two folds" else Code.BAD_CASES)


@pytest.mark.parametrize(
    "text", ["case,case\na,a\n", "case,fold\na\n", "name\na\n", "case\n", "", 'case\n"a\n'], ids=repr
)
def test_malformed_csv_is_refused(toy: Path, text: str) -> None:
    (toy / "cases.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        read_dataset(toy)
    assert caught.value.code == Code.BAD_CASES


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", None), ("channels", "T1"), ("channels", ["T1", "T1"]), ("tasks", ["lesions"]), ("modality", "")],
)
def test_malformed_head_is_refused(toy: Path, key: str, value: Any) -> None:
    head = yaml.safe_load((toy / "dataset.yaml").read_text(encoding="utf-8"))
    (toy / "dataset.yaml").write_text(yaml.safe_dump({**head, key: value}), encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        read_dataset(toy)
    assert caught.value.code == Code.BAD_DATASET


def test_yaml_that_is_none_and_a_folder_that_is_none(toy: Path, tmp_path: Path) -> None:
    (toy / "dataset.yaml").write_text("name: [unclosed", encoding="utf-8")
    for folder in (toy, tmp_path / "nowhere"):
        with pytest.raises(DatasetError) as caught:
            read_dataset(folder)
        assert caught.value.code == Code.BAD_DATASET


def test_a_fold_without_cases_is_refused(toy: Path) -> None:
    dataset, _ = read_dataset(toy)
    with pytest.raises(DatasetError, match="0, 1, 2"):
        dataset.fold(7)
