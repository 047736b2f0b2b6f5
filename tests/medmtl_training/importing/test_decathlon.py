import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmtl.errors import DatasetError
from medmtl.reading.nifti import read_label_map, read_nifti
from tests.medmtl_training.importing.conftest import Imported

SHAPE = (12, 11, 6)


@pytest.fixture
def decathlon(tmp_path: Path, nifti_writer: Callable[..., Path]) -> Path:
    """A Decathlon task of four cases with two channels in one four-dimensional file."""
    folder = tmp_path / "Task99_Toy"
    (folder / "imagesTr").mkdir(parents=True)
    affine = np.diag([-1.5, -1.5, 6.0, 1.0])
    for n in range(4):
        array = np.random.default_rng(n).integers(0, 500, (*SHAPE, 2)).astype(np.int16)
        nib.save(nib.Nifti1Image(array, affine), folder / "imagesTr" / f"toy_{n}.nii.gz")
        label = np.zeros(SHAPE, dtype=np.uint8)
        label[2:5] = 1
        label[5:7] = 2
        nifti_writer(folder / "labelsTr" / f"toy_{n}.nii.gz", label)
    head = {
        "name": "Toy", "modality": {"0": "T2", "1": "ADC"}, "reference": "Somebody", "licence": "CC BY 4.0",
        "labels": {"0": "background", "1": "peripheral zone", "2": "transition zone"},
        "training": [
            {"image": f"./imagesTr/toy_{n}.nii.gz", "label": f"./labelsTr/toy_{n}.nii.gz", "fold": n % 2}
            for n in range(4)
        ],
        "test": [],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(head), encoding="utf-8")
    return folder


def test_channels_become_files_and_folds_stay(decathlon: Path, imported: Imported) -> None:
    dataset, _ = imported(decathlon)
    assert (dataset.name, dataset.modality, dataset.channels) == ("Toy", "MR", ("T2", "ADC"))
    assert (dataset.licence, dataset.citation) == ("CC BY 4.0", "Somebody")
    assert [case.fold for case in dataset.cases] == [0, 1, 0, 1]
    source = np.asarray(nib.load(decathlon / "imagesTr" / "toy_3.nii.gz").dataobj)
    volumes = [read_nifti(path) for path in dataset.case("toy_3").images]
    for channel, volume in enumerate(volumes):
        assert np.array_equal(volume.array, source[..., channel])
    labels, grid = read_label_map(Path(str(dataset.case("toy_3").voxel_labels["organs"])))
    assert grid.same_as(volumes[0].grid)
    assert np.unique(labels).tolist() == [0, 1, 2]


def test_a_list_that_leads_out_of_its_folder_is_refused(decathlon: Path, imported: Imported) -> None:
    head = json.loads((decathlon / "dataset.json").read_text(encoding="utf-8"))
    head["training"][0]["image"] = "../../other.nii.gz"
    (decathlon / "dataset.json").write_text(json.dumps(head), encoding="utf-8")
    with pytest.raises(DatasetError, match="leads out"):
        imported(decathlon)


def test_a_missing_image_is_one_case_less(decathlon: Path, imported: Imported) -> None:
    (decathlon / "imagesTr" / "toy_2.nii.gz").unlink()
    dataset, result = imported(decathlon, code=1)
    assert "unreadable toy_2" in result.output
    assert len(dataset.cases) == 3
