"""Workers are real processes; what happens to them is done from outside, through the files they read."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code
from medmtl.outputs.manifest import State, read_lines
from medmtl.pipeline.batch import BatchOptions, Models, Outcome, run_batch
from medmtl.pipeline.jobs import run_jobs
from medmtl.reading.any_volume import CaseInput, discover
from sample_data.phantoms import write_nifti
from tests.tiny import heart_volume, write_bundle

OPTIONS = BatchOptions(device="cpu", formats=frozenset({"nii", "json"}), jobs=2)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "models" / "tiny")


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CaseInput, ...]:
    """Four sound studies and one that holds NaN."""
    for index, name in enumerate(("a", "b", "c", "d")):
        volume = heart_volume(index)
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", volume.array, volume.grid)
    bad = heart_volume(5)
    array = bad.array.astype(np.float32)
    array[3, 3, 3] = np.nan
    write_nifti(tmp_path / "in" / "nan.nii.gz", array, bad.grid)
    return discover(tmp_path / "in", channels=1)


def run(cases: tuple[CaseInput, ...], bundle: Bundle, out: Path, options: BatchOptions = OPTIONS) -> dict[str, Outcome]:
    found = run_jobs(cases, Models(bundle, "cpu"), options, out, lambda case: None)
    return {outcome.line.case: outcome for outcome in found}


def test_processes_write_what_one_after_the_other_writes(
    cases: tuple[CaseInput, ...], bundle: Bundle, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    side = {
        outcome.line.case: outcome
        for outcome in run_jobs(
            cases, Models(bundle, "cpu"), OPTIONS, tmp_path / "two", lambda case: lambda *n: told.append(n)
        )
    }
    alone = {
        outcome.line.case: outcome
        for outcome in run_batch(cases, Models(bundle, "cpu"), OPTIONS, tmp_path / "one", lambda case: None)
    }
    assert set(side) == set(alone) == {"a", "b", "c", "d", "nan"}
    for name, outcome in alone.items():
        assert (side[name].line.state, side[name].line.code) == (outcome.line.state, outcome.line.code)
        for file in outcome.line.files:
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert side["a"].findings == alone["a"].findings
    error = side["nan"].error
    assert error is not None
    assert error.line("nan") == alone["nan"].error.line("nan")  # type: ignore[union-attr]
    assert set(read_lines(tmp_path / "two")) == set(side)
    assert told
    again = run(cases, bundle, tmp_path / "two")
    assert {name for name, outcome in again.items() if outcome.skipped} == {"a", "b", "c", "d"}


@pytest.mark.slow
def test_a_case_whose_process_is_killed_is_named_and_the_others_are_done(
    cases: tuple[CaseInput, ...], bundle: Bundle, tmp_path: Path
) -> None:
    pipe = tmp_path / "in" / "e.nii"  # reading it waits for ever
    os.mkfifo(pipe)
    stuck = replace(cases[0], name="stuck", paths=(pipe,))
    children: list[int] = []

    def begin(case: CaseInput) -> None:
        if case.name == "stuck":
            threading.Thread(target=_kill_reader_of, args=(pipe, children), daemon=True).start()

    found = run_jobs((stuck, *cases), Models(bundle, "cpu"), OPTIONS, tmp_path / "out", begin)
    outcomes = {outcome.line.case: outcome.line for outcome in found}
    assert children
    assert (outcomes["stuck"].state, outcomes["stuck"].code) == (State.FAILED, Code.WORKER_ENDED)
    assert "signal 9" in (outcomes["stuck"].message or "")
    assert all(outcomes[name].state is State.OK for name in "abcd")
    assert read_lines(tmp_path / "out")["stuck"]["code"] == "worker-ended"


def _kill_reader_of(pipe: Path, children: list[int]) -> None:
    """Kills the process that has the pipe open."""
    while not children:
        for row in Path("/proc").glob("[0-9]*"):
            try:
                here = any(os.readlink(link) == str(pipe) for link in (row / "fd").iterdir())
                waits = "fifo" in (row / "wchan").read_text() or "wait_for_partner" in (row / "wchan").read_text()
            except OSError:
                continue
            if (here or waits) and int(row.name) != os.getpid():
                children.append(int(row.name))
                os.kill(int(row.name), signal.SIGKILL)
                return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_hang_becomes_an_error_with_its_cause(cases: tuple[CaseInput, ...], bundle: Bundle, tmp_path: Path) -> None:
    pipe = tmp_path / "in" / "e.nii"
    os.mkfifo(pipe)
    stuck = replace(cases[0], name="stuck", paths=(pipe,))
    outcomes = run((stuck, *cases), bundle, tmp_path / "out", replace(OPTIONS, patience_s=8.0))
    line = outcomes["stuck"].line
    assert (line.state, line.code) == (State.FAILED, Code.TIMED_OUT)
    assert "while reading" in (line.message or "")
    assert all(outcomes[name].line.state is State.OK for name in "abcd")
