"""Volume to network input, and network output back to the volume's own voxels."""

from dataclasses import dataclass

import numpy as np

from medmtl.errors import Code, StudyError
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn, slices_last, to_lps
from medmtl.geometry.resample import resample, resample_labels, respaced
from medmtl.preparation.plan import Normalisation, Orientation, Plan, Scheme
from medmtl.shapes import ImageArray, LabelMap, Mask, ProbabilityArray, VoxelArray
from medmtl.volume import Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One case in front of the network.

    Attributes:
        image: `(channel, i, j, k)` float32 along the working axes, normalised; padding is 0.
        grid: of `image`, LPS mm.
        source: the grid of the first channel as it was read.
        turn: from the source's axes to the working axes.
    """

    image: ImageArray
    grid: Grid
    source: Grid
    turn: AxisTurn

    def back(self, probability: ProbabilityArray) -> ProbabilityArray:
        """One channel `(i, j, k)` on the working grid, resampled linearly onto the source's voxels."""
        turned_shape = tuple(self.source.shape[axis] for axis in self.turn.order)
        values = resample(probability, (turned_shape[0], turned_shape[1], turned_shape[2]))
        return np.ascontiguousarray(self.turn.undo(values))

    def labels(self, labels: VoxelArray) -> LabelMap:
        """A label map on the source's voxels, brought to the working grid."""
        return np.ascontiguousarray(resample_labels(self.turn.apply(labels), self.grid.shape))


def prepare(channels: tuple[Volume, ...], plan: Plan) -> Prepared:
    """Turn, respace and normalise the channels of one case.

    Raises:
        StudyError: channels on different grids (`grid-mismatch`), or an image of one value (`constant-image`).
    """
    source = channels[0].grid
    for volume in channels[1:]:
        if not volume.grid.same_as(source):
            raise StudyError(Code.GRID_MISMATCH, "the channels lie on different grids", "give co-registered images")
    turn = to_lps(source) if plan.orientation is Orientation.LPS else slices_last(source)
    turned = turn.grid(source)
    grid = respaced(turned, plan.spacing)
    image = np.stack(
        [
            _channel(turn.apply(volume.array), grid, rule, plan.cubic)
            for volume, rule in zip(channels, plan.normalisation, strict=True)
        ]
    )
    return Prepared(image=image, grid=grid, source=source, turn=turn)


def _channel(array: VoxelArray, grid: Grid, rule: Normalisation, cubic: bool) -> VoxelArray:
    values = array.astype(np.float32)
    if rule.scheme is Scheme.CLIP:
        clipped = np.clip(values, rule.low, rule.high)
        return (resample(clipped, grid.shape, cubic=cubic) - rule.mean) / rule.spread
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


def _padding(values: VoxelArray) -> Mask:
    """Voxels at the lowest value, where they are so many that they must be filling."""
    lowest = values == values.min()
    if float(lowest.mean()) < 0.01:
        return np.zeros(values.shape, dtype=np.bool_)
    return lowest
