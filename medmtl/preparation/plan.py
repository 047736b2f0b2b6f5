"""`Plan`: how volumes are brought to the network, and the network's shape. Frozen in every bundle."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import prod
from typing import Any

from medmtl.errors import Code, DatasetError
from medmtl.shapes import Shape


class Orientation(StrEnum):
    """Which way the index axes run in front of the network."""

    LPS = "LPS"  # i to the left, j to the back, k to the head: for whole-body frames
    ACQUIRED = "acquired"  # as scanned, the slice axis last: for stacks planned on an organ


class Scheme(StrEnum):
    """How intensities are brought to one scale."""

    ZSCORE = "zscore"  # per volume, voxels that are not padding, clipped at percentiles first
    CLIP = "clip"  # fixed limits, then fixed mean and spread: for HU


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Intensity scaling of one channel.

    Attributes:
        scheme: per volume or fixed.
        low, high: percentiles (zscore) or intensities in HU (clip).
        mean, spread: subtracted and divided by after clipping (clip only).
    """

    scheme: Scheme
    low: float = 0.5
    high: float = 99.5
    mean: float = 0.0
    spread: float = 1.0


SHARING = ("hard", "cross-task-attention", "soft", "shared-private", "moe", "task-graph")
"""What tasks may share; all but the first two are experimental."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Geometry, intensities and network shape.

    Attributes:
        orientation: which way axes run.
        spacing: mm along each working axis; None keeps the scanned spacing of that axis.
        edge_padding: whether an image smaller than a patch is continued by its edge values, and counts as one field of
            view with them: for crops round one structure, whose frame would tell its size.
        cubic: whether images are resampled by cubic splines, else linearly.
        patch: voxels of a training crop and of a window at inference.
        normalisation: one per channel.
        widths: channels of each encoder level, finest first.
        kernels, strides: of each level, along `(i, j, k)`; the first stride is 1.
        decoder_widths: channels of each decoder level, finest first, one fewer than `widths`.
        coarse_level: the level whose maps guide the case-level head and are supervised too.
        flips: axes that may be mirrored in training without changing any label's meaning.
        mirror: axes mirrored at inference, a subset of `flips`; answers are averaged.
        overlap: least overlap of neighbouring windows, as a fraction of the window.
        keep_largest: voxel tasks of which only the largest connected piece is kept.
        locate: whether a first look finds the organs of `keep_largest` and windows are placed around them alone, for
            them, lesions in them and case-level tasks that only these guide.
        minimum_lesion_ml: smaller lesions are not reported.
        standardise: whether case-level heads bring volumes, shares and intensities to one scale before they weigh them:
            for classes that follow from ratios of volumes.
        sharing: what tasks share: "hard" (one encoder), "cross-task-attention" between the decoders, or one of the
            experimental "soft", "shared-private", "moe", "task-graph".
        guides: voxel tasks whose coarse maps guide case-level heads; all where empty. A task that was added to a
            trained network is not among them, so that what the others answer stays as it was.
    """

    orientation: Orientation
    spacing: tuple[float | None, float | None, float | None]
    edge_padding: bool = False
    cubic: bool = False
    patch: Shape
    normalisation: tuple[Normalisation, ...]
    widths: tuple[int, ...]
    kernels: tuple[Shape, ...]
    strides: tuple[Shape, ...]
    decoder_widths: tuple[int, ...]
    coarse_level: int = 2
    flips: tuple[int, ...] = ()
    mirror: tuple[int, ...] = ()
    overlap: float = 0.5
    keep_largest: tuple[str, ...] = ()
    locate: bool = True
    minimum_lesion_ml: float = 0.1
    standardise: bool = False
    sharing: str = "hard"
    guides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        levels = len(self.widths)
        if not (levels == len(self.kernels) == len(self.strides) == len(self.decoder_widths) + 1):
            raise _bad("widths, kernels, strides and decoder_widths do not belong together")
        if not 0 < self.coarse_level < levels - 1:
            raise _bad(f"coarse_level {self.coarse_level} lies not between the first level and the last")
        if any(size % factor for size, factor in zip(self.patch, self.divisor, strict=True)):
            raise _bad(f"patch {self.patch} is not divisible by the strides' product {self.divisor}")
        if self.sharing not in SHARING:
            raise _bad(f"sharing is {self.sharing!r}, not one of {', '.join(SHARING)}")
        if not set(self.mirror) <= set(self.flips):
            raise _bad("an axis is mirrored at inference that was not flipped in training")

    @property
    def divisor(self) -> Shape:
        """What a window's size must be divisible by, along each axis."""
        i, j, k = (prod(stride[axis] for stride in self.strides) for axis in range(3))
        return (i, j, k)


def plan_from_mapping(mapping: Mapping[str, Any]) -> Plan:
    """The plan of a `plan:` section.

    Raises:
        DatasetError: an unknown or missing key, or numbers that do not fit together.
    """
    if not isinstance(mapping, Mapping):
        raise _bad("the plan is not a mapping")
    unknown = set(mapping) - {f.name for f in fields(Plan)}
    if unknown:
        raise _bad(f"the plan has unknown keys {sorted(unknown)}")
    values = dict(mapping)
    try:
        values["orientation"] = Orientation(values["orientation"])
        values["normalisation"] = tuple(
            Normalisation(**{**row, "scheme": Scheme(row["scheme"])}) for row in values["normalisation"]
        )
        for key in ("kernels", "strides"):
            values[key] = tuple(tuple(int(n) for n in row) for row in values[key])
        for key in ("spacing", "patch", "widths", "decoder_widths", "flips", "mirror", "keep_largest", "guides"):
            if key in values:
                values[key] = tuple(values[key])
        return Plan(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"the plan cannot be read ({error})") from None


def plan_to_mapping(plan: Plan) -> dict[str, Any]:
    """The `plan:` section that `plan_from_mapping` reads back equal."""
    body: dict[str, Any] = {}
    for field in fields(Plan):
        value = getattr(plan, field.name)
        if isinstance(value, StrEnum):
            value = str(value)
        elif field.name == "normalisation":
            value = [{f.name: _plain(getattr(row, f.name)) for f in fields(Normalisation)} for row in value]
        elif isinstance(value, tuple):
            value = [list(row) if isinstance(row, tuple) else row for row in value]
        body[field.name] = value
    return body


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value


def _bad(what: str) -> DatasetError:
    return DatasetError(Code.BAD_DATASET, what, "correct the plan")
