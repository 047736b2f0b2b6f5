from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmtl.bundle.weights import make_network
from medmtl.errors import Code, MedmtlError
from medmtl.preparation.plan import Orientation, Scheme
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.planning import Config, _shape, make_config, read_config, write_config
from medmtl_training.settings import TrainSettings
from sample_data.phantoms import write_dataset
from tests.tiny import ROOT, STACK

Made = Callable[..., Dataset]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A small data set of phantoms."""

    def make(kind: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Dataset:
        write_dataset(tmp_path / kind, kind, cases=2, seed=1, shape=shape, spacing=spacing)
        return read_dataset(tmp_path / kind)[0]

    return make


def test_a_stack_of_thick_slices_keeps_them(made: Made) -> None:
    config = make_config(made("hearts", (64, 64, 8), (2.0, 2.0, 10.0)))
    plan = config.plan
    assert plan.orientation is Orientation.ACQUIRED
    assert plan.spacing == (2.0, 2.0, None)
    assert plan.normalisation[0].scheme is Scheme.ZSCORE
    assert plan.kernels[0] == (3, 3, 1)
    assert plan.strides[1] == (2, 2, 1)  # slices are not merged while pixels are finer
    assert config.settings.augmentation.tilt_deg == 0.0


def test_even_voxels_are_brought_upright_and_hu_to_one_scale(made: Made) -> None:
    config = make_config(made("abdomen", (48, 48, 32), (8.0, 8.0, 10.0)))
    plan = config.plan
    assert plan.orientation is Orientation.LPS
    assert plan.spacing == (8.0, 8.0, 10.0)
    assert plan.kernels[0] == (3, 3, 3)
    assert plan.flips == ()  # left is not right
    rule = plan.normalisation[0]
    assert rule.scheme is Scheme.CLIP
    assert -900 <= rule.low < rule.high < 3000
    assert rule.spread > 0


def test_the_same_data_give_the_same_plan_and_it_makes_a_network(made: Made) -> None:
    dataset = made("hearts", (64, 64, 8), (2.0, 2.0, 10.0))
    config = make_config(dataset)
    assert make_config(dataset) == config
    net = make_network(1, config.plan, dataset.tasks).eval()
    with torch.inference_mode():
        out = net(torch.zeros(1, 1, *config.plan.patch), torch.ones(1, 1, *config.plan.patch), ["organs"])
    assert tuple(out.dense["organs"].shape[2:]) == config.plan.patch


@pytest.mark.parametrize(
    "spacing", [(1.5, 1.5, 10.0), (0.7, 0.7, 5.0), (1.0, 1.0, 1.0), (3.0, 0.8, 0.8), (0.4, 0.4, 3.0)]
)
@pytest.mark.parametrize("shape", [(128, 128, 10), (64, 64, 64), (500, 512, 400), (40, 24, 300), (33, 17, 9)])
def test_patches_fit_the_strides_and_the_machine(
    spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    patch, kernels, strides = _shape(spacing, np.array(shape, dtype=float), stack=False)
    assert len(kernels) == len(strides) <= 5
    divisor = np.prod(strides, axis=0)
    assert (np.array(patch) % divisor == 0).all()
    assert np.prod(patch) <= 110_000 or (np.array(patch) == divisor).all()
    assert (np.array(patch) < np.array(shape) + divisor).all()
    assert np.prod(np.array(patch) // divisor) > 1  # one voxel at the bottom has no norm
    working = np.array(spacing)
    for stride in strides[1:]:
        # what is halved is not much coarser than the finest axis, so that voxels grow even
        assert all(working[a] <= 1.6 * working.min() for a in range(3) if stride[a] == 2)
        working = working * stride


def test_a_plan_file_reads_back_equal(tmp_path: Path) -> None:
    config = Config(plan=STACK, settings=TrainSettings(steps=7), model={"name": "x", "limits": ["词", "b"]})
    write_config(tmp_path / "plan.yaml", config)
    assert read_config(tmp_path / "plan.yaml") == config
    shipped = read_config(ROOT / "training" / "configs" / "cardiac-lge.yaml")
    write_config(tmp_path / "plan.yaml", shipped)
    assert read_config(tmp_path / "plan.yaml") == shipped
    assert shipped.model["keep_out"] == ["Case_N014", "Case_P002", "Case_P007"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, Code.NOT_FOUND),
        ("a: [", Code.NOT_FOUND),
        ("- 1", Code.BAD_OPTION),
        ("training: {}", Code.BAD_OPTION),
        ("{plan: {}, models: {}}", Code.BAD_OPTION),
        ("plan: {}", Code.BAD_DATASET),
        ("plan: 5", Code.BAD_DATASET),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str | None, code: Code) -> None:
    if text is not None:
        (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(MedmtlError) as caught:
        read_config(tmp_path / "plan.yaml")
    assert caught.value.code is code


def test_two_channels_have_two_rules(made: Made, tmp_path: Path) -> None:
    dataset = made("hearts", (64, 64, 8), (2.0, 2.0, 10.0))
    from dataclasses import replace

    doubled: Any = tuple(replace(case, images=case.images * 2) for case in dataset.cases)
    config = make_config(replace(dataset, cases=doubled, channels=("a", "b")))
    assert len(config.plan.normalisation) == 2
