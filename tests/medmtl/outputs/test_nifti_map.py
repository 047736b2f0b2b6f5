import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.outputs.nifti_map import mask_files, nifti_bytes, probability_files
from medmtl.result import CaseResult
from medmtl.task import tasks_from_mapping

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load(data: bytes, folder: Path) -> nib.Nifti1Image:
    path = folder / "a.nii.gz"
    path.write_bytes(data)
    return nib.load(path)


def test_masks_come_back_on_the_input_grid(spheres: CaseResult, tmp_path: Path) -> None:
    files = dict(mask_files(spheres))
    assert set(files) == {"lesions.nii.gz", "organs.nii.gz"}
    for name, data in files.items():
        image = load(data, tmp_path)
        np.testing.assert_array_equal(np.asarray(image.dataobj), spheres.masks[name.split(".")[0]])
        # an affine read from a float32 sform is written bit for bit
        sform = image.header.get_sform()
        assert np.array_equal(sform, TO_RAS @ spheres.volume.grid.affine)
        assert image.header.get_xyzt_units() == ("mm", "unknown")
        np.testing.assert_allclose(image.header.get_qform(), sform, atol=1e-4)
        np.testing.assert_allclose(image.header.get_zooms(), spheres.volume.grid.spacing, rtol=1e-6)


def test_same_mask_same_bytes(spheres: CaseResult) -> None:
    assert dict(mask_files(spheres)) == dict(mask_files(spheres))


def test_a_sheared_grid_has_an_sform_only(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    affine[1, 2] = 1.5
    image = load(nifti_bytes(np.ones((4, 5, 6), np.uint8), Grid(shape=(4, 5, 6), affine=affine)), tmp_path)
    assert image.header.get_qform(coded=True)[1] == 0
    np.testing.assert_array_equal(image.affine, TO_RAS @ affine)


def test_regions_are_one_file_per_label(spheres: CaseResult, tmp_path: Path) -> None:
    tasks = tasks_from_mapping({"zones": {"kind": "regions", "labels": ["whole", "core"]}})
    masks = {"zones": np.stack([spheres.masks["organs"] > 0, spheres.masks["lesions"] == 2])}
    result = dataclasses.replace(spheres, tasks=tasks, masks=masks, probabilities={})
    files = dict(mask_files(result))
    assert set(files) == {"zones/whole.nii.gz", "zones/core.nii.gz"}
    core = load(files["zones/core.nii.gz"], tmp_path)
    np.testing.assert_array_equal(np.asarray(core.dataobj), masks["zones"][1])


def test_probabilities_are_cropped_and_lie_where_the_structure_is(spheres: CaseResult, tmp_path: Path) -> None:
    files = dict(probability_files(spheres))
    assert set(files) == {"probabilities/lesions_infarct.nii.gz", "probabilities/lesions_no_reflow.nii.gz"}
    image = load(files["probabilities/lesions_infarct.nii.gz"], tmp_path)
    found = image.get_fdata()
    assert found.size < spheres.volume.array.size / 2
    assert image.get_data_dtype() == np.uint8
    assert abs(found.max() - 0.9) < 1 / 255
    at = np.argwhere(found > 0.5)
    lps = nib.affines.apply_affine(TO_RAS @ image.affine, at)
    index = np.rint(spheres.volume.grid.to_index(lps)).astype(int)
    np.testing.assert_array_equal(index[np.lexsort(index.T)], where_sorted(spheres.masks["lesions"] == 1))


def where_sorted(mask: np.ndarray) -> np.ndarray:
    found = np.argwhere(mask)
    return found[np.lexsort(found.T)]
