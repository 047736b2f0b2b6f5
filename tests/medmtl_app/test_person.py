"""Names stay out of what is shown at any time; thumbnails are the right way up."""

from pathlib import Path

import numpy as np
from PIL import Image

from medmtl.reading.any_volume import discover, read_case
from medmtl_app.display import describe
from medmtl_app.person import THUMBNAIL, hidden, shown, write_thumbnail
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.tiny import heart_volume


def test_the_name_is_hidden_and_the_rest_is_shown(tmp_path: Path) -> None:
    text = StudyText(study="person", description="heart", body_part="HEART")
    [case] = discover(write_dicom_study(tmp_path / "study", heart_volume(), text))
    volume = read_case(case)[0]
    found = hidden(volume)
    assert set(found) == {"name", "patient_id", "birth_date"}
    assert found["name"]
    assert found["patient_id"]
    told = describe(volume, None)
    assert told["study_id"] == shown(volume)["study_id"] == "1"
    assert not {found["name"], found["patient_id"]} & {str(value) for value in told.values()}


def test_a_nifti_has_no_name() -> None:
    assert hidden(heart_volume()) == shown(heart_volume()) == {}


def test_thumbnails_have_the_head_up_and_the_right_side_on_the_left(tmp_path: Path) -> None:
    array = np.zeros((20, 30, 10), dtype=np.int16)
    array[2, :, 8] = 500  # the patient's right (i runs to the left), near the head
    array[:, 4, :] += 100  # the front
    focus = {"low": [0, 0, 0], "high": [19, 29, 9]}
    for axis, spacing in ((1, (1.0, 1.0, 2.0)), (2, (1.0, 1.0, 2.0))):
        write_thumbnail(tmp_path / "thumb.png", array, axis, spacing, focus)
        with Image.open(tmp_path / "thumb.png") as picture:
            assert picture.size == (THUMBNAIL, THUMBNAIL)
            row, column = np.unravel_index(np.asarray(picture).argmax(), (THUMBNAIL, THUMBNAIL))
        if axis == 1:
            assert column < THUMBNAIL / 2
            assert row < THUMBNAIL / 2
        else:
            assert row < THUMBNAIL / 2
