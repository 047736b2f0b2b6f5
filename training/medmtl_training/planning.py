"""From a data set's fingerprint to a plan: spacing, patch, strides, widths, batch. Deterministic.

- Spacing is the median. Slices far apart stay as scanned; where a window would see less than a tenth of the labelled
  anatomy, voxels become coarser.
- A window holds the labelled structures with a margin where the image and the size of the network allow it.
- Images that mostly fit into one window are crops round a structure: their edges are continued.
- An axis is halved from level to level once the others are no longer finer than it by half.
- Axes are mirrored only where no label's meaning depends on the side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from medmtl.errors import Code, TrainingError
from medmtl.preparation.plan import Normalisation, Orientation, Plan, Scheme
from medmtl.shapes import FloatArray, Shape
from medmtl_training.cases import Dataset
from medmtl_training.config import Config
from medmtl_training.costs import StepCosts, step_costs
from medmtl_training.fingerprint import Fingerprint, fingerprint
from medmtl_training.settings import settings_from_mapping
from medmtl_training.sides import SIDES, are_paired

LEAST_STEPS = 1000
"""A smaller network that takes this many steps is better than a larger one that takes fewer."""

_USUAL_STEPS = 4000
_MARGIN = 1.4  # window over the box of the structures
_SEEN = 10  # the labelled anatomy is at most so many windows
_SMALL_VOXELS = 64_000  # smaller windows save no time worth having
_LEVELS = 5
_LEAST_BOTTOM = 4  # voxels along an axis that is halved
_ROUNDING = 0.95  # a window may be so much smaller than wished before it grows by a whole step
_DIRECTED = {"Anterior": 1, "Posterior": 1, "Superior": 2, "Inferior": 2, "Upper": 2, "Lower": 2}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a plan may take; None is no limit of that kind, and without any the plan suits two CPU cores.

    Attributes:
        memory_bytes: of a training step.
        seconds: for all networks together.
        networks: how many are trained.
        cuda: whether a GPU trains: then time is no limit to the size, and steps are timed when training starts.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
    networks: int = 1
    cuda: bool = False


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of network: channels of the levels, voxels of a window and of a step, windows of a step at most."""

    widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    window: int
    step: int
    most: int = 6


SIZES = (
    Size(widths=(8, 16, 32, 64, 80), decoder_widths=(8, 16, 16, 32), window=110_000, step=120_000),
    Size(widths=(16, 32, 64, 128, 160), decoder_widths=(16, 32, 32, 64), window=340_000, step=360_000),
    Size(widths=(24, 48, 96, 192, 256), decoder_widths=(24, 48, 48, 96), window=700_000, step=1_000_000, most=12),
    Size(widths=(32, 64, 128, 256, 320), decoder_widths=(32, 64, 64, 128), window=1_100_000, step=2_200_000, most=16),
)
USUAL_SIZE = SIZES[1]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan and what it rests on."""

    config: Config
    costs: StepCosts
    found: Fingerprint


def make_config(dataset: Dataset, limits: Limits | None = None) -> Config:
    """The plan and settings that suit the data set's geometry and intensities."""
    return make_plan(dataset, limits or Limits()).config


def make_plan(dataset: Dataset, limits: Limits) -> Planned:
    """The plan for `dataset` within `limits`, the largest that fits where limits are given.

    Raises:
        TrainingError: `bad-option`, not even the smallest network fits.
        DatasetError: a case cannot be read.
    """
    found = fingerprint(dataset)
    free = limits.memory_bytes is None and limits.seconds is None
    for size in [USUAL_SIZE] if free else SIZES[::-1]:
        plan, batch = _plan(dataset, found, size)
        costs = step_costs(plan, dataset.tasks, len(dataset.channels), batch)
        steps = _steps(costs, limits)
        small = limits.memory_bytes is None or costs.memory_bytes <= limits.memory_bytes
        if small and steps >= LEAST_STEPS:
            return Planned(config=_config(plan, batch, steps, found), costs=costs, found=found)
    if limits.memory_bytes is not None and costs.memory_bytes > limits.memory_bytes:
        what = f"the smallest network takes {costs.memory_bytes / 2**30:.1f} GiB, --memory allows less"
        raise TrainingError(Code.BAD_OPTION, what, "allow more memory")
    return Planned(config=_config(plan, batch, max(steps, 1), found), costs=costs, found=found)


def _steps(costs: StepCosts, limits: Limits) -> int:
    if limits.seconds is None or limits.cuda:
        return _USUAL_STEPS
    return int(limits.seconds / max(limits.networks, 1) / costs.cpu_seconds)


def _config(plan: Plan, batch: int, steps: int, found: Fingerprint) -> Config:
    augmentation: dict[str, Any] = {}
    if found.thick:
        augmentation = {"rotation_deg": 180.0, "tilt_deg": 0.0, "thick_slices": 0.3, "cut_slices": 0.15,
                        "shifted_slices": 0.2}  # fmt: skip
    if not found.thick and len(plan.flips) == 3:  # no direction means anything
        augmentation["rotation_deg"] = 180.0
    if plan.edge_padding:
        augmentation["cut_slices"] = 0.5  # the frame must not tell the size of what it was cut round
    warm_up = min(100, max(1, steps // 10))
    settings = {"steps": steps, "batch": batch, "warm_up": warm_up, "augmentation": augmentation}
    return Config(plan=plan, settings=settings_from_mapping(settings), model={})


def _plan(dataset: Dataset, found: Fingerprint, size: Size) -> tuple[Plan, int]:
    spacing = _spacing(found)
    wished = _wished(found, spacing)
    if not found.thick:
        spacing, wished = _coarser(spacing, wished, size.window)
    patch, kernels, strides = window_shape(spacing, wished, size.window)
    levels = len(strides)
    flips = _flips(dataset, found)
    plan = Plan(
        orientation=Orientation.ACQUIRED if found.thick else Orientation.LPS,
        spacing=_spacing_of_plan(spacing, found),
        edge_padding=not found.thick and bool((np.median(found.extent_mm, axis=0) <= patch * spacing).all()),
        patch=patch,
        normalisation=tuple(_normalisation(dataset.modality, row) for row in found.intensities),
        widths=size.widths[:levels],
        kernels=kernels,
        strides=strides,
        decoder_widths=size.decoder_widths[: levels - 1],
        coarse_level=max(1, min(2, levels - 2)),
        flips=flips,
        mirror=tuple(axis for axis in flips if axis < 2),
        keep_largest=(),
    )
    return plan, max(2, min(size.most, round(size.step / prod(patch))))


def _spacing(found: Fingerprint) -> FloatArray:
    median: FloatArray = np.round(np.median(found.spacing_mm, axis=0), 2)
    if found.thick:
        median[:2] = round(float(median[:2].mean()), 2)
    return np.maximum(median, 0.01)


def _spacing_of_plan(spacing: FloatArray, found: Fingerprint) -> tuple[float | None, float | None, float | None]:
    i, j, k = (float(value) for value in spacing)
    return (i, j, None if found.thick else k)


def _wished(found: Fingerprint, spacing: FloatArray) -> FloatArray:
    """Voxels of a window that holds the structures with a margin, or the image where that is smaller."""
    extent = np.percentile(found.extent_mm, 90, axis=0) / spacing
    if found.thick:
        extent[2] = np.median(found.extent_mm[:, 2] / found.spacing_mm[:, 2])
    if len(found.structure_mm) == 0:
        return extent
    wished = np.minimum(extent, _MARGIN * np.percentile(found.structure_mm, 90, axis=0) / spacing)
    while wished.prod() < _SMALL_VOXELS and (wished < extent).any():
        wished = np.minimum(extent, wished * 1.05)  # context costs little here
    if max(wished[:2]) < 1.25 * min(wished[:2]):
        wished[:2] = max(wished[:2])  # crops are turned within the slice
    result: FloatArray = wished
    return result


def _coarser(spacing: FloatArray, wished: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    spacing, wished = spacing.copy(), wished.copy()
    while wished.prod() > _SEEN * window:
        finest = spacing <= 1.05 * spacing.min()
        spacing[finest] *= 1.05
        wished[finest] /= 1.05
    return np.round(spacing, 2), wished


def window_shape(
    spacing: FloatArray, wished: FloatArray, window: int
) -> tuple[Shape, tuple[Shape, ...], tuple[Shape, ...]]:
    """Patch, kernels and strides for windows of about `wished` voxels, of `window` voxels at most.

    Args:
        spacing: mm along the working axes.
        wished: voxels along the working axes.
        window: voxels of a patch, unless the network's strides alone need more.
    """
    wished = _fitting(np.asarray(wished, dtype=np.float64), np.asarray(spacing), window)
    kernels, strides = _levels(np.asarray(spacing, dtype=np.float64), wished)
    divisor = np.array([prod(stride[axis] for stride in strides) for axis in range(3)])
    patch = np.maximum(np.ceil(_ROUNDING * wished / divisor), 1) * divisor
    while patch.prod() > window:
        cost = np.where(patch > divisor, patch * np.asarray(spacing), 0)
        if not cost.any():
            break
        patch[int(cost.argmax())] -= divisor[int(cost.argmax())]
    if (patch == divisor).all():  # one voxel at the bottom has no norm
        patch[int(np.argmin(divisor))] *= 2
    return _triple(patch), kernels, strides


def _fitting(wished: FloatArray, spacing: FloatArray, window: int) -> FloatArray:
    wished = wished.copy()
    while wished.prod() > window:
        wished[int((wished * spacing).argmax())] *= 0.98
    return wished


def _levels(spacing: FloatArray, left: FloatArray) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
    kernels: list[Shape] = []
    strides: list[Shape] = [(1, 1, 1)]
    while True:
        kernels.append(_triple(np.where(spacing <= 2.5 * spacing.min(), 3, 1)))
        if len(kernels) == _LEVELS:
            break
        halve = (spacing <= 1.6 * spacing.min()) & (left / 2 * 1.1 >= _LEAST_BOTTOM)
        if not halve.any():
            if len(kernels) >= 3:  # what a coarse level between the finest and the last needs
                break
            halve = left >= left.max()
        strides.append(_triple(np.where(halve, 2, 1)))
        spacing, left = spacing * np.where(halve, 2, 1), left / np.where(halve, 2, 1)
    return tuple(kernels), tuple(strides)


def _triple(values: FloatArray) -> Shape:
    return (int(values[0]), int(values[1]), int(values[2]))


def _flips(dataset: Dataset, found: Fingerprint) -> tuple[int, ...]:
    """Axes along which a mirrored image is as likely as the image itself, and its labels keep their names."""
    labels = [label for task in dataset.tasks for label in task.labels]
    if are_paired(dataset.tasks):
        return ()
    if found.thick:
        return (0, 1, 2)  # planned on an organ: the axes have no names
    if any(label.laterality in SIDES for label in labels):
        return ()
    if not any(label.category == "organ" for label in labels):
        return (0, 1, 2)
    directed = {axis for label in labels for word, axis in _DIRECTED.items() if label.modifier and
                word.lower() in label.modifier.meaning.lower()}  # fmt: skip
    several = sum(label.category == "organ" and label.modifier is None for label in labels) > 1
    return () if several else tuple(axis for axis in range(3) if axis == 0 or (axis not in directed and not directed))


def _normalisation(modality: str, row: tuple[float, float, float, float, float]) -> Normalisation:
    if modality != "CT":
        return Normalisation(scheme=Scheme.ZSCORE)
    low, _, mean, spread, brightest = row
    # calcified structures are few voxels and many answers: they stay apart from what is merely dense
    return Normalisation(scheme=Scheme.CLIP, low=round(low), high=round(brightest),
                         mean=round(mean, 1), spread=round(max(spread, 1.0), 1))  # fmt: skip


def describe(dataset: Dataset, planned: Planned) -> Iterator[str]:
    """Lines that say what was found and what follows from it; the same for the same data."""
    found, plan, settings = planned.found, planned.config.plan, planned.config.settings
    kind = "slices stay as scanned" if found.thick else "voxels nearly even"
    yield f"{dataset.name}: {found.cases} cases, {dataset.modality}, {len(dataset.channels)} channel(s), {kind}"
    for title, table in (("spacing mm", found.spacing_mm), ("image mm", found.extent_mm),
                         ("structures mm", found.structure_mm)):  # fmt: skip
        if len(table):
            low, mid, high = (np.percentile(table, q, axis=0) for q in (10, 50, 90))
            cells = [f"{m:.4g} ({a:.4g} to {b:.4g})" for a, m, b in zip(low, mid, high, strict=True)]
            yield f"{title}, median (10 to 90 %): {', '.join(cells)}"
    mm = [
        f"{size * (spacing or float(np.median(found.spacing_mm[:, axis]))):.0f}"
        for axis, (size, spacing) in enumerate(zip(plan.patch, plan.spacing, strict=True))
    ]
    window = " x ".join(str(n) for n in plan.patch)
    yield f"window {window} voxels ({' x '.join(mm)} mm), {settings.batch} a step, {len(plan.widths)} levels"
    yield f"{planned.costs.parameters / 1e6:.2f} M parameters, {planned.costs.gflop:.0f} GFLOP a step"
