"""Probabilities on the working grid to a label map on the voxels of the series, slab by slab.

Never are all classes in memory at full resolution. A structure is interpolated only in the box where it could be the
answer: interpolated probabilities lie between their neighbours, so one that is nowhere near winning cannot win between
voxels either. Labels are those of a label map made from whole arrays, bit for bit.
"""

import numpy as np

from medmtl.geometry.linear import Span, Steps, along, steps
from medmtl.geometry.resample import resample_labels_onto, resample_onto
from medmtl.inference.predictor import Sweep
from medmtl.preparation.prepare import Prepared
from medmtl.shapes import ProbabilityArray, VoxelArray
from medmtl.task import Kind, Task

_SCRATCH_VALUES = 1 << 22
_SAFELY = 0.9  # a winner of n classes has 1/n at least, but for rounding
_Box = list[Span]


class LabelMap:
    """The sink of one voxel task.

    Attributes:
        mask: for `segmentation` `(i, j, k)` uint8 label values, for `regions` `(label, i, j, k)` bool.
        foreground: `(i, j, k)` float16 probability of any label, zero where there is none; None where not wanted.
        probabilities: `(output, i, j, k)` float32; None where not wanted.

    Args:
        task: the task.
        prepared: the case.
        sweep: of its windows.
        foreground, probabilities: whether they are wanted.
    """

    def __init__(
        self, task: Task, prepared: Prepared, sweep: Sweep, *, foreground: bool = False, probabilities: bool = False
    ) -> None:
        self.exclusive = task.kind is Kind.SEGMENTATION
        self.values = [label.value for label in task.labels]
        self.axis = sweep.axis
        # what only continues the scan is cut off first
        scan = [n - before - after for n, (before, after) in zip(prepared.grid.shape, prepared.margins, strict=True)]
        self.before = [before for before, _ in prepared.margins]
        self.box = [
            (max(0, low - b), min(n, high - b)) for (low, high), b, n in zip(sweep.box, self.before, scan, strict=True)
        ]
        self.skipped = [max(0, b - low) for (low, _), b in zip(sweep.box, self.before, strict=True)]
        self.source, self.upright = prepared.source, prepared.box
        shape, turn = (self.upright or self.source).shape, prepared.turn
        lead = () if self.exclusive else (len(self.values),)
        self.mask: VoxelArray = np.zeros((*lead, *shape), dtype=np.uint8 if self.exclusive else np.bool_, order="F")
        self.foreground: VoxelArray | None = np.zeros(shape, np.float16, order="F") if foreground else None
        self.probabilities: ProbabilityArray | None = None
        if probabilities:
            self.probabilities = np.zeros((task.outputs, *shape), dtype=np.float32)
            self.probabilities[0] = float(self.exclusive)
        # views along the working axes, written through
        self._mask = turn.apply(self.mask)
        self._foreground = None if self.foreground is None else turn.apply(self.foreground)
        self._probabilities = None if self.probabilities is None else turn.apply(self.probabilities)
        wanted = self._mask.shape[-3:]
        self.ways: list[Steps] = [steps(have, want) for have, want in zip(scan, wanted, strict=True)]
        self.done = 0
        self.last: ProbabilityArray | None = None

    def __call__(self, first: int, planes: ProbabilityArray) -> None:
        """Takes working planes `first` and on, `(output, ...)` of the sweep's box."""
        first, planes = self._of_the_scan(first, planes)
        if planes.shape[1 + self.axis] == 0:
            return
        if self.last is not None:
            planes = np.concatenate([self.last, planes], axis=1 + self.axis)
            first -= 1
        way, end = self.ways[self.axis], first + planes.shape[1 + self.axis]
        final = end == self.box[self.axis][1]
        ready = way.wanted if final else int(np.searchsorted(way.upper, end))
        held = [list(span) for span in self.box]
        held[self.axis] = [first, end]
        have: _Box = [(low, high) for low, high in held]
        rest = [self.ways[n].wanted for n in range(3) if n != self.axis]
        thick = max(1, _SCRATCH_VALUES // (rest[0] * rest[1]))
        for low in range(self.done, ready, thick):
            self._write((low, min(low + thick, ready)), planes, have)
        self.done = ready
        self.last = np.take(planes, [planes.shape[1 + self.axis] - 1], axis=1 + self.axis)

    def _of_the_scan(self, first: int, planes: ProbabilityArray) -> tuple[int, ProbabilityArray]:
        where = [slice(skip, skip + high - low) for skip, (low, high) in zip(self.skipped, self.box, strict=True)]
        first -= self.before[self.axis]
        low, high = self.box[self.axis]
        begin = min(max(0, low - first), planes.shape[1 + self.axis])
        where[self.axis] = slice(begin, max(begin, high - first))
        return first + begin, planes[(slice(None), *where)]

    def finish(self) -> None:
        """Brings what was found to the voxels of a sheared series (gantry tilt); others lie there already."""
        if self.upright is None:
            return
        box, source = self.upright, self.source
        if self.exclusive:
            self.mask = resample_labels_onto(self.mask, box, source)
        else:
            self.mask = np.stack([resample_onto(mask, box, source, outside=0.0) >= 0.5 for mask in self.mask])
        if self.foreground is not None:
            self.foreground = resample_onto(self.foreground, box, source, outside=0.0).astype(np.float16)
        if self.probabilities is not None:
            values = [resample_onto(p, box, source, outside=self._empty(n)) for n, p in enumerate(self.probabilities)]
            self.probabilities = np.stack(values)

    def _write(self, span: Span, planes: ProbabilityArray, have: _Box) -> None:
        whole: _Box = [(0, way.wanted) for way in self.ways]
        whole[self.axis] = span
        if self._probabilities is not None:
            for channel, found in enumerate(planes):
                where = tuple(slice(*s) for s in whole)
                self._probabilities[channel][where] = self._values(found, have, whole, self._empty(channel))
        least = _SAFELY / len(planes) if self.exclusive else _SAFELY * 0.5
        first = int(self.exclusive)
        boxes = {n: box for n in range(first, len(planes))
                 if (box := self._reached(planes[n], have, whole, least)) is not None}  # fmt: skip
        if not boxes:
            return
        union: _Box = [(min(b[n][0] for b in boxes.values()), max(b[n][1] for b in boxes.values())) for n in range(3)]
        if self.exclusive:
            self._write_labels(planes, have, boxes, union)
        else:
            self._write_regions(planes, have, boxes, union)

    def _write_labels(self, planes: ProbabilityArray, have: _Box, boxes: dict[int, _Box], union: _Box) -> None:
        background = self._values(planes[0], have, union, 1.0)
        best = background.copy()
        labels = np.zeros(best.shape, dtype=np.uint8)
        for n, box in boxes.items():
            part = tuple(slice(low - u[0], high - u[0]) for (low, high), u in zip(box, union, strict=True))
            values = self._values(planes[n], have, box, 0.0)
            labels[part][values > best[part]] = self.values[n - 1]
            np.maximum(best[part], values, out=best[part])
        where = tuple(slice(*s) for s in union)
        self._mask[where] = labels
        if self._foreground is not None:
            self._foreground[where] = np.where(labels > 0, np.float32(1.0) - background, np.float32(0.0))

    def _write_regions(self, planes: ProbabilityArray, have: _Box, boxes: dict[int, _Box], union: _Box) -> None:
        most = np.zeros([high - low for low, high in union], dtype=np.float32)
        for n, box in boxes.items():
            values = self._values(planes[n], have, box, 0.0)
            inside = values >= 0.5
            self._mask[n][tuple(slice(*s) for s in box)] = inside
            part = tuple(slice(low - u[0], high - u[0]) for (low, high), u in zip(box, union, strict=True))
            np.maximum(most[part], np.where(inside, values, np.float32(0.0)), out=most[part])
        if self._foreground is not None:
            self._foreground[tuple(slice(*s) for s in union)] = most

    def _empty(self, channel: int) -> float:
        return float(self.exclusive and channel == 0)

    def _values(self, found: VoxelArray, have: _Box, box: _Box, outside: float) -> VoxelArray:
        """One channel at the new voxels of `box`; old voxels that are not in `have` hold `outside`."""
        reach = [way.reach(span) for way, span in zip(self.ways, box, strict=True)]
        values: VoxelArray
        if all(h[0] <= r[0] and r[1] <= h[1] for h, r in zip(have, reach, strict=True)):
            values = found[tuple(slice(r[0] - h[0], r[1] - h[0]) for h, r in zip(have, reach, strict=True))]
        else:
            values = np.full([high - low for low, high in reach], outside, dtype=np.float32)
            both = [(max(h[0], r[0]), min(h[1], r[1])) for h, r in zip(have, reach, strict=True)]
            if all(low < high for low, high in both):
                to = tuple(slice(b[0] - r[0], b[1] - r[0]) for b, r in zip(both, reach, strict=True))
                values[to] = found[tuple(slice(b[0] - h[0], b[1] - h[0]) for b, h in zip(both, have, strict=True))]
        for n in range(3):
            values = along(values, n, self.ways[n], box[n], reach[n][0])
        return values

    def _reached(self, found: VoxelArray, have: _Box, whole: _Box, least: float) -> _Box | None:
        """New voxels of `whole` that have an old neighbour of at least `least`; None where there are none."""
        high = found >= least
        box: _Box = []
        for n in range(3):
            held = np.flatnonzero(high.any(axis=tuple(m for m in range(3) if m != n)))
            if held.size == 0:
                return None
            first, end = self.ways[n].touched((int(held[0]) + have[n][0], int(held[-1]) + 1 + have[n][0]))
            span = (max(first, whole[n][0]), min(end, whole[n][1]))
            if span[0] >= span[1]:
                return None
            box.append(span)
        return box
