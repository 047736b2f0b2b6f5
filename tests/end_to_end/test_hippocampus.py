import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.end_to_end.conftest import Run


def test_a_crop_is_read_on_its_own_voxels(run: Run, shared: Path, tmp_path: Path) -> None:
    """On a case of the training: it says so, and the outlines lie where the readers drew them."""
    data = shared / "data" / "hippocampus_mr"
    image = data / "images" / "hippocampus_222.nii.gz"
    result = run(["predict", "-i", image, "-o", tmp_path, "-m", "hippocampus", "--formats", "nii,json"])
    assert result.exit_code == 0, result.output
    findings = json.loads((tmp_path / "hippocampus_222" / "findings.json").read_text())
    assert "seen-in-training" in {warning["code"] for warning in findings["warnings"]}
    found = nibabel.load(tmp_path / "hippocampus_222" / "organs.nii.gz")
    truth = nibabel.load(data / "organs" / "hippocampus_222.nii.gz")
    assert np.allclose(found.affine, truth.affine)
    for value in (1, 2):
        one, other = (np.asarray(volume.dataobj) == value for volume in (found, truth))
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.8


def test_a_heart_is_outside_its_field_of_view(run: Run, samples: Path, tmp_path: Path) -> None:
    image = next((samples / "images").glob("Case_P002*.nii.gz"))
    result = run(["predict", "-i", image, "-o", tmp_path, "-m", "hippocampus"])
    assert (result.exit_code, result.stderr.split(" ")[0]) == (3, "field-of-view")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_whole_head_is_refused(run: Run, tmp_path: Path, axis: int) -> None:
    """A volume of 1 mm that is long along any axis is no crop round one hippocampus."""
    shape = [36, 50, 36]
    shape[axis] = 180
    voxels = np.random.default_rng(0).normal(500, 100, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "head.nii.gz")
    result = run(["predict", "-i", tmp_path / "head.nii.gz", "-o", tmp_path / "out", "-m", "hippocampus"])
    assert (result.exit_code, result.stderr.split(" ")[0]) == (3, "field-of-view")
