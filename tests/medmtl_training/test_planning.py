from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmtl.bundle.weights import make_network
from medmtl.errors import Code, MedmtlError, TrainingError
from medmtl.preparation.plan import Orientation, Scheme
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.config import Config, read_config, write_config
from medmtl_training.planning import Limits, Planned, describe, make_config, make_plan, window_shape
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
@pytest.mark.parametrize(
    "shape", [(128, 128, 10), (64, 64, 64), (500, 512, 400), (40, 24, 300), (33, 17, 9), (8, 6, 3)]
)
@pytest.mark.parametrize("window", [110_000, 340_000])
def test_windows_fit_the_strides_and_the_network(
    spacing: tuple[float, float, float], shape: tuple[int, int, int], window: int
) -> None:
    patch, kernels, strides = window_shape(np.array(spacing), np.array(shape, dtype=float), window)
    assert 3 <= len(kernels) == len(strides) <= 5
    divisor = np.prod(strides, axis=0)
    assert (np.array(patch) % divisor == 0).all()
    assert np.prod(patch) <= window
    assert np.prod(np.array(patch) // divisor) > 1  # one voxel at the bottom has no norm
    assert all((p < s + d) or p == 2 * d for p, s, d in zip(patch, shape, divisor, strict=True))


def test_what_is_halved_is_never_much_coarser_than_the_finest_axis() -> None:
    _, _, strides = window_shape(np.array((0.7, 0.7, 5.0)), np.array((160.0, 160.0, 20.0)), 340_000)
    working = np.array((0.7, 0.7, 5.0))
    for stride in strides[1:]:
        assert all(working[a] <= 1.6 * working.min() for a in range(3) if stride[a] == 2)
        working = working * stride
    assert strides[1] == (2, 2, 1)
    assert strides[4] == (2, 2, 2)


def planned(shared: Path, name: str, limits: Limits | None = None) -> tuple[Dataset, Planned]:
    dataset = read_dataset(shared / "data" / name)[0]
    return dataset, make_plan(dataset, limits or Limits())


def test_nodule_crops_are_seen_with_what_lies_round_them(shared: Path) -> None:
    dataset, made = planned(shared, "lung_nodule_ct")
    plan = made.config.plan
    assert plan.spacing == (0.7, 0.7, 1.25)
    assert plan.patch[:2] == (64, 64)
    assert 16 <= plan.patch[2] <= 24
    assert plan.edge_padding  # the frame tells the size of the nodule
    assert plan.normalisation[0].low < -900  # lung
    assert plan.normalisation[0].high >= 1000  # calcified nodules stay apart from dense ones
    assert plan.flips == (0, 1, 2)
    assert "slices" not in next(iter(describe(dataset, made))).split(",")[-1]


def test_hippocampi_are_seen_whole_and_front_is_not_back(shared: Path) -> None:
    plan = planned(shared, "hippocampus_mr")[1].config.plan
    assert (plan.spacing, plan.patch, plan.flips) == ((1.0, 1.0, 1.0), (40, 56, 40), (0,))


def test_cine_stacks_keep_their_slices_and_both_phases(shared: Path) -> None:
    plan = planned(shared, "cardiac_cine_mr")[1].config.plan
    assert plan.spacing == (1.52, 1.52, None)
    assert plan.patch[0] * 1.52 > 150  # both ventricles with a margin
    assert 8 <= plan.patch[2] <= 12
    assert len(plan.normalisation) == 2


def test_hearts_in_a_large_field_of_view_set_the_window(shared: Path) -> None:
    dataset, made = planned(shared, "cardiac_lge_mr")
    plan = made.config.plan
    assert plan.spacing[2] is None
    assert not plan.edge_padding
    assert 100 < plan.patch[0] * 1.46 < 200  # not the 350 mm of the image
    assert 6 <= plan.patch[2] <= 8
    assert make_plan(dataset, Limits()).config == made.config


@pytest.mark.slow
def test_a_whole_abdomen_gets_coarser_voxels(shared: Path) -> None:
    plan = planned(shared, "abdomen_ct")[1].config.plan
    assert plan.spacing[0] is not None
    assert 2.2 < plan.spacing[0] < 2.8
    assert plan.spacing[2] == 3.0
    assert min(size * (step or 0) for size, step in zip(plan.patch, plan.spacing, strict=True)) > 150
    assert plan.flips == ()  # kidneys have sides
    assert (plan.normalisation[0].low, plan.normalisation[0].high) == (-125, 275)


def test_limits_choose_the_size_of_the_network(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "hippocampus_mr")[0]
    widths = {}
    for gib in (1, 2, 8):
        made = make_plan(dataset, Limits(memory_bytes=gib << 30))
        assert made.costs.memory_bytes <= gib << 30
        widths[gib] = made.config.plan.widths[0]
    assert widths[1] < widths[2] < widths[8]
    quick = make_plan(dataset, Limits(seconds=600, networks=5))
    assert quick.config.settings.steps >= 300
    assert quick.config.plan.widths[0] < make_plan(dataset, Limits(seconds=36000)).config.plan.widths[0]
    with pytest.raises(TrainingError, match="smallest"):
        make_plan(dataset, Limits(memory_bytes=1 << 20))


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
