"""Many cases, one after the other: each is done, refused or failed for itself, and nothing finished is lost."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.bundle.catalogue import bundle_folders
from medmtl.errors import Code, MedmtlError, UsageError
from medmtl.inference.predictor import Progress
from medmtl.outputs.manifest import ManifestLine, State, append_line, is_finished, read_lines
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.guards import fits
from medmtl.pipeline.model import Model, load_model
from medmtl.reading.any_volume import CaseInput, read_case
from medmtl.result import CaseResult
from medmtl.volume import Volume

log = logging.getLogger(__name__)


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
    """

    device: str = "auto"
    tasks: tuple[str, ...] | None = None
    allowed: tuple[str, ...] = ()
    formats: frozenset[str] = field(default_factory=frozenset)
    series_uid: str | None = None
    overwrite: bool = False
    shard: str | None = None

    def deciding(self) -> dict[str, Any]:
        """What of it decides the content of the results."""
        return {
            "tasks": list(self.tasks) if self.tasks is not None else None,
            "allowed": sorted(self.allowed),
            "formats": sorted(self.formats),
            "series": self.series_uid is not None,
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case ended: its manifest line, the answers where there are any, whether it had been done before."""

    line: ManifestLine
    result: CaseResult | None = None
    error: MedmtlError | None = None
    skipped: bool = False


class Models:
    """Models by bundle, each loaded once.

    Args:
        bundle: the one to use for every case, None to choose by the study.
        device: where they run.
    """

    def __init__(self, bundle: Bundle | None, device: str) -> None:
        self.given, self.device = bundle, device
        self.loaded: dict[str, Model] = {}
        self.known = [bundle] if bundle is not None else [read_bundle(path) for path in bundle_folders().values()]

    def bundle_for(self, volume: Volume) -> Bundle:
        """The given bundle, or the one whose modality, spacing and extent fit.

        Raises:
            UsageError: `no-model-fits` or `model-ambiguous`.
        """
        if self.given is not None:
            return self.given
        names = ", ".join(bundle.name for bundle in self.known) or "none"
        if volume.modality is None:
            raise UsageError(Code.NO_MODEL_FITS, "the file does not say its modality", f"name a model with -m: {names}")
        fitting = [bundle for bundle in self.known if fits(volume, bundle) and not bundle.synthetic]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            raise UsageError(Code.NO_MODEL_FITS, "no installed model reads such a study", f"installed: {names}")
        several = ", ".join(bundle.name for bundle in fitting)
        raise UsageError(Code.MODEL_AMBIGUOUS, "several models read such a study", f"name one with -m: {several}")

    def model(self, bundle: Bundle) -> Model:
        """The bundle with its weights in memory."""
        if bundle.sha256 not in self.loaded:
            self.loaded[bundle.sha256] = load_model(bundle, self.device)
        return self.loaded[bundle.sha256]


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
        start = time.monotonic()
        progress = begin(case)
        try:
            outcome = _one(case, models, options, out_dir, (before.get(case.name), progress))
        except MedmtlError as error:
            log.debug("refused", exc_info=True)
            line = ManifestLine(case=case.name, state=State.REFUSED, code=error.code, message=str(error))
            outcome = Outcome(line=line, error=error)
        except Exception as error:  # the boundary of a case: whatever happened, the others go on
            log.debug("failed", exc_info=True)
            wrapped = MedmtlError(Code.INTERNAL_ERROR, type(error).__name__, "run again with --debug and report it")
            line = ManifestLine(case=case.name, state=State.FAILED, code=wrapped.code, message=str(wrapped))
            outcome = Outcome(line=line, error=wrapped)
        if not outcome.skipped:
            seconds = round(time.monotonic() - start, 3)
            outcome = replace(outcome, line=replace(outcome.line, seconds=seconds, shard=options.shard))
            append_line(out_dir, outcome.line)
        yield outcome


def _one(
    case: CaseInput,
    models: Models,
    options: BatchOptions,
    out_dir: Path,
    memory: tuple[dict[str, Any] | None, Progress | None],
) -> Outcome:
    row, progress = memory
    wanted = models.given.modality if models.given is not None else None
    channels = read_case(case, modality_wanted=wanted, series_uid=options.series_uid)
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
    request = Request(tasks=options.tasks, allowed=options.allowed, keep_probabilities="prob" in options.formats)
    result = diagnose(case.name, channels, models.model(bundle), request, progress)
    files = write_case(result, out_dir, options.formats)
    codes = tuple(str(warning["code"]) for warning in result.findings["warnings"])
    state = State.WARNED if codes else State.OK
    return Outcome(line=replace(line, state=state, files=tuple(files), warnings=codes), result=result)
