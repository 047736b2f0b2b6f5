"""Many cases, one after the other: each is done, refused or failed for itself, and nothing finished is lost."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.bundle.catalogue import bundle_folders
from medmtl.errors import Code, MedmtlError, Notice, UsageError
from medmtl.geometry.grid import Grid
from medmtl.inference.predictor import Progress
from medmtl.outputs.deidentify import Pseudonyms
from medmtl.outputs.manifest import ManifestLine, State, append_line, is_finished, read_lines
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.anonymous_case import anonymous
from medmtl.pipeline.costs import fitting_workers
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.guards import fits, suits
from medmtl.pipeline.model import Model, lighter, load_model
from medmtl.pipeline.phases import choose_phases
from medmtl.reading.any_volume import CaseInput, read_case
from medmtl.reading.phases import Cine
from medmtl.result import CaseResult
from medmtl.volume import Volume

log = logging.getLogger(__name__)
_FAST_NOTICE = Notice(code=Code.FAST_WAY, text="answered the fast way, for which the model has no measured figures")


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How a batch is run.

    Attributes:
        device: "auto", "cpu" or "cuda".
        tasks: names of tasks, None for all.
        allowed: guards to pass.
        formats: what is written for each case, see `outputs.write_case.FORMATS`.
        series_uid: the series to read of every study.
        overwrite: whether finished cases are run again.
        shard: "K/N", in the manifest.
        jobs: cases side by side, each in a process of its own, see `pipeline.jobs`.
        fast: the light way through the model, see `pipeline.model.lighter`.
        max_memory: bytes that a case may take; None for what there is.
        patience_s: how long nothing may happen in a process before its case is given up.
        pseudonyms: what stands for identities in all outputs; None leaves them in DICOM outputs.
        notices: warnings that every result carries.
    """

    device: str = "auto"
    tasks: tuple[str, ...] | None = None
    allowed: tuple[str, ...] = ()
    formats: frozenset[str] = field(default_factory=frozenset)
    series_uid: str | None = None
    overwrite: bool = False
    shard: str | None = None
    jobs: int = 1
    fast: bool = False
    max_memory: int | None = None
    patience_s: float = 1800.0
    pseudonyms: Pseudonyms | None = None
    notices: tuple[Notice, ...] = ()

    def deciding(self) -> dict[str, Any]:
        """What of it decides the content of the results."""
        return {
            "tasks": list(self.tasks) if self.tasks is not None else None,
            "allowed": sorted(self.allowed),
            "formats": sorted(self.formats),
            "series": self.series_uid is not None,
            **({"fast": True} if self.fast else {}),
            **({"deidentify": True} if self.pseudonyms is not None else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case ended: its manifest line, the answers where there are any, whether it had been done before.

    Answers of a case that ran in another process are `findings` alone.
    """

    line: ManifestLine
    result: CaseResult | None = None
    findings: dict[str, Any] | None = None
    error: MedmtlError | None = None
    skipped: bool = False


class Models:
    """Models by bundle, each loaded once.

    Args:
        bundle: the one to use for every case, None to choose by the study.
        device: where they run.
        workers: windows side by side on a CPU; None for one on each core.
        fast: whether they are taken the light way.
    """

    def __init__(self, bundle: Bundle | None, device: str, *, workers: int | None = None, fast: bool = False) -> None:
        self.given, self.device, self.workers, self.fast = bundle, device, workers, fast
        self.loaded: dict[tuple[str, int | None], Model] = {}
        self.known = [bundle] if bundle is not None else [read_bundle(path) for path in bundle_folders().values()]

    def bundle_for(self, volume: Volume) -> Bundle:
        """The given bundle, or the one of a single channel whose modality, spacing and extent fit.

        Raises:
            UsageError: `no-model-fits` or `model-ambiguous`.
        """
        if self.given is not None:
            return self.given
        names = ", ".join(bundle.name for bundle in self.known) or "none"
        if volume.modality is None:
            raise UsageError(Code.NO_MODEL_FITS, "the file does not say its modality", f"name a model with -m: {names}")
        single = [bundle for bundle in self.known if len(bundle.channels) == 1 and not bundle.synthetic]
        fitting = [bundle for bundle in single if fits(volume, bundle)]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            raise UsageError(Code.NO_MODEL_FITS, "no installed model reads such a study", f"installed: {names}")
        several = ", ".join(bundle.name for bundle in fitting)
        raise UsageError(Code.MODEL_AMBIGUOUS, "several models read such a study", f"name one with -m: {several}")

    def suits(self, grid: Grid, modality: str) -> bool:
        """Whether one of the models reads such a series, so that the reader prefers it."""
        return any(suits(grid, modality, bundle) for bundle in self.known)

    def phases(self, cine: Cine) -> tuple[tuple[int, int], tuple[Notice, ...]]:
        """End-diastole and end-systole of a cine, as the given model sees them.

        Raises:
            UsageError: `no-model-fits`, no model was given.
            StudyError: no beating heart was found.
        """
        if self.given is None:
            raise UsageError(Code.NO_MODEL_FITS, "a cine is read by a model of two phases", "name one with -m")
        return choose_phases(cine, self.model(self.given))

    def model(self, bundle: Bundle, workers: int | None = None) -> Model:
        """The bundle with its weights in memory, to run so many windows side by side."""
        key = (bundle.sha256, workers or self.workers)
        if key not in self.loaded:
            taken = lighter(bundle) if self.fast else bundle
            self.loaded[key] = load_model(taken, self.device, workers=workers or self.workers)
        return self.loaded[key]


def run_batch(
    cases: tuple[CaseInput, ...],
    models: Models,
    options: BatchOptions,
    out_dir: Path,
    begin: Callable[[CaseInput], Progress | None],
) -> Iterator[Outcome]:
    """Runs each case and writes it; a line of the manifest is on disk before the outcome is handed on.

    Args:
        cases: from `discover`.
        models: what answers.
        options: how.
        out_dir: folder of the results.
        begin: called before each case; returns who is told of its windows.
    """
    before = read_lines(out_dir) if out_dir.is_dir() else {}
    for case in cases:
        outcome = run_case(case, models, options, out_dir, (before.get(case.name), begin(case)))
        if not outcome.skipped:
            append_line(out_dir, outcome.line)
        yield outcome


def run_case(
    case: CaseInput,
    models: Models,
    options: BatchOptions,
    out_dir: Path,
    memory: tuple[dict[str, Any] | None, Progress | None],
) -> Outcome:
    """Runs one case and writes its folder, whatever happens.

    Args:
        case: from `discover`.
        models: what answers.
        options: how.
        out_dir: folder of the results.
        memory: the case's line of an earlier run, and who is told of its windows.
    """
    start = time.monotonic()
    try:
        outcome = _one(case, models, options, out_dir, memory)
    except MedmtlError as error:
        log.debug("refused", exc_info=True)
        outcome = ended(case, State.REFUSED, error)
    except MemoryError:
        log.debug("no memory", exc_info=True)
        what = "the case needs more memory than there is"
        outcome = ended(case, State.FAILED, MedmtlError(Code.OUT_OF_MEMORY, what, "close other programs"))
    except Exception as error:  # the boundary of a case: whatever happened, the others go on
        log.debug("failed", exc_info=True)
        wrapped = MedmtlError(Code.INTERNAL_ERROR, type(error).__name__, "run again with --debug and report it")
        outcome = ended(case, State.FAILED, wrapped)
    seconds = round(time.monotonic() - start, 3)
    return replace(outcome, line=replace(outcome.line, seconds=seconds, shard=options.shard))


def ended(case: CaseInput, state: State, error: MedmtlError) -> Outcome:
    """A case that ended without answers."""
    line = ManifestLine(case=case.name, state=state, code=error.code, message=str(error))
    return Outcome(line=line, error=error)


def _one(
    case: CaseInput,
    models: Models,
    options: BatchOptions,
    out_dir: Path,
    memory: tuple[dict[str, Any] | None, Progress | None],
) -> Outcome:
    row, progress = memory
    channels = read_case(
        case,
        modality_wanted=models.given.modality if models.given is not None else None,
        series_uid=options.series_uid,
        channels=models.given.channels if models.given is not None else (),
        suits=models.suits,
        pick=models.phases,
    )
    bundle = models.bundle_for(channels[0])
    line = ManifestLine(
        case=case.name,
        state=State.OK,
        input_sha256="-".join(volume.content_hash for volume in channels),
        bundle_sha256=bundle.sha256,
        options=options.deciding(),
    )
    if not options.overwrite and is_finished(row, out_dir, line):
        return Outcome(line=line, skipped=True)
    request = Request(
        tasks=options.tasks,
        allowed=options.allowed,
        keep_probabilities="prob" in options.formats,
        notices=(*options.notices, *((_FAST_NOTICE,) if options.fast else ())),
    )
    with ExitStack() as stack:
        finish = None
        if options.pseudonyms is not None:
            kept = stack.enter_context(anonymous(channels, options.pseudonyms))
            channels, finish = kept.channels, kept.finish
        workers = None
        if options.max_memory:
            grid, probable = channels[0].grid, request.keep_probabilities
            workers = fitting_workers(grid, bundle, options.tasks, options.max_memory, keep_probabilities=probable)
        result = _answered(case.name, channels, (models, bundle, workers), request, progress)
        files = write_case(result, out_dir, options.formats, finish)
    codes = tuple(str(warning["code"]) for warning in result.findings["warnings"])
    state = State.WARNED if codes else State.OK
    return Outcome(
        line=replace(line, state=state, files=tuple(files), warnings=codes), result=result, findings=result.findings
    )


def _answered(
    name: str,
    channels: tuple[Volume, ...],
    using: tuple[Models, Bundle, int | None],
    request: Request,
    progress: Progress | None,
) -> CaseResult:
    """The answers; where memory runs out, once more with one window at a time, which gives the same ones."""
    models, bundle, workers = using
    model = models.model(bundle, workers)
    try:
        return diagnose(name, channels, model, request, progress)
    except MemoryError:
        if model.engine.workers == 1:
            raise
        log.warning("memory ran out; one window at a time now")
    return diagnose(name, channels, models.model(bundle, 1), request, progress)
