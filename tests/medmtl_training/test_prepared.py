import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medmtl.errors import Code, DatasetError, TrainingError
from medmtl.preparation.plan import Plan
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.prepared import PreparedCase, read_prepared
from medmtl_training.preparing import prepare_case
from tests.medmtl_training.conftest import DatasetWriter
from tests.tiny import STACK

AS_SCANNED = replace(STACK, spacing=(None, None, None))


def prepared(folder: Path, name: str, plan: Plan = AS_SCANNED) -> tuple[PreparedCase, Dataset]:
    dataset, _ = read_dataset(folder)
    prepare_case(dataset.case(name), dataset, plan, folder / "prepared")
    return read_prepared(folder / "prepared", name, dataset.tasks), dataset


def test_voxels_and_truth_of_a_case(toy: Path) -> None:
    case, dataset = prepared(toy, "c01")
    assert (case.name, case.patient, case.fold) == ("c01", "p01", 0)
    assert case.image.shape == (1, 24, 22, 6)
    assert case.image.dtype == np.float32
    assert abs(float(case.image.mean())) < 0.05
    assert int((case.labels["lesions"] == 1).sum()) == 32
    assert int((case.labels["organs"] == 1).sum()) == 16 * 14 * 4
    assert case.case_labels == {"diagnosis": 1}
    assert case.spacing == pytest.approx((1.5, 1.5, 6.0))
    assert case.voxel_ml == pytest.approx(0.0135)
    assert case.annotated == {}
    assert case.filled == 32 + 16 + 16 * 14 * 4
    assert case.box is not None
    assert case.box.tolist() == [[4, 4, 1], [19, 17, 4]]
    assert set(case.foreground) == {"lesions.core", "lesions.rim", "organs.body"}
    for where in case.foreground["lesions.core"]:
        assert case.labels["lesions"][tuple(where)] == 1
    assert len(case.hashes) == 1
    assert len(case.hashes[0]) == 64
    assert dataset.case("c01").has(dataset.task("lesions"))


def test_a_coarser_working_grid_keeps_the_millilitres(toy: Path) -> None:
    case, _ = prepared(toy, "c01", replace(STACK, spacing=(3.0, 3.0, None)))
    assert case.image.shape == (1, 12, 11, 6)
    assert int((case.labels["organs"] == 1).sum()) * case.voxel_ml == pytest.approx(16 * 14 * 4 * 0.0135, rel=0.01)


def test_partly_labelled_cases(dataset_writer: DatasetWriter) -> None:
    zeros = np.zeros(dataset_writer.shape, np.uint8)
    dataset_writer.add({"case": "a", "diagnosis": ""}, {"organs": zeros})
    dataset_writer.add({"case": "b", "diagnosis": "well", "lesions:annotated": "core"}, {"lesions": zeros})
    folder = dataset_writer.write()
    only_organs, _ = prepared(folder, "a")
    assert set(only_organs.labels) == {"organs"}
    assert only_organs.case_labels == {"diagnosis": None}
    assert (only_organs.box, only_organs.filled, dict(only_organs.foreground)) == (None, 0, {})
    part, _ = prepared(folder, "b")
    assert part.annotated == {"lesions": ("core",)}
    assert part.case_labels == {"diagnosis": 0}


def test_overlapping_masks_and_their_missing_files(dataset_writer: DatasetWriter) -> None:
    dataset_writer.head["tasks"] = {
        "parts": {"kind": "regions", "labels": ["front", "back"]},
        "signs": {"kind": "multilabel", "classes": ["x", "y", "z"]},
        "age": {"kind": "regression"},
        "grade": {"kind": "ordinal", "classes": ["low", "high"]},
    }
    front = np.zeros(dataset_writer.shape, np.uint8)
    front[:4] = 1
    dataset_writer.add({"case": "a", "signs": "x;z", "age": "61.5", "grade": "high"}, {"parts/front": front})
    case, _ = prepared(dataset_writer.write(), "a")
    assert case.labels["parts"].shape == (2, 24, 22, 6)
    assert int((case.labels["parts"][0] == 1).sum()) == 4 * 22 * 6
    assert np.unique(case.labels["parts"][1]).tolist() == [255]
    assert case.annotated == {"parts": ("front",)}
    assert case.case_labels == {"signs": [0, 2], "age": 61.5, "grade": 1}
    assert case.filled == 4 * 22 * 6


def test_wrong_label_values_and_grids_are_named_with_their_case(dataset_writer: DatasetWriter) -> None:
    wrong = np.zeros(dataset_writer.shape, np.uint8)
    wrong[0, 0, 0] = 7
    dataset_writer.add({"case": "a"}, {"organs": wrong})
    dataset_writer.add({"case": "b"}, {"organs": np.zeros((24, 22, 5), np.uint8)})
    folder = dataset_writer.write()
    for name, code in (("a", Code.BAD_LABEL_VALUE), ("b", Code.GRID_MISMATCH)):
        with pytest.raises(DatasetError, match=f"case {name}") as caught:
            prepared(folder, name)
        assert caught.value.code is code
        assert not (folder / "prepared" / name).exists()


def test_a_case_that_was_prepared_in_part_is_prepared_again(toy: Path) -> None:
    case, dataset = prepared(toy, "c01")
    folder = toy / "prepared" / "c01"
    (folder / "image.npy").write_bytes(b"half of it")
    with pytest.raises(TrainingError) as caught:
        read_prepared(toy / "prepared", "c01", dataset.tasks)
    assert caught.value.code is Code.UNREADABLE
    (folder / "case.json").rename(folder / "case.tmp")  # as a killed run leaves it
    again, _ = prepared(toy, "c01")
    assert np.array_equal(again.image, case.image)


def test_arrays_that_are_pickles_are_refused(toy: Path) -> None:
    _, dataset = prepared(toy, "c01")
    np.save(toy / "prepared" / "c01" / "image.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(TrainingError):
        read_prepared(toy / "prepared", "c01", dataset.tasks)


def test_hashes_are_those_of_the_files(toy: Path) -> None:
    from medmtl_training.evaluation.provenance import image_hashes

    case, dataset = prepared(toy, "c03")
    assert case.hashes == image_hashes(dataset.case("c03"))
    meta = json.loads((toy / "prepared" / "c03" / "case.json").read_text(encoding="utf-8"))
    assert meta["labelled"] == ["lesions", "organs"]


def test_lesions_and_their_hosts_stand_for_a_case_where_there_are_any() -> None:
    from medmtl.task import tasks_from_mapping
    from medmtl_training.prepared import _deciding, count_deciding

    organs = {"kind": "segmentation", "labels": ["spleen", "liver", "aorta"]}
    lesions = {"kind": "segmentation", "labels": ["cyst", "tumour"], "inside": "organs.liver"}
    found = np.array([[[0, 1, 2, 2, 3, 3]]], dtype=np.uint8)
    spots = np.array([[[0, 0, 1, 0, 0, 0]]], dtype=np.uint8)
    both = _deciding(tasks_from_mapping({"organs": organs, "lesions": lesions}))
    assert both == {"lesions": (0, 1), "organs": (1,)}
    assert count_deciding({"organs": found, "lesions": spots}, both) == 3
    alone = _deciding(tasks_from_mapping({"organs": organs}))
    assert count_deciding({"organs": found}, alone) == 5
