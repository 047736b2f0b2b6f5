"""Volume to network input, and network output back to the volume's own voxels."""

from dataclasses import dataclass

import numpy as np

from medmtl.errors import Code, StudyError
from medmtl.geometry.grid import Grid
from medmtl.geometry.linear import resample_linear
from medmtl.geometry.orientation import AxisTurn, slices_last, to_lps
from medmtl.geometry.resample import resample, resample_labels, resample_labels_onto, resample_onto, respaced
from medmtl.geometry.upright import upright
from medmtl.preparation.plan import Normalisation, Orientation, Plan, Scheme
from medmtl.shapes import ImageArray, LabelMap, Mask, ProbabilityArray, Shape, VoxelArray
from medmtl.volume import Volume

Margins = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_MARGINS: Margins = ((0, 0), (0, 0), (0, 0))
IGNORED = 255
"""Label value where nothing is known: beyond the scan."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One case in front of the network.

    Attributes:
        image: `(channel, i, j, k)` float32 along the working axes, normalised; padding is 0.
        grid: of `image`, LPS mm; with the continuation beyond the scan where the plan pads by edges.
        source: the grid of the first channel as it was read.
        turn: from the source's axes to the working axes.
        margins: voxels before and after the scan along each working axis that only continue it.
        box: the upright grid that holds a sheared source (gantry tilt); None where the source is upright.
    """

    image: ImageArray
    grid: Grid
    source: Grid
    turn: AxisTurn
    margins: Margins = NO_MARGINS
    box: Grid | None = None

    def back(self, probability: ProbabilityArray) -> ProbabilityArray:
        """One channel `(i, j, k)` on the working grid, resampled linearly onto the source's voxels."""
        full = self.source if self.box is None else self.box
        turned_shape = tuple(full.shape[axis] for axis in self.turn.order)
        values = resample(probability[self._scan], (turned_shape[0], turned_shape[1], turned_shape[2]))
        values = np.ascontiguousarray(self.turn.undo(values))
        return values if self.box is None else resample_onto(values, self.box, self.source, outside=0.0)

    def labels(self, labels: VoxelArray) -> LabelMap:
        """A label map on the source's voxels, brought to the working grid."""
        if self.box is not None:
            labels = resample_labels_onto(labels, self.source, self.box)
        shape = np.asarray(self.grid.shape) - np.sum(self.margins, axis=1)
        found = resample_labels(self.turn.apply(labels), (int(shape[0]), int(shape[1]), int(shape[2])))
        return np.ascontiguousarray(np.pad(found, self.margins, constant_values=IGNORED))

    @property
    def _scan(self) -> tuple[slice, slice, slice]:
        i, j, k = (slice(a, n - b) for (a, b), n in zip(self.margins, self.grid.shape, strict=True))
        return (i, j, k)


def prepare(channels: tuple[Volume, ...], plan: Plan) -> Prepared:
    """Turn, respace and normalise the channels of one case.

    Raises:
        StudyError: channels on different grids (`grid-mismatch`), or an image of one value (`constant-image`).
    """
    source = channels[0].grid
    for volume in channels[1:]:
        if not volume.grid.same_as(source):
            raise StudyError(Code.GRID_MISMATCH, "the channels lie on different grids", "give co-registered images")
    box = upright(source)
    turn = to_lps(box) if plan.orientation is Orientation.LPS else slices_last(box)
    turned = turn.grid(box)
    grid = respaced(turned, plan.spacing)
    image = np.stack(
        [
            _channel(turn.apply(_on_box(volume.array, source, box)), grid, rule, plan.cubic)
            for volume, rule in zip(channels, plan.normalisation, strict=True)
        ]
    )
    margins = _missing(grid.shape, plan.patch) if plan.edge_padding else NO_MARGINS
    if margins != NO_MARGINS:
        image = np.pad(image, ((0, 0), *margins), mode="edge")
        grid = grid.extended(margins)
    return Prepared(
        image=image, grid=grid, source=source, turn=turn, margins=margins, box=None if box is source else box
    )


def _on_box(array: VoxelArray, source: Grid, box: Grid) -> VoxelArray:
    """What lies beside a sheared image gets its lowest value, as padding has it."""
    return array if box is source else resample_onto(array, source, box, outside=float(array.min()))


def _missing(shape: Shape, patch: Shape) -> Margins:
    """Voxels before and after that bring each axis to the size of a patch."""
    i, j, k = (max(0, wanted - size) for size, wanted in zip(shape, patch, strict=True))
    return ((i // 2, i - i // 2), (j // 2, j - j // 2), (k // 2, k - k // 2))


def _channel(array: VoxelArray, grid: Grid, rule: Normalisation, cubic: bool) -> VoxelArray:
    if rule.scheme is Scheme.CLIP:
        return _clipped(array, grid.shape, rule, cubic)
    values = array.astype(np.float32)
    padding = _padding(values)
    inside = values[~padding]
    if inside.size == 0 or float(inside.min()) == float(inside.max()):
        raise StudyError(Code.CONSTANT_IMAGE, "all voxels have one value", "check the export of this series")
    low, high = np.percentile(inside, [rule.low, rule.high])
    clipped = np.clip(values, low, high)
    mean, spread = clipped[~padding].mean(), max(float(clipped[~padding].std()), 1e-6)
    scaled = (clipped - mean) / spread
    scaled[padding] = 0.0  # the mean: an edge of the field of view must not look like dark tissue
    return resample(scaled, grid.shape, cubic=cubic).astype(np.float32)


def _clipped(array: VoxelArray, shape: Shape, rule: Normalisation, cubic: bool) -> VoxelArray:
    def clip(values: VoxelArray) -> VoxelArray:
        return np.clip(values, rule.low, rule.high)

    # linearly in slabs: a long CT as float32 at full resolution would be most of the memory that a case takes
    out = resample(clip(array.astype(np.float32)), shape, cubic=True) if cubic else resample_linear(array, shape, clip)
    out -= np.float32(rule.mean)
    out /= np.float32(rule.spread)
    return out


def _padding(values: VoxelArray) -> Mask:
    """Voxels at the lowest value, where they are so many that they must be filling."""
    lowest = values == values.min()
    if float(lowest.mean()) < 0.01:
        return np.zeros(values.shape, dtype=np.bool_)
    return lowest
