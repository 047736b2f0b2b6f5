"""Masks of one slice to smooth closed outlines, and outlines back to masks."""

import numpy as np
import numpy.typing as npt

from medmtl.shapes import FloatArray, Mask

FARTHEST = 0.4
"""Pixels by which a corner may leave the pixel border, along each axis. Below 0.5 no edge can pass a pixel's centre."""

_PASSES = 8
_STEPS = 3

EdgeArray = npt.NDArray[np.intp]


def outlines(mask: Mask) -> tuple[FloatArray, ...]:
    """Closed outlines of the pieces of a slice's mask, in fractional pixel indices.

    The pixel border is followed, smoothed along its length and widened to its former area; no corner moves farther
    than `FARTHEST`, so every pixel's centre stays on its side. Pixels that touch at a corner only are separate pieces.
    A hole is reached by a keyhole: a channel without width from the outline to the hole and back, which readers of
    every fill rule (even-odd, winding number, union of the outlines) understand (PS3.3 C.8.8.6.3).

    Args:
        mask: `(i, j)` bool.

    Returns:
        one `(points, 2)` array per piece, last point unlike the first, counter-clockwise from axis i to axis j.
    """
    used_i, used_j = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if used_i.size == 0:
        return ()
    first = np.array([used_i[0], used_j[0]])
    start, leaving, follow = _border(mask[used_i[0] : used_i[-1] + 1, used_j[0] : used_j[-1] + 1])
    loops = _loops(follow)
    points = np.empty(start.shape)
    for loop in loops:
        points[loop] = _smoothed(start[loop].astype(np.float64) - 0.5)
    outer = [n for n, loop in enumerate(loops) if _area(points[loop]) > 0]
    return tuple(points[edges] + first for edges in _keyholed(loops, outer, start, leaving))


def filled(polygons: tuple[FloatArray, ...], shape: tuple[int, int]) -> Mask:
    """`(i, j)` mask of the pixels whose centre lies inside `polygons`, `(points, 2)` each, by the even-odd rule."""
    crossed = np.zeros((shape[0] + 1, shape[1]), dtype=np.int64)
    for polygon in polygons:
        here, there = polygon, np.roll(polygon, -1, axis=0)
        low = np.ceil(np.minimum(here[:, 1], there[:, 1])).astype(np.int64)
        count = np.ceil(np.maximum(here[:, 1], there[:, 1])).astype(np.int64) - low
        edge = np.repeat(np.arange(len(polygon)), count)
        row = low[edge] + np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count)
        run, rise = (there - here)[edge].T
        column = np.ceil(here[edge, 0] + (row - here[edge, 1]) * run / rise).astype(np.int64)
        held = (row >= 0) & (row < shape[1])
        np.add.at(crossed, (np.clip(column[held], 0, shape[0]), row[held]), 1)
    inside: Mask = np.cumsum(crossed[:-1], axis=0) % 2 == 1
    return inside


def _border(mask: Mask) -> tuple[EdgeArray, EdgeArray, EdgeArray]:
    """Directed pixel edges with the mask on their left.

    Returns:
        `(edges, 2)` corner where each edge starts; `(i + 1, j + 1, 4)` edge that leaves a corner in each heading, -1
        where none does; `(edges,)` the edge that follows each.
    """
    padded = np.pad(mask, 1)
    beside = (padded[1:-1, :-2], padded[2:, 1:-1], padded[1:-1, 2:], padded[:-2, 1:-1])
    starts = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    steps = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
    pixels = [np.argwhere(mask & ~neighbour) for neighbour in beside]
    heading = np.repeat(np.arange(4), [len(found) for found in pixels])
    start = np.concatenate(pixels) + starts[heading]
    leaving = np.full((mask.shape[0] + 1, mask.shape[1] + 1, 4), -1, dtype=np.intp)
    leaving[start[:, 0], start[:, 1], heading] = np.arange(len(start))
    end = start + steps[heading]
    # turning left first stays with the same pixel where two pixels touch at a corner
    left, ahead, right = (leaving[end[:, 0], end[:, 1], (heading + turn) % 4] for turn in (1, 0, 3))
    return start, leaving, np.where(left >= 0, left, np.where(ahead >= 0, ahead, right))


def _loops(follow: EdgeArray) -> list[EdgeArray]:
    after = follow.tolist()
    seen = [False] * len(after)
    loops = []
    for first in range(len(after)):
        loop, edge = [], first
        while not seen[edge]:
            seen[edge] = True
            loop.append(edge)
            edge = after[edge]
        if loop:
            loops.append(np.array(loop, dtype=np.intp))
    return loops


def _smoothed(corners: FloatArray) -> FloatArray:
    """A loop of corners smoothed along itself; shrinking is undone by a shift along the normals."""
    low, high = corners - FARTHEST, corners + FARTHEST
    points = corners
    for _ in range(min(_PASSES, len(corners) // 8)):  # a loop of a pixel or two would collapse
        points = 0.5 * points + 0.25 * (np.roll(points, 1, axis=0) + np.roll(points, -1, axis=0))
        points = np.clip(points, low, high)
    wanted = _area(corners)
    for _ in range(_STEPS):
        along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
        outwards = np.stack([along[:, 1], -along[:, 0]], axis=1)
        outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
        length = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum()
        shift = np.clip((wanted - _area(points)) / max(length, 1.0), -0.2, 0.2)
        points = np.clip(points + shift * outwards, low, high)
    return points


def _area(points: FloatArray) -> float:
    """Signed area: positive counter-clockwise from axis i to axis j."""
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum() / 2)


def _keyholed(loops: list[EdgeArray], outer: list[int], start: EdgeArray, leaving: EdgeArray) -> list[list[int]]:
    """Edges of each outer loop with its holes spliced in.

    From the corner of a hole that lies lowest on axis i the channel runs down axis i, through the piece, to the next
    border: the outer loop, or a hole that lies lower and was spliced in before.
    """
    polygons = {n: loops[n].tolist() for n in outer}
    root = {int(edge): n for n in outer for edge in loops[n]}
    holes = [loops[n] for n in range(len(loops)) if n not in polygons]
    for hole in sorted(holes, key=lambda loop: int(start[loop, 0].min())):
        at = int(np.argmin(start[hole, 0]))
        ring = np.roll(hole, -at).tolist()
        i, j = start[ring[0]].tolist()
        i -= 1
        while leaving[i, j].max() < 0:
            i -= 1
        door = int(leaving[i, j].max())
        polygon = polygons[root[door]]
        place = polygon.index(door) + 1
        polygon[place:place] = [*ring, ring[0], door]
        root |= dict.fromkeys(ring, root[door])
    return list(polygons.values())
