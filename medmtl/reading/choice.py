"""Which series of a study is read: by headers first, by pixels where these leave several, always the same one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medmtl.errors import Code, Notice, StudyError, UsageError
from medmtl.geometry.grid import Grid
from medmtl.reading.dicom_pixels import read_pixels
from medmtl.reading.dicom_series import Series
from medmtl.reading.hounsfield import hounsfield_fault
from medmtl.reading.phases import are_phases, cine_series

_LAST = 1 << 31
_LOOKS = (0.25, 0.5, 0.75)
_AS_LONG = 0.8
_COMPUTED = frozenset(
    {"MPR", "MIP", "MINIP", "REFORMATTED", "PROJECTION IMAGE", "CSAPARALLEL", "CSA MPR", "VRT", "SSD"}
)

Suits = Callable[[Grid, str], bool]
"""Whether a model could answer for a grid and a modality."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is looked for in a study.

    Attributes:
        modality: "CT" or "MR", preferred; None for any.
        series: volumes named by the user, `UID` or `UID:PART`, one per channel in the model's order, or each after the
            channel's name (`ED=UID`); a single one names a cine. Empty to choose.
        channels: names of the model's channels; more than one takes as many series.
        suits: whether a model could answer for a volume.
    """

    modality: str | None = None
    series: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    suits: Suits | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The volumes taken, one per channel, and why each of the others was not.

    Attributes:
        taken: one per channel, the first is drawn on.
        reasons: a clause for every volume of the study, in its order.
        notices: what the user must know of the choice.
        phases: where nothing is taken yet, the phases of a cine in the order of time, of which two are to be taken.
    """

    taken: tuple[Series, ...]
    reasons: tuple[str, ...]
    notices: tuple[Notice, ...] = ()
    phases: tuple[Series, ...] = ()


def choose(found: Sequence[Series], wanted: Wanted | None = None) -> Choice:
    """The volumes to read.

    Without names: the modality wanted, what a model can read, original images before computed ones, values that can be
    what they claim to be, axial before other planes (CT), the whole length before a part of it, thinner slices, the
    lower Series Number (0020,0011), the earlier part, the lower UID.

    Args:
        found: every volume of the study.
        wanted: what is looked for.

    Raises:
        UsageError: a series that is not in this study.
        StudyError: nothing can be read, with the reason of the largest series, or a channel has no series.
    """
    wanted = wanted or Wanted()
    if len(wanted.channels) > 1:
        return _several(found, wanted)
    pool = list(found)
    if len(wanted.series) > 1:
        what = f"{len(wanted.series)} series are named, one is read"
        raise UsageError(Code.BAD_OPTION, what, "name one, or a model of several channels with -m")
    if wanted.series:
        pool = _named(found, wanted.series[0])
    usable = [series for series in pool if series.error is None]
    if not usable:
        raise reason(pool)
    ranked = _ranked(usable, wanted)
    best = ranked[0][1]
    reasons = _reasons(found, pool, ranked)
    images = [s for s in pool if s.error is None or s.error.code not in (Code.NOT_AN_IMAGE, Code.LOCALIZER)]
    if len(images) == 1 or (wanted.series and len(usable) == 1):
        return Choice(taken=(best,), reasons=reasons)
    told = reasons[list(found).index(best)]
    text = f"{_title(best)} was taken of {len(images)} ({len(usable)} readable): {told}"
    return Choice(taken=(best,), reasons=reasons, notices=(Notice(code=Code.SERIES_CHOSEN, text=text),))


def reason(found: Sequence[Series]) -> StudyError:
    """Why none of the volumes can be read: the reason of the largest image series."""
    ranked = sorted(
        (series for series in found if series.error is not None),
        key=lambda series: (
            series.error is not None and series.error.code in (Code.NOT_AN_IMAGE, Code.LOCALIZER),
            -series.plane_count,
            order_key(series),
        ),
    )
    nothing = StudyError(Code.EMPTY_INPUT, "there is no series to read", "give a study with CT or MR images")
    return ranked[0].error or nothing if ranked else nothing


def order_key(series: Series) -> tuple[int, int, str, bool]:
    """By series number, part and UID."""
    number = series.first.series_number
    return (_LAST if number is None else number, series.part or 0, series.first.series_uid, series.error is not None)


def _named(found: Sequence[Series], selector: str) -> list[Series]:
    named = [series for series in found if selector in (series.selector, series.first.series_uid)]
    if not named:
        raise UsageError(Code.UNKNOWN_SERIES, "the study holds no such series", "list its series with inspect")
    return named


def _several(found: Sequence[Series], wanted: Wanted) -> Choice:
    named = _by_channel(wanted)
    if len(named) == 1 and are_phases(wanted.channels):
        return _cine(found, _named(found, named[0]), "is no cine")
    taken: list[Series] = []
    for number, channel in enumerate(wanted.channels):
        pool = _named(found, named[number]) if named else [series for series in found if _says(series, channel)]
        usable = [series for series in pool if series.error is None and series not in taken]
        if not usable and not taken and not named and are_phases(wanted.channels):
            return _cine(found, found, f"is described as {channel}, and the study holds no cine")
        if not usable:
            raise StudyError(Code.CHANNEL_MISSING, f"no readable series is described as {channel}", _NAME_ALL)
        taken.append(_ranked(usable, wanted)[0][1])
    if len({series.first.frame_of_reference_uid for series in taken}) > 1:
        what = "the series of the channels refer to different frames of reference"
        raise StudyError(Code.MIXED_FRAME_OF_REFERENCE, what, "register them first, or name others with --series")
    names = {id(series): f"channel {channel}" for series, channel in zip(taken, wanted.channels, strict=True)}
    reasons = tuple(names.get(id(s)) or _not_a_channel(s) for s in found)
    text = "; ".join(f"{channel}: {_title(series)}" for series, channel in zip(taken, wanted.channels, strict=True))
    return Choice(taken=tuple(taken), reasons=reasons, notices=(Notice(code=Code.SERIES_CHOSEN, text=text),))


_NAME_ALL = "name the series of all channels, in the model's order, with --series UID,UID"


def _by_channel(wanted: Wanted) -> tuple[str, ...]:
    """The series that were named, in the order of the channels: one each, or one for the phases of a cine."""
    if not wanted.series:
        return ()
    after = dict(part.split("=", 1) for part in wanted.series if part.split("=", 1)[0] in wanted.channels)
    if set(after) == set(wanted.channels):
        return tuple(after[channel] for channel in wanted.channels)
    alone = len(wanted.series) == 1 and are_phases(wanted.channels)
    if after or not (alone or len(wanted.series) == len(wanted.channels)):
        what = f"{len(wanted.series)} series are named, the model reads {len(wanted.channels)} channels"
        raise UsageError(Code.CHANNEL_MISSING, what, _NAME_ALL)
    return wanted.series


def _cine(found: Sequence[Series], pool: Sequence[Series], why: str) -> Choice:
    """The phases of the cine among `pool`; which of them are read is not known from headers.

    Raises:
        StudyError: there is none; of one series of several volumes that are no phases, `four-dimensional`.
    """
    phases = cine_series(pool)
    if not phases:
        parts = [series for series in pool if series.part is not None and series.error is None]
        if parts and all(series.first.series_uid == parts[0].first.series_uid for series in pool):
            what = f"the series holds {len(parts)} volumes ({parts[0].label} ...) that are not the phases of one beat"
            raise StudyError(Code.FOUR_DIMENSIONAL, what, _NAME_ALL)
        raise StudyError(Code.CHANNEL_MISSING, f"no readable series {why}", _NAME_ALL)
    chosen = {id(series) for series in phases}
    told = "a phase of the cine: those of the largest and the smallest cavity are read"
    reasons = tuple(told if id(series) in chosen else _not_a_channel(series) for series in found)
    others = {series.first.series_uid for series in found if series.error is None} - {phases[0].first.series_uid}
    if not others:
        return Choice(taken=(), reasons=reasons, phases=phases)
    number = phases[0].first.series_number
    name = "a series without number" if number is None else f"series {number}"
    notice = Notice(code=Code.SERIES_CHOSEN, text=f"{name} was taken, the cine of most slices")
    return Choice(taken=(), reasons=reasons, notices=(notice,), phases=phases)


def _not_a_channel(series: Series) -> str:
    return f"{series.error.what}; {series.error.todo}" if series.error else "no channel of the model"


def _says(series: Series, channel: str) -> bool:
    """Whether the description of a series holds the channel's name as a word of its own."""
    said = "".join(c if c.isalnum() else " " for c in f"{series.first.description} {series.label}".lower()).split()
    return channel.lower() in said


def _ranked(usable: Sequence[Series], wanted: Wanted) -> list[tuple[tuple[object, ...], Series]]:
    """Best first, each with its marks; a mark that is lower is better, and the first to differ decides."""
    rows = [(_header_marks(series, wanted), series) for series in usable]
    best = min(marks for marks, _ in rows)
    equal = [series for marks, series in rows if marks == best]
    faults = {id(series): _pixel_fault(series) for series in equal} if len(equal) > 1 else {}
    sound = [series for series in equal if not faults.get(id(series))] or equal
    longest = max(_length_mm(series) for series in sound)
    ranked = []
    for marks, series in rows:
        slice_marks = (
            bool(faults.get(id(series))),
            series.first.modality == "CT" and not series.axial,
            _length_mm(series) < _AS_LONG * longest,
            bool(series.places),
            round(_step_mm(series), 2),
        )
        ranked.append(((*marks, *slice_marks, order_key(series)), series))
    return sorted(ranked, key=lambda row: row[0])


_MARKS = (
    "another modality than the model's", "no model reads such spacing and extent", "computed from other images",
    "its values are not what they claim to be", "not axial", "covers a part only",
    "slices at uneven distances", "thicker slices", "later in the study",
)  # fmt: skip
_MERITS = (
    "the model's modality", "spacing and extent that a model reads", "original images", "plausible values", "axial",
    "the whole length", "even distances", "thinner slices", "first in the study",
)  # fmt: skip


def _header_marks(series: Series, wanted: Wanted) -> tuple[bool, bool, bool]:
    kinds = {kind.upper() for kind in series.first.image_type}
    suits = wanted.suits is None or series.grid is None or wanted.suits(series.grid, series.first.modality)
    other = wanted.modality is not None and series.first.modality != wanted.modality
    return (other, not suits, series.derived or bool(kinds & _COMPUTED))


def _reasons(
    found: Sequence[Series], pool: Sequence[Series], ranked: Sequence[tuple[tuple[object, ...], Series]]
) -> tuple[str, ...]:
    best_marks, best = ranked[0]
    known = {id(series): marks for marks, series in ranked}
    losses = {id(s): _first_difference(marks, best_marks) for marks, s in ranked if s is not best}
    reasons = []
    for series in found:
        if series is best:
            decisive = max(losses.values(), default=None)
            reasons.append("the only readable series" if decisive is None else _MERITS[decisive])
        elif series.error is not None:
            reasons.append(f"{series.error.what}; {series.error.todo}")
        elif id(series) in known and series in pool:
            sibling = series.part is not None and series.first.series_uid == best.first.series_uid
            why = "a later volume of the same series" if sibling and losses[id(series)] == len(_MARKS) - 1 else ""
            reasons.append(f"{why or _MARKS[losses[id(series)]]}; name it with --series to read it")
        else:
            reasons.append("another series was named")
    return tuple(reasons)


def _first_difference(marks: tuple[object, ...], best: tuple[object, ...]) -> int:
    return next(index for index, (mine, theirs) in enumerate(zip(marks, best, strict=True)) if mine != theirs)


def _pixel_fault(series: Series) -> str:
    """What a look at three slices finds against a volume."""
    count = len(series.slices)
    looks = sorted({min(count - 1, int(part * count)) for part in _LOOKS})
    try:
        values = read_pixels([series.slices[k] for k in looks]).array
    except StudyError as error:
        return error.what
    if series.first.modality == "CT":
        return hounsfield_fault(values)
    return "every value is the same" if values.min() == values.max() else ""


def _length_mm(series: Series) -> float:
    return _step_mm(series) * (series.grid.shape[2] if series.grid is not None else 0)


def _step_mm(series: Series) -> float:
    """From slice to slice along their normal."""
    if series.grid is None:
        return 0.0
    normal = np.cross(series.grid.affine[:3, 0], series.grid.affine[:3, 1])
    return float(abs(series.grid.affine[:3, 2] @ normal) / np.linalg.norm(normal))


def _title(series: Series) -> str:
    number = series.first.series_number
    name = "a series without number" if number is None else f"series {number}"
    return name if series.part is None else f"{name} volume {series.part} ({series.label})"
