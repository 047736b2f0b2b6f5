from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from medmtl.preparation.plan import Plan
from medmtl.shapes import Shape
from medmtl_training.crops import Crop, cut_crop
from medmtl_training.prepared import PreparedCase
from medmtl_training.settings import Augmentation, TrainSettings
from tests.tiny import STACK

PATCH = (16, 16, 4)
STILL = Augmentation(
    rotation_deg=0, tilt_deg=0, scale=1.0, elastic_mm=0, thick_slices=0, cut_slices=0, shifted_slices=0, intensity=0
)
WHOLE = TrainSettings(whole=1.0, foreground=0.0, augmentation=STILL)


def block_case(shape: tuple[int, int, int] = (40, 36, 10), **changes: Any) -> PreparedCase:
    """A block of 8 x 6 x 2 voxels whose label and intensity agree, in an image of its own index sums."""
    labels = np.zeros(shape, np.uint8)
    labels[16:24, 15:21, 4:6] = 1
    image = (labels * 100.0)[None].astype(np.float32)
    where = np.argwhere(labels)
    case = PreparedCase(
        name="c", patient="c", fold=None, image=image, labels={"organs": labels}, annotated={}, case_labels={},
        spacing=(1.5, 1.5, 6.0), voxel_ml=0.0135, hashes=(), foreground={"organs.block": where},
        box=np.array([[16, 15, 4], [23, 20, 5]]), filled=len(where),
        deciding={"organs": (0,)},
    )  # fmt: skip
    return replace(case, **changes)


def plan(patch: Shape, flips: tuple[int, ...] = (), **changes: Any) -> Plan:
    return replace(STACK, patch=patch, strides=((1, 1, 1),) * len(STACK.strides), flips=flips, mirror=(), **changes)


def crops(case: PreparedCase, settings: TrainSettings, count: int = 12, flips: tuple[int, ...] = ()) -> list[Crop]:
    return [cut_crop(case, plan(PATCH, flips), settings, np.random.default_rng(seed)) for seed in range(count)]


def test_a_still_crop_is_cut_from_the_image_as_it_is() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 40, 36, 10)).astype(np.float32)
    labels = rng.integers(0, 3, (40, 36, 10)).astype(np.uint8)
    settings = replace(WHOLE, whole=0.0, foreground=1.0)  # centred between voxels: half a voxel blurs an even patch
    case = block_case(image=image, labels={"organs": labels}, foreground={"x": np.array([[20, 18, 5]])})
    crop = cut_crop(case, plan((15, 13, 3)), settings, rng)
    box = (slice(13, 28), slice(12, 25), slice(4, 7))
    assert np.allclose(crop.image.numpy()[0], image[0][box], atol=1e-4)
    assert np.array_equal(crop.labels["organs"].numpy(), labels[box])
    assert float(crop.inside.min()) == 1.0
    assert crop.voxel_ml == pytest.approx(0.0135)


def test_image_and_labels_turn_together_whatever_is_varied() -> None:
    strong = Augmentation(
        rotation_deg=180, tilt_deg=20, scale=1.4, elastic_mm=4, thick_slices=0.0, cut_slices=0.3, shifted_slices=0.5,
        intensity=0.0,
    )  # fmt: skip
    found = crops(block_case(), replace(WHOLE, augmentation=strong), 30, flips=(0, 1, 2))
    agree = []
    for crop in found:
        label, bright = crop.labels["organs"] == 1, crop.image[0] > 50.0
        agree.append(float(2 * (label & bright).sum() / (label.sum() + bright.sum()).clamp_min(1)))
    assert np.mean(agree) > 0.85
    assert len({float(crop.labels["organs"].eq(1).sum()) for crop in found}) > 10  # and they do vary


def test_whole_crops_hold_the_whole_structure() -> None:
    for crop in crops(block_case(), WHOLE):
        assert int((crop.labels["organs"] == 1).sum()) == 8 * 6 * 2
        assert crop.complete


def test_foreground_crops_are_centred_on_a_labelled_voxel() -> None:
    for crop in crops(block_case(), replace(WHOLE, whole=0.0, foreground=1.0)):
        assert int((crop.labels["organs"][7:9, 7:9, 1:3] == 1).sum()) > 0


def test_other_crops_lie_anywhere() -> None:
    """Crops round the structure only make a model that finds it everywhere."""
    found = [
        int((crop.labels["organs"] == 1).sum())
        for crop in crops(block_case(), replace(WHOLE, whole=0, foreground=0), 40)
    ]
    assert min(found) == 0
    assert max(found) == 96


def test_a_crop_that_misses_part_does_not_stand_for_its_case() -> None:
    for crop in crops(block_case(), replace(WHOLE, whole=0, foreground=0), 40):
        share = int((crop.labels["organs"] == 1).sum()) / 96
        assert crop.complete == (share >= 0.8)


def test_millilitres_are_those_of_the_source_whatever_the_scale() -> None:
    augmentation = replace(STILL, scale=1.3)
    found = crops(block_case(), replace(WHOLE, augmentation=augmentation), 150)
    ml = [float((crop.labels["organs"] == 1).sum()) * crop.voxel_ml for crop in found]
    assert np.mean(ml) == pytest.approx(96 * 0.0135, rel=0.1)
    assert np.std([crop.voxel_ml for crop in found]) > 0.001


def test_outside_the_scan_all_is_ignored_and_zero() -> None:
    small = block_case((10, 12, 3), box=None, foreground={}, filled=0, image=np.full((1, 10, 12, 3), 5.0, np.float32))
    small = replace(small, labels={"organs": np.ones((10, 12, 3), np.uint8)})
    for crop in crops(small, replace(WHOLE, foreground=0.0)):
        inside = crop.inside[0] > 0
        assert 0 < int(inside.sum()) <= 360
        assert torch.all(crop.labels["organs"][~inside] == 255)
        assert torch.all(crop.labels["organs"][inside] == 1)
        assert torch.all(crop.image[0][~inside] == 0.0)
        assert torch.allclose(crop.image[0][inside], torch.tensor(5.0))


def test_cut_slices_count_as_outside() -> None:
    found = crops(block_case(), replace(WHOLE, augmentation=replace(STILL, cut_slices=1.0)))
    for crop in found:
        kept = crop.inside[0].amax(dim=(0, 1))
        assert 1 <= int((kept == 0).sum()) <= 2
        assert torch.all(crop.labels["organs"][..., kept == 0] == 255)


def test_thick_stacks_are_read_slice_by_slice() -> None:
    """Each slice of a crop is one slice of the scan, not a blend of two, unless slices were thickened."""
    image = np.zeros((1, 40, 36, 10), np.float32)
    image[0] += 10.0 ** np.arange(10)[None, None, :] / 1e5
    settings = replace(WHOLE, augmentation=replace(STILL, thick_slices=1e-9))
    for crop in crops(block_case(image=image), settings):
        values = crop.image[0, 8, 8]
        logs = torch.log10(values[crop.inside[0, 8, 8] > 0] * 1e5)
        assert torch.allclose(logs, logs.round(), atol=1e-3)
        assert torch.all(logs.diff().abs().round() == 1)


def test_thin_slices_are_read_as_far_apart_as_asked_and_thick_ones_are_not() -> None:
    """mL say how far: the block of 2 slices counts what it did, in fewer, thicker slices."""
    augmentation = replace(STILL, thick_slices=1.0, thickest_mm=15.0)
    thin = crops(block_case(), replace(WHOLE, augmentation=augmentation), 60)
    factors = [crop.voxel_ml / 0.0135 for crop in thin]
    assert 2.2 < max(factors) <= 15.0 / 6.0
    thick = crops(block_case(spacing=(1.5, 1.5, 12.0)), replace(WHOLE, augmentation=augmentation), 60)
    assert max(crop.voxel_ml / 0.0135 for crop in thick) <= 1.6


def test_flips_of_the_plan_and_no_others() -> None:
    labels = np.zeros((40, 36, 10), np.uint8)
    labels[16:24, 15:21, 4:6], labels[16, 15, 4] = 1, 2  # a mark in one corner
    case = block_case(labels={"organs": labels})

    def corners(flips: tuple[int, ...]) -> set[tuple[bool, ...]]:
        found = set()
        for crop in crops(case, WHOLE, 40, flips):
            where = np.argwhere((crop.labels["organs"] == 1).numpy())
            mark = np.argwhere((crop.labels["organs"] == 2).numpy())
            if len(mark):
                found.add(tuple(bool(x) for x in mark[0] > where.mean(axis=0)))
        return found

    assert corners(()) == {(False, False, False)}
    assert corners((0,)) == {(False, False, False), (True, False, False)}
    assert len(corners((0, 1, 2))) == 8


def test_one_seed_one_crop() -> None:
    settings = TrainSettings()
    one, two = (cut_crop(block_case(), plan(PATCH, (0,)), settings, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.labels["organs"], two.labels["organs"])


def test_overlapping_masks_keep_their_channels() -> None:
    labels = np.zeros((2, 40, 36, 10), np.uint8)
    labels[0, 16:24, 15:21, 4:6], labels[1] = 1, 255
    crop = crops(block_case(labels={"parts": labels}, deciding={"parts": (0, 1)}), WHOLE, 1)[0]
    assert tuple(crop.labels["parts"].shape) == (2, *PATCH)
    assert torch.all(crop.labels["parts"][1] == 255)
    assert crop.complete


def test_padded_by_edges_a_crop_shows_no_frame() -> None:
    rng = np.random.default_rng(0)
    shape = (14, 12, 6)
    image = 5.0 + rng.normal(size=(1, *shape)).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[5:9, 4:8, 2:4] = 1
    case = block_case(
        image=image, labels={"organs": labels}, foreground={"x": np.argwhere(labels)},
        box=np.array([[5, 4, 2], [8, 7, 3]]), filled=int(labels.sum()),
    )  # fmt: skip
    cut = replace(STILL, cut_slices=1.0)
    settings = replace(WHOLE, augmentation=cut)
    small = set()
    for seed in range(20):
        crop = cut_crop(case, plan((20, 20, 8), edge_padding=True), settings, np.random.default_rng(seed))
        assert float(crop.image.min()) > 0.0  # the image goes on where there is none
        assert float(crop.inside.min()) == 1.0
        assert int((crop.labels["organs"] == 1).sum()) == int(labels.sum())  # the frame never cuts what is annotated
        assert crop.complete
        small.add(int((crop.labels["organs"] != 255).sum()))
    assert len(small) > 10
    assert max(small) < 14 * 12 * 6
