import base64
import io
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from medmtl_training.cases import read_dataset
from medmtl_training.evaluation.pictures import FOUND_COLOUR, TRUTH_COLOUR, worst_pictures
from medmtl_training.evaluation.predictions import open_predictions
from medmtl_training.evaluation.score import ScoreSettings, score


def test_worst_case_comes_first_with_both_outlines(
    toy: Path, tmp_path: Path, nifti_writer: Callable[..., Path]
) -> None:
    quadrant = np.zeros((24, 22, 6), dtype=np.int16)
    quadrant[12:, 11:] = 500  # towards the left and the back: right and bottom on the screen
    quadrant[0, 0, 0] = 1
    for index in range(12):
        array = np.asarray(nib.load(toy / "organs" / f"c{index:02d}.nii.gz").dataobj, dtype=np.uint8)
        nifti_writer(tmp_path / "flat" / f"c{index:02d}.nii.gz", np.roll(array, 4 if index == 7 else 0, axis=0))
    nifti_writer(toy / "images" / "c07.nii.gz", quadrant)
    dataset, _ = read_dataset(toy)
    predictions = open_predictions(tmp_path / "flat", dataset, "organs")
    rows = score(predictions, dataset, dataset.cases, ScoreSettings(draws=10))["rows"]
    found = worst_pictures(rows, dataset, predictions, most=2)
    assert [picture.case for picture in found] == ["c07", "c00"]
    assert found[0].caption == "mean Dice 0.750"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0].png))))
    assert pixels.shape[:2] == (293, 320)  # 24 x 22 voxels of 1.5 mm
    for colour in (TRUTH_COLOUR, FOUND_COLOUR):
        assert (pixels == colour).all(axis=2).any()
    assert pixels[-1, -1].tolist() == [255, 255, 255]
    assert [pixels[0, 0, 0], pixels[0, -1, 0], pixels[-1, 0, 0]] == [0, 0, 0]
