"""Which series is taken, always the same one, and what is said of the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, StudyError, UsageError
from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.choice import Wanted, choose
from medmtl.reading.study import series_of

MR = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}


def step(mm: float) -> Any:
    return lambda k: {"ImagePositionPatient": [0, 0, mm * k]}


def taken(folder: Path, **wanted: Any) -> int | None:
    return choose(series_of(sorted(folder.iterdir())), Wanted(**wanted)).taken[0].first.series_number


def test_thin_original_axial_series_of_the_whole_length_first(make_series: Any) -> None:
    folder = make_series("study", 6, SeriesNumber=1)
    assert taken(folder) == 1
    make_series("study", 30, SeriesNumber=2, each=step(1.0), ImageType=["DERIVED", "SECONDARY"])
    make_series("study", 30, SeriesNumber=3, each=step(1.0), ImageType=["ORIGINAL", "PRIMARY", "MPR"])
    make_series("study", 6, SeriesNumber=4, each=step(1.0))  # 6 mm of 30 mm
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    make_series("study", 30, SeriesNumber=5, each=lambda k: {"ImagePositionPatient": [0, k, 0]} | coronal)
    assert taken(folder) == 1
    make_series("study", 15, SeriesNumber=6, each=step(2.0))
    assert taken(folder) == 6
    found = series_of(sorted(folder.iterdir()))
    choice = choose(found)
    told = {series.first.series_number: why for series, why in zip(found, choice.reasons, strict=True)}
    assert told[6] == "thinner slices"
    assert told[1].startswith("thicker slices")
    assert told[2].startswith("computed from other images")
    assert told[3].startswith("computed from other images")
    assert told[4].startswith("covers a part only")
    assert told[5].startswith("not axial")
    assert [notice.code for notice in choice.notices] == [Code.SERIES_CHOSEN]
    assert "series 6 was taken of 6" in choice.notices[0].text


def test_modality_and_what_a_model_can_read_come_first(make_series: Any) -> None:
    folder = make_series("study", 9, SeriesNumber=1)
    make_series("study", 6, SeriesNumber=2, **MR)
    assert taken(folder, modality="MR") == 2
    assert taken(folder, modality="CT") == 1
    assert taken(folder, suits=lambda grid, modality: grid.shape[2] == 6) == 2


def test_pixels_count_where_headers_agree(make_series: Any) -> None:
    folder = make_series("study", 6, SeriesNumber=1, RescaleIntercept=3000)  # no CT: nothing at or below water
    make_series("study", 6, SeriesNumber=2)
    assert taken(folder) == 2
    make_series("study", 6, SeriesNumber=0, PixelData=np.zeros((12, 16), np.int16).tobytes())
    assert taken(folder) == 2
    found = series_of(sorted(folder.iterdir()))
    assert [why.startswith("its values") for why in choose(found).reasons] == [True, True, False]


def test_the_order_of_the_files_changes_nothing(make_series: Any) -> None:
    folder = make_series("study", 6, SeriesNumber=7)
    make_series("study", 6, SeriesNumber=3)
    paths = sorted(folder.iterdir())
    assert choose(series_of(paths)).taken[0].first.series_number == 3
    assert choose(series_of(paths[::-1])).taken[0].first.series_number == 3


def test_a_named_series_is_taken_whatever_it_is(make_series: Any) -> None:
    folder = make_series("study", 6, SeriesNumber=1)
    make_series("study", 6, SeriesNumber=2, ImageType=["DERIVED", "SECONDARY"])
    assert taken(folder, series=("1.2.3.2",)) == 2
    for series, code in ((("1.2.3.77",), Code.UNKNOWN_SERIES), (("1.2.3.1", "1.2.3.2"), Code.BAD_OPTION)):
        with pytest.raises(UsageError) as caught:
            taken(folder, series=series)
        assert caught.value.code == code


def test_channels_are_found_by_description_and_lie_on_the_first(make_series: Any) -> None:
    def finer(k: int) -> dict[str, Any]:
        return {"ImagePositionPatient": [-10, -20, 2.5 * k]}

    folder = make_series("study", 6, SeriesNumber=1, SeriesDescription="ax T1 post", **MR)
    make_series("study", 11, SeriesNumber=2, SeriesDescription="FLAIR_ax", each=finer, **MR)
    make_series("study", 6, SeriesNumber=3, SeriesDescription="T10 axial", **MR)
    (case,) = discover(folder, channels=2)
    first, second = read_case(case, channels=("T1", "FLAIR"))
    assert (first.dicom and first.dicom.number, second.dicom and second.dicom.number) == (1, 2)
    assert second.grid is first.grid
    assert Code.CHANNEL_RESAMPLED in {notice.code for notice in second.notices}
    every_second = read_case(case, series_uid="1.2.3.2")[0].array[:, :, ::2]
    assert np.allclose(second.array, every_second)
    swapped = read_case(case, channels=("T1", "FLAIR"), series_uid="1.2.3.2,1.2.3.1")
    assert [volume.dicom and volume.dicom.number for volume in swapped] == [2, 1]


@pytest.mark.parametrize(("wanted", "error"), [({}, StudyError), ({"series_uid": "1.2.3.1"}, UsageError)])
def test_a_channel_without_series_is_refused(make_series: Any, wanted: Any, error: Any) -> None:
    folder = make_series("study", 6, SeriesNumber=1, SeriesDescription="T1", **MR)
    (case,) = discover(folder, channels=2)
    with pytest.raises(error) as caught:
        read_case(case, channels=("T1", "FLAIR"), **wanted)
    assert caught.value.code == Code.CHANNEL_MISSING


def test_channels_of_two_frames_of_reference_are_refused(make_series: Any) -> None:
    folder = make_series("study", 6, SeriesNumber=1, SeriesDescription="T1", **MR)
    make_series("study", 6, SeriesNumber=2, SeriesDescription="FLAIR", FrameOfReferenceUID="1.2.3.98", **MR)
    (case,) = discover(folder, channels=2)
    with pytest.raises(StudyError) as caught:
        read_case(case, channels=("T1", "FLAIR"))
    assert caught.value.code == Code.MIXED_FRAME_OF_REFERENCE
