"""The console command: sub-commands are entry points of the group `medmtl.commands`, loaded when called."""

import logging
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from medmtl import __version__

GROUP = "medmtl.commands"
_ORDER = (
    "predict", "app", "demo", "inspect", "collect", "models", "train", "evaluate", "data",
    "listen", "queue", "pull", "push", "info", "doctor",
)  # fmt: skip
_COMPUTING = {"predict", "bench", "demo", "train", "evaluate"}
# glibc gives large blocks back to the system at each free and faults them in again: 45 % of a CPU forward pass.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "8589934592", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed commands, the daily ones first."""
        names = set(_commands())
        return [name for name in _ORDER if name in names] + sorted(names - set(_ORDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None where there is none of this name."""
        entry = _commands().get(cmd_name)
        return None if entry is None else entry.load()

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; what it refuses is one line on stderr and an exit code, never a traceback."""
        from medmtl.errors import MedmtlError, OutputError, TrainingError

        try:
            return super().invoke(ctx)
        except MedmtlError as error:
            click.echo(error.line(ctx.invoked_subcommand or "medmtl"), err=True)
            ctx.exit(3 if isinstance(error, OutputError | TrainingError) else 2)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


def _commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="medmtl")
def medmtl() -> None:
    """Lesions, organs and a diagnosis from one CT or MRI study. Research use only, not for clinical decisions."""


def main() -> Any:
    """Runs the console command and ends the process with its exit code."""
    if len(sys.argv) > 1 and sys.argv[1] in _COMPUTING and not {"-h", "--help"} & set(sys.argv):
        _tune_allocator()
    logging.captureWarnings(True)
    return medmtl()


def _tune_allocator() -> None:
    if not sys.platform.startswith("linux") or any(name in os.environ for name in ALLOCATOR):
        return
    # glibc reads these when the process starts
    os.execve(sys.executable, [sys.executable, "-m", "medmtl.cli.main", *sys.argv[1:]], {**os.environ, **ALLOCATOR})


if __name__ == "__main__":
    main()
