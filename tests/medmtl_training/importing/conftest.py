"""What importers are given: folders of other makes, written by the tests themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.data_cli import data

Imported = Callable[..., tuple[Dataset, Result]]


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """`medmtl data import`, and the data set that came out."""

    def run(source: Path, *arguments: str, code: int = 0) -> tuple[Dataset, Result]:
        target = tmp_path / "imported"
        call = ["import", str(source), "-o", str(target), *arguments]
        result = CliRunner().invoke(data, call, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return read_dataset(target)[0], result

    return run
