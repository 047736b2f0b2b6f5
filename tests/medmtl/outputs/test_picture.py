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
from medmtl.outputs.structures import structures_of
from medmtl.result import CaseResult


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
