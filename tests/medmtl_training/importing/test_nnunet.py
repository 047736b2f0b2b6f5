import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, MedmtlError
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl.task import Kind
from medmtl_training.data_check import check_dataset
from tests.medmtl_training.importing.conftest import Imported

SHAPE = (16, 14, 5)
Writer = Callable[..., Path]


@pytest.fixture
def raw(tmp_path: Path, nifti_writer: Writer) -> Callable[..., Path]:
    """An nnU-Net raw folder of six cases, whose map holds every value of `labels`."""

    def make(labels: dict[str, Any], channels: tuple[str, ...] = ("T2",), **head: Any) -> Path:
        folder = tmp_path / "nnUNet_raw" / "Dataset007_Toy"
        values = sorted({n for value in labels.values() for n in (value if isinstance(value, list) else [value])})
        for index in range(6):
            for channel in range(len(channels)):
                image = np.random.default_rng(10 * index + channel).normal(100, 10, SHAPE).astype(np.int16)
                nifti_writer(folder / "imagesTr" / f"toy_{index:03d}_{channel:04d}.nii.gz", image)
            array = np.zeros(SHAPE, dtype=np.uint8)
            for place, value in enumerate(values):
                array[2 * place : 2 * place + 2] = value
            nifti_writer(folder / "labelsTr" / f"toy_{index:03d}.nii.gz", array)
        body = {"channel_names": dict(enumerate(channels)), "labels": labels, "numTraining": 6,
                "file_ending": ".nii.gz", **(head.get("instead") or head)}  # fmt: skip
        (folder / "dataset.json").write_text(json.dumps(body), encoding="utf-8")
        return folder

    return make


def test_exclusive_labels_keep_their_names_and_voxels(raw: Callable[..., Path], imported: Imported) -> None:
    source = raw({"background": 0, "left kidney": 1, "spleen": 2})
    (source / "splits_final.json").write_text(
        json.dumps([{"train": [], "val": [f"toy_{n:03d}" for n in range(6) if n % 3 == fold]} for fold in range(3)])
    )
    dataset, result = imported(source)
    assert (dataset.name, dataset.modality, dataset.channels) == ("Toy", "MR", ("T2",))
    assert [(task.name, task.kind, [label.name for label in task.labels]) for task in dataset.tasks] == [
        ("organs", Kind.SEGMENTATION, ["left_kidney", "spleen"])
    ]
    assert {case.name: case.fold for case in dataset.cases} == {f"toy_{n:03d}": n % 3 for n in range(6)}
    assert "column patient" in result.output
    before, _ = read_label_map(source / "labelsTr" / "toy_002.nii.gz")
    path = dataset.case("toy_002").voxel_labels["organs"]
    assert isinstance(path, Path)
    assert np.array_equal(read_label_map(path)[0], before)
    assert check_dataset(dataset.root).errors == 0


def test_an_organ_with_its_tumour_becomes_two_tasks(raw: Callable[..., Path], imported: Imported) -> None:
    dataset, result = imported(raw({"background": 0, "pancreas": 1, "tumour": 2}, ("CT",)))
    assert {task.name: [label.name for label in task.labels] for task in dataset.tasks} == {
        "lesions": ["tumour"], "organs": ["pancreas"],
    }  # fmt: skip
    assert dataset.task("lesions").inside == "organs.pancreas"
    assert dataset.task("lesions").labels[0].category == "lesion"
    case = dataset.cases[0]
    organ, lesion = (read_label_map(Path(str(case.voxel_labels[name])))[0] for name in ("organs", "lesions"))
    assert (int((organ > 0).sum()), int((lesion > 0).sum())) == (4 * 14 * 5, 2 * 14 * 5)
    assert "includes the lesions" in result.output
    assert [case.fold for case in dataset.cases] == [0, 1, 2, 3, 4, 0]  # no splits: dealt out


def test_task_keeps_one_map_in_one_task(raw: Callable[..., Path], imported: Imported) -> None:
    dataset, _ = imported(raw({"background": 0, "pancreas": 1, "tumour": 2}, ("CT",)), "--task", "organs")
    assert [[label.name for label in task.labels] for task in dataset.tasks] == [["pancreas", "tumour"]]


def test_region_classes_overlap_and_the_ignore_label_is_ignored(raw: Callable[..., Path], imported: Imported) -> None:
    labels = {"background": 0, "whole_tumor": [1, 2, 3], "tumor_core": [2, 3], "enhancing": 3, "ignore": 4}
    dataset, _ = imported(raw(labels, ("T1", "FLAIR"), regions_class_order=[1, 2, 3]))
    task = dataset.tasks[0]
    assert (task.name, task.kind) == ("lesions", Kind.REGIONS)
    files = dataset.cases[0].voxel_labels["lesions"]
    assert not isinstance(files, Path)
    counts = {}
    for name, path in files.items():
        array, _ = read_label_map(path)
        counts[name] = (int((array == 1).sum()), int((array == 255).sum()))
    slab = 2 * 14 * 5
    assert counts == {"whole_tumor": (3 * slab, slab), "tumor_core": (2 * slab, slab), "enhancing": (slab, slab)}
    assert len(dataset.cases[0].images) == 2
    assert read_nifti(dataset.cases[0].images[1]).array.shape == SHAPE


def test_a_value_that_is_not_declared_leaves_the_case_out(
    raw: Callable[..., Path], imported: Imported, nifti_writer: Writer
) -> None:
    source = raw({"background": 0, "spleen": 1})
    nifti_writer(source / "labelsTr" / "toy_001.nii.gz", np.full(SHAPE, 9, dtype=np.uint8))
    (source / "imagesTr" / "toy_004_0000.nii.gz").rename(source / "imagesTr" / "toy_004_0001.nii.gz")
    (source / "labelsTr" / "toy_005.nii.gz").unlink()
    dataset, result = imported(source, code=1)
    assert "bad-label-value toy_001: the label map holds [9]" in result.output
    assert [case.name for case in dataset.cases] == ["toy_000", "toy_002", "toy_003", "toy_004", "toy_005"]
    assert dataset.case("toy_005").voxel_labels == {}  # an image without labels is not annotated
    assert sorted(path.name for path in (dataset.root / "organs").iterdir()) == [
        f"toy_{n:03d}.nii.gz" for n in (0, 2, 3, 4)
    ]
    assert not (dataset.root / "images" / "toy_001.nii.gz").exists()


def test_classes_are_joined_by_name(raw: Callable[..., Path], imported: Imported, tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    rows = "\n".join(f"toy_{n:03d}.nii.gz,{n % 3},{50 + n}" for n in range(5))
    table.write_text(f"Name,Subtype,age\n{rows}\nstray,1,1\n", encoding="utf-8")
    dataset, result = imported(raw({"background": 0, "spleen": 1}), "--table", str(table))
    task = dataset.task("diagnosis")
    assert [label.name for label in task.labels] == ["subtype_0", "subtype_1", "subtype_2"]
    assert [case.case_labels["diagnosis"] for case in dataset.cases] == [
        "subtype_0", "subtype_1", "subtype_2", "subtype_0", "subtype_1", None,
    ]  # fmt: skip
    assert dataset.cases[1].columns["age"] == "51"
    assert "1 cases have no row" in result.output
    assert "1 rows of the table name no case" in result.output


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"labels": {"background": 0}}, Code.BAD_DATASET),
        ({"channel_names": None}, Code.BAD_DATASET),
        ({"file_ending": ".mha"}, Code.BAD_DATASET),
        ({"channel_names": {"0": "noise"}}, Code.BAD_OPTION),  # CT or MR?
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    raw: Callable[..., Path], imported: Imported, change: dict[str, Any], code: Code
) -> None:
    source = raw({"background": 0, "spleen": 1}, instead=change)
    with pytest.raises(MedmtlError) as caught:
        imported(source, "--format", "nnunet")
    assert caught.value.code is code
