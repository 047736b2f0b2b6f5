"""`medmtl predict --dry-run`: what a run would take in time, memory and disk."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medmtl.pipeline.batch import BatchOptions, Models
    from medmtl.reading.any_volume import CaseInput
    from medmtl.volume import Volume

_LOOKED_AT = 8


def dry_run(cases: "tuple[CaseInput, ...]", models: "Models", options: "BatchOptions") -> int:
    """Says it, from up to eight of the cases and some windows on this machine; gives the exit code."""
    from medmtl.errors import MedmtlError
    from medmtl.pipeline.costs import (
        case_windows,
        disk_bytes,
        fitting_workers,
        peak_bytes,
        seconds,
        window_seconds,
    )
    from medmtl.pipeline.model import lighter
    from medmtl.preparation.prepare import prepare

    step = max(1, len(cases) // _LOOKED_AT)
    looked = cases[::step][:_LOOKED_AT]
    time_s, disk, memory, read, workers = 0.0, 0.0, 0, 0, 1
    speed: dict[str, float] = {}
    for case in looked:
        try:
            channels = _channels(case, models, options)
            volume = channels[0]
            bundle = models.bundle_for(volume)
            taken = lighter(bundle) if options.fast else bundle
            probable = "prob" in options.formats
            if options.max_memory:
                workers = fitting_workers(
                    volume.grid, taken, options.tasks, options.max_memory, keep_probabilities=probable
                )
            engine = models.model(bundle, workers if options.max_memory else None).engine
            asked = options.tasks or bundle.task_names
            if bundle.sha256 not in speed:
                speed[bundle.sha256] = window_seconds(engine, taken, asked)
            windows, looks = case_windows(prepare(channels, taken.plan), taken, engine, asked)
            time_s += seconds(
                volume.grid, taken, speed[bundle.sha256], windows=windows, looks=looks, formats=options.formats
            )
            disk += disk_bytes(volume.grid, bundle, options.formats, dicom=volume.dicom is not None)
            peak = peak_bytes(volume.grid, taken, options.tasks, engine.workers, keep_probabilities=probable)
            memory, read = max(memory, peak), read + 1
        except MedmtlError as error:
            click.echo(error.line(case.where), err=True)
    if not read:
        return 3
    share = len(cases) / len(looked)
    click.echo(f"{len(cases)} cases, {len(looked)} of them looked at, {read} of these can be run")
    click.echo(f"time    about {_duration(time_s * share)}")
    click.echo(f"memory  about {memory / 2**30:.1f} GiB a process")
    click.echo(f"disk    about {disk * share / 2**20:.0f} MiB")
    return 0


def _channels(case: "CaseInput", models: "Models", options: "BatchOptions") -> "tuple[Volume, ...]":
    """The channels of a case; of a cine any phases, since all are as large."""
    from medmtl.reading.any_volume import read_case

    names = models.given.channels if models.given is not None else ()
    return read_case(
        case, series_uid=options.series_uid, channels=names, suits=models.suits, pick=lambda _: ((0, 1), ())
    )


def _duration(time_s: float) -> str:
    if time_s < 120:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.0f} min" if time_s < 7200 else f"{time_s / 3600:.1f} h"


def bytes_of(text: str) -> int:
    """Bytes of "4G", "800M" or a plain number.

    Raises:
        UsageError: `bad-option`.
    """
    from medmtl.errors import Code, UsageError

    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not value > 0.0:
        raise UsageError(Code.BAD_OPTION, f"--max-memory {text} is no size", "write 4G or 800M")
    return int(value)
