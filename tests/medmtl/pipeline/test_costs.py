from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from medmtl.cli.dry_run import bytes_of
from medmtl.cli.predict import predict
from medmtl.errors import Code, StudyError, UsageError
from medmtl.geometry.grid import Grid
from medmtl.pipeline.batch import BatchOptions, Models, run_batch
from medmtl.pipeline.costs import (
    case_windows,
    disk_bytes,
    fitting_workers,
    peak_bytes,
    seconds,
    window_counts,
    working_grid,
)
from medmtl.pipeline.model import load_model
from medmtl.preparation.prepare import prepare
from medmtl.reading.any_volume import discover
from sample_data.phantoms import write_nifti
from tests.tiny import STACK, heart_volume, write_bundle

WIDE = replace(STACK, patch=(256, 256, 8))
FORMATS = frozenset({"nii", "json"})


def grid(slices: int) -> Grid:
    return Grid(shape=(256, 256, slices), affine=np.diag([1.5, 1.5, 8.0, 1.0]))


def test_the_working_grid_is_the_one_a_case_is_prepared_on() -> None:
    volume = heart_volume()
    assert working_grid(volume.grid, STACK).shape == prepare((volume,), STACK).grid.shape
    assert window_counts((33, 16, 3), STACK) == (4, 1, 1)


def test_more_of_anything_costs_more(tmp_path: Path) -> None:
    bundle = replace(write_bundle(tmp_path / "tiny"), plan=WIDE)
    least = peak_bytes(grid(10), bundle, None, 1)
    assert peak_bytes(grid(40), bundle, None, 1) > least
    assert peak_bytes(grid(10), bundle, None, 4) > least
    assert peak_bytes(grid(10), bundle, None, 1, keep_probabilities=True) > least
    assert peak_bytes(grid(10), bundle, ("diagnosis",), 1) < least
    mirrored = seconds(grid(10), bundle, 1.0)
    plain = seconds(grid(10), replace(bundle, plan=replace(WIDE, mirror=())), 1.0)
    assert mirrored == pytest.approx(2 * plain, rel=0.01)
    assert disk_bytes(grid(10), bundle, FORMATS, dicom=False) < disk_bytes(
        grid(10), bundle, FORMATS | {"seg"}, dicom=True
    )


def test_windows_side_by_side_are_as_many_as_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = replace(write_bundle(tmp_path / "tiny"), plan=WIDE)
    monkeypatch.setattr("medmtl.pipeline.costs.usable_cores", lambda: 4)
    one, all_cores = (peak_bytes(grid(10), bundle, None, n) for n in (1, 4))
    assert fitting_workers(grid(10), bundle, None, all_cores) == 4
    assert fitting_workers(grid(10), bundle, None, one) == 1
    with pytest.raises(StudyError) as caught:
        fitting_workers(grid(10), bundle, None, one - 1)
    assert caught.value.code is Code.TOO_LARGE


def test_memory_changes_no_bit_of_the_results(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    volume = heart_volume()
    write_nifti(tmp_path / "in" / "a.nii.gz", volume.array, volume.grid)
    cases = discover(tmp_path / "in", channels=1)
    least = peak_bytes(volume.grid, bundle, None, 1)
    for name, limit in (("all", None), ("least", least)):
        options = BatchOptions(device="cpu", formats=FORMATS, max_memory=limit)
        [outcome] = run_batch(cases, Models(bundle, "cpu"), options, tmp_path / name, lambda case: None)
        assert outcome.error is None
    for path in (tmp_path / "all" / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "least" / "a" / path.name).read_bytes()
    options = BatchOptions(device="cpu", formats=FORMATS, max_memory=1 << 20)
    [outcome] = run_batch(cases, Models(bundle, "cpu"), options, tmp_path / "none", lambda case: None)
    assert outcome.line.code == Code.TOO_LARGE


@pytest.mark.parametrize(("text", "size"), [("4G", 4 << 30), ("800m", 800 << 20), ("1.5K", 1536), ("99", 99)])
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "four", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        bytes_of(text)


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    for index in range(3):
        volume = heart_volume(index)
        write_nifti(tmp_path / "in" / f"{index}.nii.gz", volume.array, volume.grid)
    call = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(bundle.folder), "--dry-run"]
    done = CliRunner().invoke(predict, call)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("3 cases, 3 of them looked at, 3 of these can be run\ntime    about ")
    assert [line.split()[0] for line in done.output.splitlines()[1:]] == ["time", "memory", "disk"]
    assert not (tmp_path / "out").exists()


def test_windows_and_writing_are_counted(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny", plan=replace(STACK, keep_largest=("organs",)))
    prepared = prepare((heart_volume(),), bundle.plan)
    engine = load_model(bundle, "cpu").engine
    windows, looks = case_windows(prepared, bundle, engine, bundle.task_names)
    i, j, k = window_counts(prepared.grid.shape, bundle.plan)
    assert 0 < windows <= i * j * k
    whole = replace(bundle, plan=replace(bundle.plan, locate=False))
    assert case_windows(prepared, whole, engine, bundle.task_names) == (i * j * k, 0)
    assert looks in (0, 2 * 2 * 2)
    bare = seconds(grid(10), bundle, 1.0, windows=3, looks=2)
    assert bare == pytest.approx(3 * 2 + 2, abs=0.1)
    assert seconds(grid(10), bundle, 1.0, windows=3, looks=2, formats={"html", "seg"}) == pytest.approx(bare + 1.2)
