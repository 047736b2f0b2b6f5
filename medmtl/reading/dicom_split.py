"""One series, several volumes: orientations, echoes, phases and time points told apart (PS3.3 C.7.6.16, C.8.3)."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medmtl.reading.dicom_frames import TRAITS, Plane
from medmtl.reading.dicom_geometry import ORIENTATION_TOLERANCE
from medmtl.reading.dicom_header import Instance

Placed = tuple[Instance, Plane]
MIN_PLANES = 2
_OTHER_ORIENTATION = np.sin(np.radians(1.0))
_UNITS = {"echo time": " ms", "inversion time": " ms", "trigger time": " ms", "tube voltage": " kV"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some planes of a series, and what sets them apart from the others.

    Attributes:
        planes: indices into the planes of the series.
        told_by: name and value of each property that sets the part apart; empty where nothing does.
    """

    planes: tuple[int, ...]
    told_by: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What sets the part apart, in words."""
        return ", ".join(f"{name} {value}{_UNITS.get(name, '')}" for name, value in self.told_by)


def by_orientation(placed: Sequence[Placed]) -> list[Part]:
    """Parts of one Image Orientation (0020,0037) each, in the order in which they are met."""
    firsts: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    groups: list[list[int]] = []
    for index, (_, plane) in enumerate(placed):
        cosines = np.asarray(plane.orientation if plane.orientation is not None else np.zeros(6), dtype=np.float64)
        near = [n for n, first in enumerate(firsts) if np.abs(first - cosines).max() <= ORIENTATION_TOLERANCE]
        if near:
            groups[near[0]].append(index)
        else:
            firsts.append(cosines)
            groups.append([index])
    if len(groups) == 1:
        return [Part(planes=tuple(groups[0]))]
    named = [_plane_name(cosines) for cosines in firsts]
    counts, seen = Counter(named), Counter[str]()
    parts = []
    for name, group in zip(named, groups, strict=True):
        seen[name] += 1
        value = f"{name} {seen[name]}" if counts[name] > 1 else name
        parts.append(Part(planes=tuple(group), told_by=(("orientation", value),)))
    return parts


def are_stacks(placed: Sequence[Placed], parts: Sequence[Part]) -> bool:
    """Whether orientations are those of several stacks: some with several slices, no two less than a degree apart.

    Slices of one stack whose directions jitter would else become two volumes, each of every other slice.
    """
    cosines = [np.asarray(placed[part.planes[0]][1].orientation, dtype=np.float64) for part in parts]
    gaps = [np.abs(one - other).max() for n, one in enumerate(cosines) for other in cosines[:n]]
    return max(len(part.planes) for part in parts) >= MIN_PLANES and min(gaps, default=1.0) >= _OTHER_ORIENTATION


def by_traits(placed: Sequence[Placed], part: Part, groups: Sequence[Sequence[int]]) -> list[Part]:
    """Parts of `part` with at most one plane at each place; `[part]` where nothing in the headers tells them apart.

    The first properties of `TRAITS` that separate planes at one place are used, then the order of the images: the
    n-th image at every place, or the file where a file holds a whole volume.

    Args:
        placed: every plane of the series.
        part: what is to be split.
        groups: indices of the planes at each place.
    """
    place = {index: number for number, group in enumerate(groups) for index in group}
    parts = [part]
    for number, name in enumerate(TRAITS):
        if not _crowded(parts, place):
            break
        parts = _split(parts, place, name, _trait(placed, number))
    if _crowded(parts, place) and any(len(instance.planes) > 1 for instance, _ in placed):
        parts = _split(parts, place, "file", _file_order(placed))
    if _crowded(parts, place):
        turns = {index: turn for one in parts for index, turn in _turns(placed, one, place).items()}
        parts = _split(parts, place, "image", lambda index: f"{turns[index] + 1}")
    whole = [one for one in parts if len(one.planes) >= MIN_PLANES]
    if _crowded(parts, place) or len(whole) < len(parts):
        return [part]
    return sorted(parts, key=lambda one: _order(one, placed))


def _crowded(parts: Sequence[Part], place: dict[int, int]) -> bool:
    return any(len({place[index] for index in one.planes}) < len(one.planes) for one in parts)


def _split(parts: list[Part], place: dict[int, int], name: str, value: Callable[[int], Hashable]) -> list[Part]:
    """Each crowded part divided by a property, where every piece of it holds fewer planes at some place."""
    result: list[Part] = []
    for part in parts:
        pieces: dict[Hashable, list[int]] = {}
        for index in part.planes:
            pieces.setdefault(value(index), []).append(index)
        depth = _depth(part.planes, place)
        # a property that changes from slice to slice, a time of acquisition say, makes more pieces than there are
        # images at any place
        useful = 1 < len(pieces) <= depth and min(map(len, pieces.values())) >= MIN_PLANES
        useful = useful and all(_depth(piece, place) < depth for piece in pieces.values())
        if depth == 1 or not useful:
            result.append(part)
            continue
        for key, indices in pieces.items():
            told_by = (*part.told_by, (name, _shown(key)))
            result.append(replace(part, planes=tuple(indices), told_by=told_by))
    return result


def _depth(planes: Sequence[int], place: dict[int, int]) -> int:
    """The most planes at one place."""
    return max(Counter(place[index] for index in planes).values())


def _trait(placed: Sequence[Placed], number: int) -> Callable[[int], Hashable]:
    return lambda index: placed[index][1].traits[number]


def _file_order(placed: Sequence[Placed]) -> Callable[[int], Hashable]:
    paths = {instance.path: instance.instance_number or 0 for instance, _ in placed}
    order = {path: turn for turn, path in enumerate(sorted(paths, key=lambda path: (paths[path], path)))}
    return lambda index: f"{order[placed[index][0].path] + 1}"


def _turns(placed: Sequence[Placed], part: Part, place: dict[int, int]) -> dict[int, int]:
    """Which image at its place a plane is, by Instance Number (0020,0013), where every place has as many."""
    at: dict[int, list[int]] = {}
    for index in part.planes:
        at.setdefault(place[index], []).append(index)
    if len({len(group) for group in at.values()}) > 1:
        return dict.fromkeys(part.planes, 0)
    numbers = [placed[index][0].instance_number for index in part.planes]
    single = all(len(placed[index][0].planes) == 1 for index in part.planes)
    if single and (None in numbers or len(set(numbers)) < len(numbers)):
        return dict.fromkeys(part.planes, 0)  # nothing says which image belongs to which
    order = {index: (placed[index][0].instance_number or 0, placed[index][1].frame) for index in part.planes}
    return {index: turn for group in at.values() for turn, index in enumerate(sorted(group, key=order.__getitem__))}


def _order(part: Part, placed: Sequence[Placed]) -> tuple[tuple[bool, float, str], ...]:
    """Magnitude before phase, then short echoes, low b values and early phases first."""
    keys = []
    for _, value in part.told_by:
        try:
            keys.append((False, float(value), ""))
        except ValueError:
            pieces = set(value.split("/"))
            keys.append((not pieces & {"M", "MAGNITUDE"}, 0.0, value))
    first = min(placed[index][0].instance_number or 0 for index in part.planes)
    return (*keys, (False, float(first), ""))


def _shown(value: Hashable) -> str:
    text = str(value).replace("\\", "/")
    return "".join(char if char.isprintable() else "?" for char in text)[:64] or "none"


def _plane_name(cosines: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]
