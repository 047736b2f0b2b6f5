"""Corrections that the viewer saved come back as a data set: what was accepted or corrected, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medmtl.errors import MedmtlError, UsageError
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl_app.case_job import run_case
from medmtl_app.reviews import Reviews
from medmtl_app.workspace import StudyState, Workspace
from medmtl_training.data_check import check_dataset
from medmtl_training.importing.workspace import is_workspace
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.medmtl_app.test_reviews import Site, in_process
from tests.medmtl_training.importing.conftest import Imported
from tests.tiny import heart_volume, write_bundle


def make_workspace(root: Path) -> Path:
    """A workspace with two studies of one phantom patient: one reviewed, one not."""
    workspace = Workspace(root / "workspace")
    write_bundle(root / "models" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDMTL_MODELS", str(root / "models"))
        patch.setattr("medmtl_app.case_job.FORMATS", frozenset({"nii", "json", "prob"}))
        patch.setattr("medmtl_app.reviews.run_job", in_process)
        for seed in (1, 2):
            upload = workspace.new_upload()
            text = StudyText(study=f"review {seed}", description="heart phantom", body_part="HEART")
            write_dicom_study(workspace.upload_folder(upload) / "heart.zip", heart_volume(seed), text)
            study = workspace.add(upload, model="tiny")
            run_case(workspace.upload_folder(upload), workspace.folder(study.id), 0, "tiny")
            workspace.change(study.id, {"state": StudyState.READY})
            if seed == 1:
                site = Site(Reviews(workspace), workspace.study(study.id), workspace.folder(study.id))
                lesions = np.zeros(site.grid_shape)
                lesions[2:8, 2:8, 1:3] = 1
                site.draw("lesions", lesions)
                site.save(
                    drawn=["lesions"], lesions={"1": {"decision": "accepted"}},
                    structures={"organs.myocardium": {"decision": "accepted", "comment": ""}},
                    classes={"diagnosis": {"decision": "corrected", "class": "infarction", "comment": ""}},
                )  # fmt: skip
    return root / "workspace"


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a review."""
    return make_workspace(tmp_path_factory.mktemp("corrections"))


def test_what_the_reader_settled_is_truth(reviewed: Path, imported: Imported) -> None:
    assert is_workspace(reviewed)
    dataset, _ = imported(reviewed)
    assert (dataset.modality, len(dataset.cases)) == ("MR", 1)  # the open study teaches nothing
    case = dataset.cases[0]
    assert case.patient.startswith("patient-")
    assert case.case_labels["diagnosis"] == "infarction"
    assert case.annotated["organs"] == {"myocardium"}
    lesions, grid = read_label_map(Path(str(case.voxel_labels["lesions"])))
    assert int((lesions > 0).sum()) == 6 * 6 * 2
    assert grid.same_as(read_nifti(case.images[0]).grid)
    organs, _ = read_label_map(Path(str(case.voxel_labels["organs"])))
    names = {label.value: label.name for label in dataset.task("organs").labels}
    assert {names[int(value)] for value in np.unique(organs) if value} <= {"myocardium"}
    assert np.array_equal(read_nifti(case.images[0]).array, heart_volume(1).array)
    assert check_dataset(dataset.root).errors == 0


def test_a_study_whose_image_has_gone_or_changed_is_left_out(
    reviewed: Path, imported: Imported, tmp_path: Path
) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(reviewed, copy)
    path = next(copy.glob("studies/*/reviews/*/*/review.json"))
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**body, "image": {**body["image"], "sha256": "0" * 64}}), encoding="utf-8")
    with pytest.raises(MedmtlError, match="not the one that was reviewed"):
        imported(copy)
    path.write_text(json.dumps({**body, "image": {**body["image"], "upload": "../secret"}}), encoding="utf-8")
    with pytest.raises(MedmtlError, match="outside the workspace"):
        imported(copy)


def test_a_workspace_without_reviews_is_nothing_to_import(reviewed: Path, imported: Imported, tmp_path: Path) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(reviewed, copy)
    for folder in copy.glob("studies/*/reviews"):
        shutil.rmtree(folder)
    with pytest.raises(UsageError, match="no review"):
        imported(copy)
