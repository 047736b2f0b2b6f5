"""The smallest plans, networks, bundles and data sets that the real code takes: tests run in seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from medmtl.bundle.bundle import Bundle, write_bundle_yaml
from medmtl.bundle.weights import make_network, save_weights
from medmtl.findings.calibration import Calibration
from medmtl.network.multitask import MultiTaskNet
from medmtl.preparation.plan import Normalisation, Orientation, Plan, Scheme
from medmtl.task import Task, tasks_from_mapping
from medmtl.volume import Volume
from sample_data.phantoms import phantom, write_dataset

ROOT = Path(__file__).resolve().parent.parent
HEART_SHAPE, HEART_SPACING = (32, 32, 6), (5.0, 5.0, 12.0)

STACK = Plan(
    orientation=Orientation.ACQUIRED,
    spacing=(6.0, 6.0, None),
    patch=(16, 16, 4),
    normalisation=(Normalisation(scheme=Scheme.ZSCORE),),
    widths=(4, 8, 8),
    kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
    strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
    decoder_widths=(4, 8),
    coarse_level=1,
    flips=(0, 1, 2),
    mirror=(0,),
    minimum_lesion_ml=0.5,
)
"""Thick slices, as cardiac stacks have them."""

CUBE = replace(
    STACK,
    orientation=Orientation.LPS,
    spacing=(6.0, 6.0, 6.0),
    patch=(8, 8, 8),
    kernels=((3, 3, 3),) * 3,
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    flips=(),
    mirror=(),
)
"""Even voxels, as CT has them."""


def heart_head() -> dict[str, Any]:
    """`dataset.yaml` of the heart phantoms."""
    head: dict[str, Any] = yaml.safe_load((ROOT / "sample_data" / "hearts.yaml").read_text(encoding="utf-8"))
    return head


def heart_tasks(**further: Any) -> tuple[Task, ...]:
    """Lesions, organs and diagnosis of the heart phantoms, and further tasks."""
    return tasks_from_mapping({**heart_head()["tasks"], **further})


def heart_volume(seed: int = 1, *, lesion: bool = True) -> Volume:
    """A heart phantom of 32 x 32 x 6 voxels."""
    return phantom("hearts", seed=seed, lesion=lesion, shape=HEART_SHAPE, spacing=HEART_SPACING).volume()


def heart_dataset(folder: Path, cases: int) -> Path:
    """A data set of heart phantoms, two cases in each of five folds."""
    write_dataset(folder, "hearts", cases=cases, seed=3, shape=HEART_SHAPE, spacing=HEART_SPACING)
    return folder


def network(plan: Plan = STACK, tasks: tuple[Task, ...] | None = None, *, seed: int = 0) -> MultiTaskNet:
    """A network with the weights of `seed`."""
    torch.manual_seed(seed)
    return make_network(1, plan, tasks or heart_tasks()).eval()


def unwritten_bundle(folder: Path, **changes: Any) -> Bundle:
    """A bundle of heart phantoms; nothing is written."""
    bundle = Bundle(
        folder=folder, sha256="", name="tiny", title="Tiny", version="1", description="", modality="MR",
        channels=("LGE",), tasks=heart_tasks(), plan=STACK, weights=(), calibration=Calibration(),
        training={"networks": [{"weights": "fold_all.safetensors", "cases": 0, "images_sha256": []}]},
        reference={
            "spacing_mm": {"lowest": [1.0, 1.0, 5.0], "highest": [8.0, 8.0, 15.0]},
            "extent_mm": {"lowest": [50.0, 100.0, 100.0], "highest": [150.0, 250.0, 250.0]},
        },
        data="phantoms", licence="Apache-2.0", licence_url="", citation="nobody", non_commercial=False,
        synthetic=True, limits=("It is tiny.",),
    )  # fmt: skip
    return replace(bundle, **changes)


def write_bundle(folder: Path, *, networks: int = 1, **changes: Any) -> Bundle:
    """A bundle on disk with untrained weights."""
    import json

    bundle = unwritten_bundle(folder, **changes)
    for seed in range(networks):
        net = network(bundle.plan, bundle.tasks, seed=seed)
        save_weights(dict(net.state_dict()), folder / "weights" / f"net_{seed}.safetensors")
    (folder / "reference.json").write_text(json.dumps(dict(bundle.reference)), encoding="utf-8")
    (folder / "LICENCE").write_text("free\n", encoding="utf-8")
    return write_bundle_yaml(bundle)


def write_tiny_config(path: Path, *, model: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A `plan.yaml` with the plan of thick slices and a few steps."""
    from medmtl_training.config import Config, write_config
    from medmtl_training.settings import TrainSettings

    few = TrainSettings(**{"steps": 6, "batch": 2, "warm_up": 1, "learning_rate": 5e-3, **settings})
    write_config(path, Config(plan=STACK, settings=few, model=model or {"name": "tiny"}))
    return path
