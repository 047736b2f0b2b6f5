"""One run of the shipped model on the samples, shared by the tests of this folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medmtl.cli.main import medmtl

Run = Callable[[Sequence[str | Path]], Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """Calls the console command in this process."""

    def call(arguments: Sequence[str | Path]) -> Result:
        return CliRunner().invoke(medmtl, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def samples(root: Path) -> Path:
    """The real cardiac samples."""
    return root / "sample_data" / "cardiac_lge"


@pytest.fixture(scope="session")
def demo(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """`medmtl demo` and the folder it wrote."""
    out = tmp_path_factory.mktemp("demo") / "out"
    return run(["demo", "-o", out]), out


@pytest.fixture(scope="session")
def zipped(run: Run, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the DICOM sample given as a zip."""
    out = tmp_path_factory.mktemp("zip") / "out"
    result = run(["predict", "-i", samples / "dicom" / "Case_P002.zip", "-o", out])
    assert result.exit_code == 0, result.output
    return next(out.glob("study-*"))
