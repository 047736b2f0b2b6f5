"""A toy, stated in full, on which encoders of a task's own beat one hard-shared encoder over five seeds.

It shows that they do what they are for, not that they help on patients. All networks have the same plan; a way of
sharing has the weights that it adds.

Images are white noise with one square of 6 x 6 x 2 voxels that is 1.2 brighter. Task `a` is the square. Task `b` is
labelled by a coin toss for each voxel and weighs 300 times as much: it has nothing to teach, and all it does to a
shared encoder is harm. Measured is the area under the ROC curve of `a` over the voxels of 16 fresh cases.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from medmtl.task import tasks_from_mapping
from medmtl_training.batches import BatchMaker
from medmtl_training.build import build_network
from medmtl_training.loop import Trainer
from medmtl_training.prepared import PreparedCase
from medmtl_training.settings import Augmentation, TrainSettings
from tests.medmtl_training.test_loop import CPU
from tests.tiny import STACK

SHAPE = STACK.patch
TASKS = tasks_from_mapping({name: {"kind": "segmentation", "labels": ["thing"]} for name in ("a", "b")})
SEEDS = range(5)
STILL = Augmentation(rotation_deg=0, tilt_deg=0, scale=1.0, elastic_mm=0, intensity=0)
SETTINGS = TrainSettings(
    steps=60, batch=4, warm_up=5, learning_rate=5e-3, weighting="fixed", average=0.9, balanced=0.0, measure_every=0,
    augmentation=STILL, clip=1e9,
)  # fmt: skip
T_HALF_WIDTH = 2.776  # of a 95 % interval of a mean of five, in standard errors


def case(rng: np.random.Generator, number: int) -> PreparedCase:
    image = rng.normal(0, 1, SHAPE)
    i, j, k = (int(rng.integers(0, size - extent + 1)) for size, extent in zip(SHAPE, (6, 6, 2), strict=True))
    square = np.zeros(SHAPE, np.uint8)
    square[i : i + 6, j : j + 6, k : k + 2] = 1
    tosses = np.random.default_rng([7, number]).integers(0, 2, SHAPE).astype(np.uint8)
    image += 1.2 * square
    return PreparedCase(
        name=f"c{number}", patient=f"c{number}", fold=None, image=image[None].astype(np.float32),
        labels={"a": square, "b": tosses}, annotated={}, case_labels={}, spacing=(6.0, 6.0, 12.0), voxel_ml=0.432,
        hashes=(), foreground={}, box=None, deciding={}, filled=0,
    )  # fmt: skip


def area(sharing: str, seed: int) -> float:
    """Area under the ROC curve of task `a`."""
    rng = np.random.default_rng([seed, 1])
    cases, fresh = [case(rng, n) for n in range(24)], [case(rng, n) for n in range(16)]
    settings = replace(SETTINGS, seed=seed, fixed_weights={"b": 300.0})
    plan = replace(STACK, sharing=sharing, flips=(), mirror=())
    trainer = Trainer(build_network(1, plan, TASKS, seed), TASKS, plan, settings, CPU)
    maker = BatchMaker(cases, TASKS, plan, settings)
    for step in range(settings.steps):
        trainer.step(maker.make(step))
    trainer.net.load_state_dict(trainer.average)
    trainer.net.eval()
    images = torch.from_numpy(np.stack([one.image for one in fresh]))
    with torch.inference_mode():
        logits = trainer.net(images, torch.ones_like(images), ["a"]).dense["a"]
    score = (logits[:, 1] - logits[:, 0]).numpy().ravel()
    truth = np.stack([one.labels["a"] for one in fresh]).ravel() == 1
    ranks = score.argsort().argsort() + 1.0
    positive, negative = truth.sum(), (~truth).sum()
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_encoders_of_their_own_are_not_harmed_by_a_task_that_has_nothing_to_teach() -> None:
    hard = np.array([area("hard", seed) for seed in SEEDS])
    for sharing in ("soft", "shared-private"):
        gains = np.array([area(sharing, seed) for seed in SEEDS]) - hard
        half_width = T_HALF_WIDTH * gains.std(ddof=1) / np.sqrt(len(gains))
        assert gains.mean() - half_width > 0, f"{sharing}: gains {gains.round(3)} over {hard.round(3)}"
