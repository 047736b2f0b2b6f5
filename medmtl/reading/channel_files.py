"""The channels of a case that come as files: which belong together, and how they are read."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medmtl.errors import Code, Notice, StudyError, UsageError
from medmtl.geometry.grid import Grid
from medmtl.geometry.resample import resample_onto
from medmtl.reading.case_input import CaseInput, InputKind
from medmtl.reading.itk_image import is_itk_image, read_itk_image
from medmtl.reading.nifti import read_nifti
from medmtl.reading.nifti_frames import frame_count, read_frames
from medmtl.reading.phases import PickPhases, are_phases, frame_cine, picked
from medmtl.volume import Volume

_NUMBER = re.compile(r"^(?P<name>.+)_(?P<channel>\d{4})$")
_FRAME = re.compile(r"^(?:frame=)?(?P<frame>[1-9]\d{0,3})$")
_SHARED = 0.5  # of the smaller field of view, for two files to show one place


def joined(cases: Sequence[CaseInput], channels: int) -> CaseInput:
    """One case of files that were named together, its channels in their order."""
    if len(cases) == 1 and channels == 1:
        return cases[0]
    broken = next((case for case in cases if case.error is not None), None)
    if broken is not None:
        return broken
    if len(cases) == 1 and _holds_frames(cases[0]):
        return cases[0]
    if len(cases) != channels or any(case.kind is not InputKind.NIFTI for case in cases):
        return replace(cases[0], error=_channel_missing(len(cases), channels))
    numbered = [_NUMBER.match(case.name) for case in cases]
    stems = {match["name"] for match in numbered if match}
    name = stems.pop() if all(numbered) and len(stems) == 1 else cases[0].name
    return replace(cases[0], name=name, paths=tuple(path for case in cases for path in case.paths))


def grouped(found: Sequence[CaseInput], channels: int, names: Sequence[str] = ()) -> list[CaseInput]:
    """Files of one case put together: NAME_0000, NAME_0001 ..., or NAME_ED, NAME_ES where the channels have names.

    A single file of several volumes is a case of its own: its phases are the channels, if it is a cine.
    """
    if channels == 1:
        return list(found)
    cases: list[CaseInput] = []
    named: dict[tuple[Path, str], dict[str, CaseInput]] = {}
    for case in found:
        stem, channel = _split(case.name, names)
        if case.error is not None or case.kind is InputKind.DICOM:
            cases.append(case)  # the channels of a study are its series
        else:
            named.setdefault((case.source.parent, stem), {})[channel] = case
    wanted = [f"{channel:04d}" for channel in range(channels)]
    for (_, stem), files in named.items():
        order = sorted(files)
        paths = tuple(files[channel].paths[0] for channel in order)
        first = files[order[0]]
        if order != wanted and len(files) == 1 and _holds_frames(first):
            cases.append(first)
            continue
        error = None if order == wanted else _channel_missing(len(files), channels)
        cases.append(replace(first, name=stem or "case", paths=paths, error=error))
    return sorted(cases, key=lambda case: str(case.source))


def read_files(
    paths: Sequence[Path], channels: Sequence[str], named: Sequence[str], pick: PickPhases | None
) -> tuple[Volume, ...]:
    """The channels of a case of files on the voxels of the first, or the two phases of a 4D file.

    Args:
        paths: one file per channel, or one for all.
        channels: names of the model's channels; may be empty.
        named: volumes of a 4D file, as `frame=N`, from 1.
        pick: chooses the phases of a cine.

    Raises:
        StudyError: a file cannot be read; `grid-mismatch` where files show different places.
        UsageError: a volume that the file does not have.
    """
    if len(paths) == 1 and (are_phases(channels) or named) and frame_count(paths[0]) > 1:
        return _phases(paths[0], _in_order(named, channels), pick)
    volumes = [read_itk_image(path) if is_itk_image(path) else read_nifti(path) for path in paths]
    first = volumes[0]
    for other in volumes[1:]:
        if not other.grid.same_as(first.grid) and _shared(first.grid, other.grid) < _SHARED:
            what = "the channels lie on different grids that share less than half of the field of view"
            raise StudyError(Code.GRID_MISMATCH, what, "register them and resample them to the first")
    return (first, *(on_grid_of(first, other) for other in volumes[1:]))


def on_grid_of(first: Volume, other: Volume) -> Volume:
    """A further channel on the voxels of the first, its own lowest value beside it."""
    if other.grid.same_as(first.grid):
        return replace(other, grid=first.grid)
    array = resample_onto(other.array, other.grid, first.grid, outside=float(other.array.min()))
    notice = Notice(code=Code.CHANNEL_RESAMPLED, text="a further channel was resampled to the voxels of the first")
    return replace(other, array=array, grid=first.grid, notices=(*other.notices, notice), acquired=other)


def _phases(path: Path, named: Sequence[str], pick: PickPhases | None) -> tuple[Volume, ...]:
    frames, axis = read_frames(path)
    if named:
        wanted = [_FRAME.match(text) for text in named]
        numbers = [int(match["frame"]) for match in wanted if match]
        if len(numbers) < len(named) or max(numbers) > len(frames):
            what = f"the file holds no volume {', '.join(named)}, but {len(frames)} volumes"
            raise UsageError(Code.UNKNOWN_SERIES, what, "name them with --series frame=1,frame=9, say")
        return tuple(frames[number - 1] for number in numbers)
    cine = frame_cine(frames, axis)
    if pick is None:
        what = f"the file holds {len(frames)} volumes and does not say which are to be read"
        raise StudyError(Code.FOUR_DIMENSIONAL, what, "name them with --series frame=1,frame=9, say")
    return picked(cine, pick)


def _in_order(named: Sequence[str], channels: Sequence[str]) -> Sequence[str]:
    """Volumes that are named after their channels, in the channels' order."""
    after = dict(text.split("=", 1) for text in named if text.split("=", 1)[0] in channels)
    return [after[channel] for channel in channels] if channels and set(after) == set(channels) else named


def _split(name: str, channels: Sequence[str]) -> tuple[str, str]:
    """The case and the four-digit number of its channel in a file's stem; without one, all of the stem and nothing."""
    if match := _NUMBER.match(name):
        return match["name"], match["channel"]
    for number, channel in enumerate(channels):
        if match := re.match(rf"^(?:(?P<name>.+)[_-])?{re.escape(channel)}$", name, re.IGNORECASE):
            return match["name"] or "", f"{number:04d}"
    return name, ""


def _holds_frames(case: CaseInput) -> bool:
    return case.kind is InputKind.NIFTI and case.error is None and frame_count(case.paths[0]) > 1


def _channel_missing(found: int, channels: int) -> StudyError:
    return StudyError(
        Code.CHANNEL_MISSING,
        f"the model reads {channels} channel(s), the case has {found}",
        "give NAME_0000, NAME_0001 ... as NIfTI files side by side",
    )


def _shared(first: Grid, other: Grid) -> float:
    """Share of the smaller field of view that lies in the other, by the boxes that hold them in LPS mm."""
    boxes = []
    for grid in (first, other):
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1).T
        points = grid.to_lps(corners)
        boxes.append((points.min(axis=0), points.max(axis=0)))
    both = np.minimum(boxes[0][1], boxes[1][1]) - np.maximum(boxes[0][0], boxes[1][0])
    smaller = min(float(np.prod(high - low)) for low, high in boxes)
    return float(np.prod(np.maximum(both, 0.0))) / smaller
