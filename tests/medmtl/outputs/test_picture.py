import dataclasses
import io

import numpy as np
from PIL import Image

from medmtl.outputs.picture import (
    CT_WINDOW_HU,
    LUNG_WINDOW_HU,
    KeyPictures,
    grey_window,
    key_pictures,
    preview_png,
)
from medmtl.outputs.report_html import report_html
from medmtl.outputs.structures import structures_of
from medmtl.result import CaseResult
from tests.two_phases import two_phases


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def close_to(image: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((np.abs(image - np.array(color)).max(axis=2) < 30).sum())


def test_main_picture_shows_the_slice_with_most_lesion_in_the_label_colours(
    spheres: CaseResult, pictures: KeyPictures
) -> None:
    main = pictures.main
    area = (spheres.masks["lesions"] > 0).sum(axis=(0, 1))
    assert main.index == int(np.argmax(area))
    image = pixels(main.png)
    assert image.shape[:2] == main.size[::-1]
    for color in ((0xE8, 0xB2, 0x3A), (0xE4, 0x57, 0x2E), (0x6C, 0xC0, 0x8B)):
        assert close_to(image, color) > 100


def test_thick_slices_are_drawn_to_scale(pictures: KeyPictures) -> None:
    field = pictures.field
    assert abs(field.size[0] / field.size[1] - 80 / 72) < 0.02
    for picture in pictures.reformats:
        assert picture.count in (80, 72)
        assert picture.size[1] / picture.size[0] > 0.5  # nine slices of 8 mm are 72 mm high, not nine pixels


def test_nothing_found_still_gives_pictures(spheres: CaseResult) -> None:
    empty = {name: np.zeros_like(mask) for name, mask in spheres.masks.items()}
    pictures = key_pictures(dataclasses.replace(spheres, masks=empty))
    assert pictures.main.index == 4
    assert len(pictures.strip) > 2


def test_same_case_same_pictures(spheres: CaseResult, pictures: KeyPictures) -> None:
    again = key_pictures(spheres)
    assert again == pictures
    assert preview_png(again, ("a",)) == preview_png(pictures, ("a",))


def test_a_nodule_is_shown_in_the_lung_window(spheres: CaseResult) -> None:
    structures = structures_of(spheres)
    air, tissue = np.full(spheres.volume.grid.shape, -850.0), np.full(spheres.volume.grid.shape, 40.0)
    assert grey_window(air, "CT", structures) == LUNG_WINDOW_HU
    assert grey_window(tissue, "CT", structures) == CT_WINDOW_HU
    assert grey_window(air, "CT", ()) == CT_WINDOW_HU
    low, high = grey_window(tissue, "MR", ())
    assert low < high


def test_every_task_is_pictured_on_its_own_channel() -> None:
    """Red at end-diastole and green at end-systole, in the main pictures and in the rows of slices."""
    result = two_phases()
    pictures = key_pictures(result)
    shown = [pictures.main, *pictures.others, *pictures.strip]
    assert [picture.channel for picture in shown] == ["ED", "ES", "ED", "ED", "ED", "ES", "ES", "ES"]
    for picture in shown:
        image = pixels(picture.png)
        red, green = (close_to(image, color) for color in ((0xE0, 0x40, 0x2A), (0x3A, 0xC0, 0x5A)))
        own, foreign = (red, green) if picture.channel == "ED" else (green, red)
        assert foreign == 0, f"{picture.channel}: a mask of another channel"
        assert own > 50 or picture in pictures.strip[3:], picture.index  # it contracts: the end slices hold none
    assert 'alt="axial 4 / 8 ES"' in report_html(result.findings, pictures)


def test_one_channel_has_no_name_on_its_pictures(pictures: KeyPictures) -> None:
    assert pictures.others == ()
    assert {picture.channel for picture in (pictures.main, *pictures.strip)} == {""}
