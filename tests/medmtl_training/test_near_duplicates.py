from typing import Any

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.volume import Volume
from medmtl_training import near_duplicates
from medmtl_training.near_duplicates import KEPT_RUNS, SharedPair, shared_pairs, sketch_of

SPACING = (1.5, 1.5, 6.0)
SHAPE = (64, 60, 9)


def exam(seed: int, shape: tuple[int, int, int] = SHAPE) -> Any:
    """A smooth body with noise, air of zeros round it."""
    rng = np.random.default_rng(seed)
    array = np.zeros(shape, dtype=np.int16)
    inner = tuple(slice(n // 8, n - n // 8) for n in shape[:2])
    array[inner] = rng.normal(300, 20, array[inner].shape)
    return array


def volume(array: Any, affine: Any = None) -> Volume:
    grid = Grid(shape=array.shape, affine=np.diag([*SPACING, 1.0]) if affine is None else affine)
    return Volume(array=np.array(array), grid=grid, modality="MR", content_hash="")


def share(first: Volume, second: Volume) -> float:
    pairs = shared_pairs([sketch_of(first), sketch_of(second)])
    return pairs[0].share if pairs else 0.0


ORIGINAL = exam(0)
COPIES = {
    "shifted by pixels": np.roll(ORIGINAL, (2, -1), axis=(0, 1)),
    "each slice shifted by itself": np.stack([np.roll(ORIGINAL[..., k], k % 3, axis=0) for k in range(9)], axis=-1),
    "cropped": ORIGINAL[10:, 5:50, 2:8],
    "padded with another value": np.pad(ORIGINAL, ((3, 9), (0, 4), (1, 0)), constant_values=-1000),
    "restacked backwards": ORIGINAL[:, :, ::-1],
    "mirrored": ORIGINAL[::-1],
    "raised by a constant": ORIGINAL - np.int16(1024),
    "stored as float": ORIGINAL.astype(np.float32),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_known_again(name: str) -> None:
    assert share(volume(ORIGINAL), volume(COPIES[name])) > 0.7


def test_a_copy_with_its_axes_in_another_order_is_known_again() -> None:
    turned = np.zeros((4, 4))
    turned[[0, 1, 2, 3], [2, 0, 1, 3]] = [-6.0, 1.5, 1.5, 1.0]  # along i the old j, along j the old k, k the old -i
    old = np.zeros((4, 4))
    old[[0, 1, 2, 3], [0, 1, 2, 3]] = [6.0, 1.5, 1.5, 1.0]
    sagittal = np.moveaxis(ORIGINAL, 2, 0)
    assert share(volume(sagittal, old), volume(np.moveaxis(sagittal[::-1], 0, 2), turned)) == 1.0


def test_fractions_are_compared_as_they_are() -> None:
    noise = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    assert share(volume(noise), volume(np.roll(noise, 3, axis=0))) > 0.7
    assert share(volume(noise), volume(noise + np.float32(0.25))) == 0.0


def test_two_exams_share_nothing_though_their_air_is_alike() -> None:
    assert shared_pairs([sketch_of(volume(exam(seed))) for seed in range(20)]) == []


def test_plain_and_small_images_have_no_runs() -> None:
    plain = np.zeros(SHAPE, dtype=np.int16)
    plain[20:40, 20:40] = 1
    assert len(sketch_of(volume(plain))) == 0
    assert len(sketch_of(volume(exam(1, (11, 40, 9))))) == 0
    assert shared_pairs([sketch_of(volume(plain))] * 2) == []
    assert shared_pairs([]) == []


def test_a_small_part_of_a_large_image_is_known_by_few_of_its_runs() -> None:
    large = exam(3, (120, 120, 12))
    small = large[50:80, 50:80, 3:6]
    sketches = [sketch_of(volume(large)), sketch_of(volume(exam(4))), sketch_of(volume(small))]
    assert len(sketches[0]) == KEPT_RUNS > len(sketches[2])
    (pair,) = shared_pairs(sketches)
    assert (pair.first, pair.second) == (0, 2)
    assert pair.share > 0.9


def test_part_of_the_runs_in_common_is_what_is_said() -> None:
    half = exam(6)
    half[:, 30:] = exam(7)[:, 30:]
    assert share(volume(exam(6)), volume(half)) == pytest.approx(0.5, abs=0.07)


def test_what_many_images_hold_is_no_exam(monkeypatch: pytest.MonkeyPatch) -> None:
    sketches = [sketch_of(volume(ORIGINAL))] * 4
    assert len(shared_pairs(sketches)) == 6
    monkeypatch.setattr(near_duplicates, "MAX_IMAGES_OF_A_RUN", 3)
    assert shared_pairs(sketches) == []


def test_a_run_hash_does_not_depend_on_where_the_run_lies() -> None:
    row = np.random.default_rng(8).integers(0, 4096, 12).astype(np.int16)
    places = []
    for start in (0, 7, 30):
        array = np.zeros((48, 2, 2), dtype=np.int16)
        array[start : start + 12, 1, 1] = row
        places.append(set(sketch_of(volume(array)).tolist()))
    assert set.intersection(*places)
    assert SharedPair(first=0, second=1, share=1.0) in shared_pairs([sketch_of(volume(ORIGINAL))] * 2)
