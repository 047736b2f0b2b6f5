"""From a data set's fingerprint to a plan: spacing, patch, strides, widths. Deterministic."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medmtl.errors import Code, TrainingError
from medmtl.geometry.orientation import slices_last, to_lps
from medmtl.preparation.plan import Normalisation, Orientation, Plan, Scheme, plan_from_mapping, plan_to_mapping
from medmtl.reading.nifti import read_nifti
from medmtl.shapes import Shape
from medmtl_training.cases import Dataset
from medmtl_training.settings import TrainSettings, settings_from_mapping, settings_to_mapping

_ANISOTROPIC = 3.0  # slice distance over pixel size from which slices are kept as scanned
_SAMPLE_CASES = 40
_VOXELS = 80 * 80 * 8 * 2  # of a patch: what two CPU cores train in reasonable time
_WIDTHS = (16, 32, 64, 128, 160)
_DECODER_WIDTHS = (16, 32, 32, 64)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a `plan.yaml` holds.

    Attributes:
        plan: geometry, intensities, network.
        settings: of the training.
        model: name, title, version, limits and keep_out (cases that no network may see) of the bundle.
    """

    plan: Plan
    settings: TrainSettings
    model: Mapping[str, Any]


def make_config(dataset: Dataset) -> Config:
    """The plan and settings that suit the data set's geometry and intensities."""
    step = max(1, len(dataset.cases) // _SAMPLE_CASES)
    sample = [tuple(read_nifti(path) for path in case.images) for case in dataset.cases[::step]]
    spacings = np.array([np.sort(channels[0].grid.spacing) for channels in sample])
    stack = bool(np.median(spacings[:, 2] / spacings[:, 0]) >= _ANISOTROPIC)
    grids = [channels[0].grid for channels in sample]
    turned = [(slices_last(grid) if stack else to_lps(grid)).grid(grid) for grid in grids]
    median = np.median([grid.spacing for grid in turned], axis=0)
    spacing: tuple[float | None, float | None, float | None]
    if stack:
        in_plane = round(float(median[:2].mean()), 2)
        spacing = (in_plane, in_plane, None)
    else:
        spacing = (round(float(median[0]), 2), round(float(median[1]), 2), round(float(median[2]), 2))
    shapes = np.median([np.asarray(g.shape) * np.asarray(g.spacing) / _or(spacing, median) for g in turned], axis=0)
    patch, kernels, strides = _shape(tuple(s or float(m) for s, m in zip(spacing, median, strict=True)), shapes, stack)
    levels = len(strides)
    flips = (0, 1, 2) if stack else ()
    plan = Plan(
        orientation=Orientation.ACQUIRED if stack else Orientation.LPS,
        spacing=spacing,
        patch=patch,
        normalisation=tuple(_normalisation(dataset.modality, [c[n].array for c in sample])
                            for n in range(len(dataset.channels))),
        widths=_WIDTHS[:levels],
        kernels=kernels,
        strides=strides,
        decoder_widths=_DECODER_WIDTHS[: levels - 1],
        coarse_level=max(1, min(2, levels - 2)),
        flips=flips,
    )  # fmt: skip
    augmentation: dict[str, Any] = {}
    if stack:
        augmentation = {"rotation_deg": 180.0, "tilt_deg": 0.0, "thick_slices": 0.3, "cut_slices": 0.15,
                        "shifted_slices": 0.2}  # fmt: skip
    settings = settings_from_mapping({"augmentation": augmentation})
    return Config(plan=plan, settings=settings, model={})


def read_config(path: Path) -> Config:
    """The content of a `plan.yaml`.

    Raises:
        TrainingError, DatasetError: the file is missing or holds what is not known.
    """
    todo = "give a YAML file with the sections plan, training and model"
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        raise TrainingError(Code.NOT_FOUND, "the plan cannot be read", todo) from None
    if not isinstance(body, Mapping) or set(body) - {"plan", "training", "model"} or "plan" not in body:
        raise TrainingError(Code.BAD_OPTION, "the plan has other sections", todo)
    return Config(
        plan=plan_from_mapping(body["plan"]),
        settings=settings_from_mapping(body.get("training") or {}),
        model=body.get("model") or {},
    )


def write_config(path: Path, config: Config) -> None:
    """Writes what `read_config` reads back equal."""
    body = {
        "plan": plan_to_mapping(config.plan),
        "training": settings_to_mapping(config.settings),
        "model": dict(config.model),
    }
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    path.write_text(text, encoding="utf-8")


def _or(spacing: tuple[float | None, ...], median: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([m if s is None else s for s, m in zip(spacing, median, strict=True)])


def _shape(spacing: tuple[float, ...], shape: np.ndarray[Any, Any], stack: bool
           ) -> tuple[Shape, tuple[Shape, ...], tuple[Shape, ...]]:  # fmt: skip
    """Patch, kernels and strides: an axis is halved once the others are no longer finer than it by half."""
    levels = 5
    current = np.asarray(spacing, dtype=np.float64)
    kernels: list[Shape] = []
    strides: list[Shape] = [(1, 1, 1)]
    left = np.asarray(shape, dtype=np.float64)
    for _ in range(levels):
        fine = current <= 1.6 * current.min()
        kernels.append(_triple(np.where(current <= 2.5 * current.min(), 3, 1)))
        halve = fine & (left >= 8)
        if len(kernels) == levels or not halve.any():
            break
        strides.append(_triple(np.where(halve, 2, 1)))
        current, left = current * np.where(halve, 2, 1), left / np.where(halve, 2, 1)
    strides = strides[: len(kernels)]
    divisor = np.array([prod(s[a] for s in strides) for a in range(3)])
    patch = np.maximum(np.ceil(np.minimum(shape, 256) / divisor), 1) * divisor
    while patch.prod() > _VOXELS:
        cost = np.where(patch > divisor, patch * np.asarray(spacing), 0)
        if not cost.any():
            break
        patch[int(cost.argmax())] -= divisor[int(cost.argmax())]
    return _triple(patch), tuple(kernels), tuple(strides)


def _triple(values: np.ndarray[Any, Any]) -> Shape:
    return (int(values[0]), int(values[1]), int(values[2]))


def _normalisation(modality: str, arrays: list[np.ndarray[Any, Any]]) -> Normalisation:
    if modality != "CT":
        return Normalisation(scheme=Scheme.ZSCORE)
    sample = np.concatenate([array.ravel()[:: max(1, array.size // 20000)] for array in arrays]).astype(np.float64)
    body = sample[sample > -900]
    low, high = (float(value) for value in np.percentile(body, [0.5, 99.5]))
    clipped = np.clip(body, low, high)
    return Normalisation(scheme=Scheme.CLIP, low=round(low), high=round(high),
                         mean=round(float(clipped.mean()), 1), spread=round(float(clipped.std()), 1))  # fmt: skip
