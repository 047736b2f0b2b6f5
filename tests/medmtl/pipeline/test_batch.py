import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, MedmtlError, UsageError
from medmtl.outputs.manifest import State, read_lines
from medmtl.pipeline import batch
from medmtl.pipeline.batch import BatchOptions, Models, Outcome, run_batch
from medmtl.reading.any_volume import discover
from medmtl.volume import Volume
from sample_data.phantoms import write_nifti
from tests.tiny import heart_volume, write_bundle

OPTIONS = BatchOptions(device="cpu", formats=frozenset({"nii", "json"}))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "models" / "tiny")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two sound studies around one that holds NaN and one that ends too early."""
    folder = tmp_path / "in"
    for index, name in enumerate(("a_good", "d_good")):
        volume = heart_volume(index)
        write_nifti(folder / f"{name}.nii.gz", volume.array, volume.grid)
    bad = heart_volume(5)
    array = bad.array.astype(np.float32)
    array[3, 3, 3] = np.nan
    write_nifti(folder / "b_nan.nii.gz", array, bad.grid)
    whole = (folder / "a_good.nii.gz").read_bytes()
    (folder / "c_short.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder


def run(studies: Path, bundle: Bundle, out: Path, options: BatchOptions = OPTIONS) -> dict[str, Outcome]:
    outcomes = run_batch(discover(studies, channels=1), Models(bundle, "cpu"), options, out, lambda case: None)
    return {outcome.line.case: outcome for outcome in outcomes}


def test_bad_cases_among_good_ones(studies: Path, bundle: Bundle, tmp_path: Path) -> None:
    outcomes = run(studies, bundle, tmp_path / "out")
    states = {name: (outcome.line.state, outcome.line.code) for name, outcome in outcomes.items()}
    assert states == {
        "a_good": (State.OK, None),
        "b_nan": (State.REFUSED, Code.NOT_FINITE),
        "c_short": (State.REFUSED, Code.TRUNCATED),
        "d_good": (State.OK, None),
    }
    lines = read_lines(tmp_path / "out")
    assert {name: row["state"] for name, row in lines.items()} == {n: str(s) for n, (s, _) in states.items()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_good", "d_good", "manifest.jsonl"}
    assert {path.name for path in (tmp_path / "out" / "d_good").iterdir()} == {
        "findings.json", "lesions.nii.gz", "organs.nii.gz",
    }  # fmt: skip
    assert not any(str(studies) in str(row) for row in lines.values())


def test_finished_cases_are_skipped_until_something_changes(studies: Path, bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def skipped(options: BatchOptions = OPTIONS, model: Bundle = bundle) -> set[str]:
        return {name for name, outcome in run(studies, model, out, options).items() if outcome.skipped}

    both = {"a_good", "d_good"}
    assert skipped() == set()
    lines = (out / "manifest.jsonl").read_text(encoding="utf-8").count('a_good"')
    assert skipped() == both
    assert (out / "manifest.jsonl").read_text(encoding="utf-8").count('a_good"') == lines
    assert skipped(replace(OPTIONS, overwrite=True)) == set()
    assert skipped(replace(OPTIONS, tasks=("organs",))) == set()
    assert skipped() == set()  # the results there are those of other options
    (out / "a_good" / "organs.nii.gz").unlink()
    assert skipped() == {"d_good"}
    changed = heart_volume(9)
    write_nifti(studies / "d_good.nii.gz", changed.array, changed.grid)
    assert skipped() == {"a_good"}
    other = write_bundle(tmp_path / "models" / "other", version="2")
    assert skipped(model=other) == set()


def test_results_do_not_depend_on_the_order_or_the_company(studies: Path, bundle: Bundle, tmp_path: Path) -> None:
    run(studies, bundle, tmp_path / "one")
    cases = tuple(case for case in reversed(discover(studies, channels=1)) if case.name == "d_good")
    list(run_batch(cases, Models(bundle, "cpu"), OPTIONS, tmp_path / "two", lambda case: None))
    for path in (tmp_path / "two" / "d_good").iterdir():
        assert path.read_bytes() == (tmp_path / "one" / "d_good" / path.name).read_bytes()


def test_an_error_nobody_thought_of_fails_its_case_only(
    studies: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batch.diagnose

    def sometimes(name: str, *arguments: Any) -> Any:
        if name == "a_good":
            raise ZeroDivisionError("Jane Doe 1970")
        return whole(name, *arguments)

    monkeypatch.setattr(batch, "diagnose", sometimes)
    outcomes = run(studies, bundle, tmp_path / "out")
    line = outcomes["a_good"].line
    assert (line.state, line.code) == (State.FAILED, Code.INTERNAL_ERROR)
    assert "Jane" not in (tmp_path / "out" / "manifest.jsonl").read_text(encoding="utf-8")
    assert outcomes["d_good"].line.state is State.OK


def test_an_interruption_is_not_taken_for_a_failed_case(
    studies: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "diagnose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(studies, bundle, tmp_path / "out")


def test_a_guard_refuses_and_the_manifest_says_why(studies: Path, tmp_path: Path) -> None:
    reference = {
        "spacing_mm": {"lowest": [0.5] * 3, "highest": [0.6] * 3},
        "extent_mm": {"lowest": [1] * 3, "highest": [999] * 3},
    }  # fmt: skip
    bundle = write_bundle(tmp_path / "models" / "fine", reference=reference)
    assert run(studies, bundle, tmp_path / "out")["a_good"].line.code == Code.FIELD_OF_VIEW
    allowed = run(studies, bundle, tmp_path / "out", replace(OPTIONS, allowed=("field-of-view",)))["a_good"]
    assert (allowed.line.state, allowed.line.warnings) == (State.WARNED, ("field-of-view",))


def ct(volume: Volume) -> Volume:
    return replace(volume, modality="CT")


def test_the_one_model_that_fits_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    monkeypatch.setenv("MEDMTL_MODELS", str(folder))
    monkeypatch.setattr("medmtl.bundle.catalogue.shipped_folder", lambda: tmp_path / "none")
    volume = heart_volume()

    def refusal(study: Volume) -> Code:
        with pytest.raises(UsageError) as caught:
            Models(None, "cpu").bundle_for(study)
        return caught.value.code

    assert refusal(volume) is Code.NO_MODEL_FITS
    write_bundle(folder / "phantom")  # synthetic: never chosen by itself
    assert refusal(volume) is Code.NO_MODEL_FITS
    one = write_bundle(folder / "one", synthetic=False, name="one")
    assert Models(None, "cpu").bundle_for(volume).sha256 == one.sha256
    assert refusal(ct(volume)) is Code.NO_MODEL_FITS
    assert refusal(replace(volume, modality=None)) is Code.NO_MODEL_FITS
    write_bundle(folder / "two", synthetic=False, name="two")
    assert refusal(volume) is Code.MODEL_AMBIGUOUS
    given = Models(one, "cpu")
    assert given.bundle_for(ct(volume)) is one
    assert given.model(one) is given.model(one)


def test_every_refusal_is_one_line_without_the_folder(studies: Path, bundle: Bundle, tmp_path: Path) -> None:
    errors = [outcome.error for outcome in run(studies, bundle, tmp_path / "out").values() if outcome.error]
    assert len(errors) == 2
    for error in errors:
        assert isinstance(error, MedmtlError)
        line = error.line("case")
        assert "\n" not in line
        assert str(studies) not in line


def test_the_fast_way_says_that_no_figures_hold_for_it(studies: Path, bundle: Bundle, tmp_path: Path) -> None:
    outcomes = run_batch(
        discover(studies / "a_good.nii.gz", channels=1),
        Models(bundle, "cpu", fast=True),
        replace(OPTIONS, fast=True),
        tmp_path / "out",
        lambda case: None,
    )
    assert [outcome.line.state for outcome in outcomes] == [State.WARNED]
    found = json.loads((tmp_path / "out" / "a_good" / "findings.json").read_text(encoding="utf-8"))
    assert [row["code"] for row in found["warnings"]] == ["fast-way"]
