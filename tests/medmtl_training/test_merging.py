from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from medmtl.errors import DatasetError
from medmtl.reading.nifti import read_label_map
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.data_check import check_dataset
from medmtl_training.data_cli import data
from medmtl_training.merging import merged
from tests.medmtl_training.conftest import DatasetWriter

SCT = {"scheme": "SCT"}
LIVER = {"name": "liver", "category": "organ", "code": {**SCT, "value": "10200004", "meaning": "Liver"}}
SPLEEN = {"name": "spleen", "category": "organ", "code": {**SCT, "value": "78961009", "meaning": "Spleen"}}
HEPAR = {**LIVER, "name": "hepar"}
TUMOUR = {"name": "tumour", "category": "lesion"}


def head(name: str, tasks: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {"name": name, "modality": "CT", "channels": ["CT"], "tasks": tasks, "licence": f"licence of {name}",
            "citation": f"paper of {name}", **further}  # fmt: skip


def organs(*labels: dict[str, Any]) -> dict[str, Any]:
    return {"organs": {"kind": "segmentation", "labels": list(labels)}}


def make(root: Path, body: dict[str, Any], rows: list[dict[str, str]], values: int = 2) -> Dataset:
    """A set whose maps hold value n in the n-th slab."""
    writer = DatasetWriter(root=root, head=body)
    array = np.zeros(writer.shape, dtype=np.uint8)
    for value in range(1, values + 1):
        array[3 * value : 3 * value + 3] = value
    for number, row in enumerate(rows):
        voxel = [name for name, task in body["tasks"].items() if task["kind"] == "segmentation"]
        image = np.random.default_rng([number, *root.name.encode()]).normal(100, 10, writer.shape).astype(np.int16)
        writer.add(row, {name: array for name in voxel}, image)
    return read_dataset(writer.write())[0]


def merge(folder: Path, *sets: Dataset) -> tuple[Dataset, str]:
    result = CliRunner().invoke(
        data, ["merge", *(str(one.root) for one in sets), "-o", str(folder / "merged")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return read_dataset(folder / "merged")[0], result.output


ROWS = [{"case": f"c{n}", "patient": f"p{n}", "fold": str(n)} for n in range(2)]
OTHERS = [{"case": f"d{n}", "patient": f"q{n}", "fold": str(n)} for n in range(2)]


def test_labels_meet_by_name_and_by_code_and_maps_are_renumbered(tmp_path: Path) -> None:
    first = make(tmp_path / "a", head("a", organs(LIVER, {"name": "aorta"})), ROWS)
    second = make(tmp_path / "b", head("b", organs(SPLEEN, HEPAR)), OTHERS)
    dataset, said = merge(tmp_path, first, second)
    assert [(label.name, label.value) for label in dataset.task("organs").labels] == [
        ("liver", 1), ("aorta", 2), ("spleen", 3),
    ]  # fmt: skip
    assert "organs.hepar of b is liver" in said
    assert [case.annotated["organs"] for case in dataset.cases] == [{"liver", "aorta"}] * 2 + [{"liver", "spleen"}] * 2
    array, _ = read_label_map(Path(str(dataset.case("d0").voxel_labels["organs"])))
    assert (array[3:6] == 3).all()  # spleen
    assert (array[6:9] == 1).all()  # hepar
    assert dataset.cases[3].columns["source"] == "b"
    assert dataset.licence == "a: licence of a; b: licence of b"
    assert check_dataset(dataset.root).errors == 0


def test_disjoint_tasks_stay_tasks_of_their_own(tmp_path: Path) -> None:
    lesions = {"lesions": {"kind": "segmentation", "labels": [TUMOUR]},
               "diagnosis": {"kind": "classification", "classes": ["benign", "malignant"]}}  # fmt: skip
    first = make(tmp_path / "a", head("a", organs(LIVER)), ROWS, 1)
    second = make(tmp_path / "b", head("b", lesions), [{**row, "diagnosis": "benign"} for row in OTHERS], 1)
    dataset, _ = merge(tmp_path, first, second)
    assert [task.name for task in dataset.tasks] == ["organs", "lesions", "diagnosis"]
    assert [sorted(case.voxel_labels) for case in dataset.cases] == [["organs"]] * 2 + [["lesions"]] * 2
    assert [case.case_labels["diagnosis"] for case in dataset.cases] == [None, None, "benign", "benign"]
    assert all(value is None for case in dataset.cases for value in case.annotated.values())  # all of each were drawn


def test_classes_of_other_words_are_another_question(tmp_path: Path) -> None:
    def classes(*names: str, **further: str) -> dict[str, Any]:
        return {"diagnosis": {"kind": "classification", "classes": list(names), **further}}

    first = make(tmp_path / "a", head("a", classes("well", "ill", basis="pathology")),
                 [{**row, "diagnosis": "ill"} for row in ROWS])  # fmt: skip
    second = make(tmp_path / "b", head("b", classes("Well", "ILL", basis="readers")),
                  [{**row, "diagnosis": "ILL"} for row in OTHERS])  # fmt: skip
    third = make(tmp_path / "c", head("c", classes("benign", "malignant")),
                 [{"case": "e", "patient": "r", "fold": "0", "diagnosis": "benign"}])  # fmt: skip
    dataset, said = merge(tmp_path, first, second, third)
    assert [task.name for task in dataset.tasks] == ["diagnosis", "diagnosis_c"]
    assert dataset.case("d1").case_labels == {"diagnosis": "ill", "diagnosis_c": None}
    assert dataset.case("e").case_labels == {"diagnosis": None, "diagnosis_c": "benign"}
    assert "task diagnosis of c becomes diagnosis_c" in said
    assert "conflict diagnosis of b: its truth rests on readers, not pathology" in said


def test_conflicts_are_listed(tmp_path: Path) -> None:
    other = {**LIVER, "code": {**SCT, "value": "123", "meaning": "Liver?"}}
    first = make(tmp_path / "a", head("a", organs(LIVER)), ROWS, 1)
    second = make(tmp_path / "b", head("b", organs(other)), OTHERS, 1)
    _, said = merge(tmp_path, first, second)
    assert "conflict organs.liver of b: code SCT 123 there, SCT 10200004 before" in said


def test_cases_and_patients_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first = make(tmp_path / "a", head("a", organs(LIVER)), ROWS, 1)
    second = make(tmp_path / "b", head("b", organs(LIVER)), ROWS, 1)
    dataset, _ = merge(tmp_path, first, second)
    assert [case.name for case in dataset.cases] == ["a_c0", "a_c1", "b_c0", "b_c1"]
    assert [case.patient for case in dataset.cases] == ["a_p0", "a_p1", "b_p0", "b_p1"]


def test_patients_without_a_fold_are_dealt_into_those_in_use(tmp_path: Path) -> None:
    first = make(tmp_path / "a", head("a", organs(LIVER)), ROWS, 1)
    second = make(tmp_path / "b", head("b", organs(LIVER)), [{**row, "fold": ""} for row in OTHERS], 1)
    dataset, _ = merge(tmp_path, first, second)
    assert sorted(case.fold for case in dataset.cases if case.fold is not None) == [0, 0, 1, 1]


def test_another_modality_is_another_model(tmp_path: Path) -> None:
    first = make(tmp_path / "a", head("a", organs(LIVER)), ROWS, 1)
    second = make(tmp_path / "b", head("b", organs(LIVER), modality="MR"), OTHERS, 1)
    with pytest.raises(DatasetError, match="train a model for each"):
        merged([first, second])
