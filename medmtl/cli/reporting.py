"""What a long command says: a bar on a terminal, plain lines in a log, JSON for machines."""

import json
import logging
import sys
from types import TracebackType
from typing import Any

import click


class Reporter:
    """Progress and results of a batch.

    Args:
        quiet: results and refusals only.
        as_json: one JSON object a line on stdout instead of text.
    """

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.as_json = as_json
        self.bar: Any = None
        self.task: Any = None
        if sys.stderr.isatty() and not quiet and not as_json:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)

    def __enter__(self) -> "Reporter":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, case: str, number: int, count: int) -> None:
        """A case starts."""
        if self.bar is not None:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task = self.bar.add_task(f"{case} ({number} of {count})", total=None)

    def windows(self, done: int, total: int) -> None:
        """Windows of the running case."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total)

    def result(self, row: dict[str, Any], text: str) -> None:
        """A case is done."""
        click.echo(json.dumps(row, ensure_ascii=False) if self.as_json else text)

    def refusal(self, row: dict[str, Any], line: str) -> None:
        """A case is refused or failed."""
        if self.as_json:
            click.echo(json.dumps(row, ensure_ascii=False))
        click.echo(line, err=True)


def set_up_logging(debug: bool) -> None:
    """Log lines to stderr: warnings, or everything with tracebacks."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(message)s")
    if debug:
        for noisy in ("pydicom", "PIL", "matplotlib"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
