"""A cine: one stack of slices again and again over a heart beat, of which two phases are a model's channels.

A study holds one where volumes of a series differ in nothing but their trigger time within one beat. What else is
repeated (b values, echoes, contrast, time points of minutes) is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medmtl.errors import Code, Notice, StudyError
from medmtl.reading.dicom_frames import TRAITS
from medmtl.reading.dicom_series import Series
from medmtl.reading.nifti_frames import TimeAxis
from medmtl.shapes import FloatArray
from medmtl.volume import Volume

ED, ES = "ED", "ES"
"""End-diastole and end-systole: names of channels that a cine can give."""

_LONGEST_BEAT_MS = 2500.0
_SAME = ("kind", "echo time", "inversion time", "b value", "gradient", "flip angle", "stack")
_TRIGGER = TRAITS.index("trigger time")
_LONGEST_STEP_MS = 200.0  # from phase to phase; time points of perfusion and of functional MR lie further apart
_MOST_PHASES = 100
_STEADY = 0.5  # the mean of a phase over that of another: b values and echoes change it, a beat does not


@dataclass(frozen=True, kw_only=True, eq=False)
class Cine:
    """The phases of one beat, in the order of time, on one grid.

    Attributes:
        frames: a volume per phase.
        times_ms: trigger time of each phase; empty where nothing says it.
    """

    frames: tuple[Volume, ...]
    times_ms: tuple[float, ...] = ()

    def named(self, index: int) -> str:
        """A phase in words, counted from 1."""
        time = f" (trigger time {self.times_ms[index]:.0f} ms)" if self.times_ms else ""
        return f"phase {index + 1} of {len(self.frames)}{time}"


PickPhases = Callable[[Cine], tuple[tuple[int, int], tuple[Notice, ...]]]
"""Says which phases are end-diastole and end-systole, and what the user must know of it."""


def are_phases(channels: Sequence[str]) -> bool:
    """Whether a model's channels are the two phases that a cine can give, in this order."""
    return tuple(name.upper() for name in channels) == (ED, ES)


def picked(cine: Cine, pick: PickPhases) -> tuple[Volume, Volume]:
    """End-diastole and end-systole of a cine; the first carries what is to be said of the choice."""
    (first, second), notices = pick(cine)
    one, two = cine.frames[first], cine.frames[second]
    return replace(one, notices=(*notices, *one.notices)), two


def cine_series(found: Sequence[Series]) -> tuple[Series, ...]:
    """The phases of the study's cine in the order of time: of several cines the one with most slices, then the first.

    Empty where there is none.
    """
    groups: dict[tuple[str, ...], list[Series]] = {}
    for series in found:
        if series.error is None and series.part is not None and series.grid is not None:
            traits = series.slices[0][1].traits
            alike = tuple(traits[TRAITS.index(name)] for name in _SAME)
            groups.setdefault((series.first.series_uid, *alike), []).append(series)
    cines = [phases for group in groups.values() if (phases := _in_time(group))]
    return max(cines, key=lambda phases: len(phases[0].slices), default=())


def phase_times_ms(phases: Sequence[Series]) -> tuple[float, ...]:
    """Trigger time (0018,1060) or (0020,9153) of each phase, the median over its slices."""
    return tuple(float(np.median(_times(series))) for series in phases)


def frame_cine(frames: Sequence[Volume], axis: TimeAxis) -> Cine:
    """The cine that a 4D NIfTI holds.

    Raises:
        StudyError: `four-dimensional`, its time axis or its intensities say that it is none.
    """
    why = _no_cine(frames, axis)
    if why:
        what = f"the image holds {len(frames)} volumes and is no cine of a heart beat: {why}"
        raise StudyError(Code.FOUR_DIMENSIONAL, what, "give end-diastole and end-systole as two files")
    step = axis.step_ms
    times = () if step is None else tuple(round(step * index, 3) for index in range(len(frames)))
    return Cine(frames=tuple(frames), times_ms=times)


def _no_cine(frames: Sequence[Volume], axis: TimeAxis) -> str:
    if axis.other:
        return f"its fourth axis is {axis.other}"
    if axis.step_ms is not None and not 0.0 < axis.step_ms <= _LONGEST_STEP_MS:
        return f"{axis.step_ms:g} ms lie between its volumes"
    if axis.step_ms is not None and axis.step_ms * len(frames) > _LONGEST_BEAT_MS:
        return f"it lasts {axis.step_ms * len(frames):.0f} ms"
    if len(frames) > _MOST_PHASES:
        return "it would have too many phases"
    lowest = min(0.0, *(float(frame.array.min()) for frame in frames))
    levels = np.array([float(frame.array.mean(dtype=np.float64)) - lowest for frame in frames])
    if levels.min() < _STEADY * levels.max():
        return "its volumes differ in brightness as b values or echoes do"
    return ""


def _in_time(group: Sequence[Series]) -> tuple[Series, ...]:
    """The volumes sorted by trigger time; empty where they are not the phases of one beat."""
    first = group[0]
    if len(group) < 2 or first.grid is None:
        return ()
    if not all(series.grid is not None and series.grid.same_as(first.grid) for series in group):
        return ()
    times = {id(series): _times(series) for series in group}
    if any(not np.isfinite(row).all() for row in times.values()):
        return ()
    ordered = tuple(sorted(group, key=lambda series: float(np.median(times[id(series)]))))
    table = np.stack([times[id(series)] for series in ordered])
    rising = bool((np.diff(table, axis=0) > 0).all())
    return ordered if rising and float(np.ptp(table, axis=0).max()) <= _LONGEST_BEAT_MS else ()


def _times(series: Series) -> FloatArray:
    """`(slice,)` trigger times in ms, NaN where one is not said."""
    found = []
    for _, plane in series.slices:
        try:
            found.append(float(plane.traits[_TRIGGER]))
        except ValueError:
            found.append(float("nan"))
    return np.array(found)
