from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmtl.errors import UsageError
from medmtl_training.importing.table import case_name, read_table
from tests.medmtl_training.importing.conftest import Imported

SHAPE = (12, 11, 6)


@pytest.fixture
def folder(tmp_path: Path, nifti_writer: Callable[..., Path]) -> Path:
    """Six images, masks for half of them, and a table."""
    source = tmp_path / "cohort"
    for n in range(6):
        nifti_writer(
            source / "images" / f"p{n}.nii.gz", np.random.default_rng(n).integers(0, 90, SHAPE).astype(np.int16)
        )
        if n % 2:
            mask = np.zeros(SHAPE, dtype=np.uint8)
            mask[3:6, 3:6, 2:4] = 1
            nifti_writer(source / "masks" / f"p{n}.nii.gz", mask)
    rows = [f"p{n},{'benign' if n < 3 else 'malignant'},{n // 2},site {n % 2}" for n in range(6)]
    (source / "list.csv").write_text("\n".join(["Name,Subtype,patient,site", *rows, "p9,benign,9,x"]), encoding="utf-8")
    return source


def test_name_and_subtype_make_a_data_set(folder: Path, imported: Imported) -> None:
    masks = ("--masks", str(folder / "masks"), "--task", "lesions")
    dataset, result = imported(folder / "list.csv", "--modality", "CT", *masks)
    assert [task.name for task in dataset.tasks] == ["lesions", "diagnosis"]
    assert [case.case_labels["diagnosis"] for case in dataset.cases] == ["benign"] * 3 + ["malignant"] * 3
    assert [case.patient for case in dataset.cases] == ["0", "0", "1", "1", "2", "2"]
    assert len({case.fold for case in dataset.cases}) == 3
    assert ["lesions" in case.voxel_labels for case in dataset.cases] == [False, True] * 3
    assert dataset.cases[3].columns == {"site": "site 1"}
    assert "1 rows of the table have no image" in result.output


def test_a_column_can_be_named_as_class(folder: Path, imported: Imported) -> None:
    call = ("--modality", "MR", "--class-column", "site=centre")
    dataset, _ = imported(folder / "list.csv", *call)
    assert [label.name for label in dataset.task("centre").labels] == ["site_0", "site_1", "x"]
    assert dataset.cases[0].columns == {"Subtype": "benign"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Name,Subtype\na,0\na,1\n", "two rows"),
        ("Name,Subtype\na,0\nb\n", "different length"),
        ("Name,Subtype\n", "no rows"),
        ("Name,Subtype\na,0\nb,0\n", "1 different values"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_table(tmp_path / "t.csv", {})


@pytest.mark.parametrize("text", ["a", "a.nii.gz", "a_0000.nii.gz", "images/a.nii", " a_0000 "])
def test_cells_that_name_a_case(text: str) -> None:
    assert case_name(text) == "a"
