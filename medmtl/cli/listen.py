"""`medmtl listen`: a DICOM node that answers what it is sent."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("-s", "--settings", "path", metavar="FILE", type=click.Path(path_type=Path),
              help="YAML: who may send, what is answered, where results go; see docs/pacs.md.")  # fmt: skip
@click.option("--workspace", metavar="DIR", type=click.Path(path_type=Path),
              help="Folder of images, results and queue; $MEDMTL_WORKSPACE, or below your data folder.")  # fmt: skip
@click.option("--check", is_flag=True, help="Read the settings, ask every destination whether it is there, and end.")
@click.option("--conformance", is_flag=True, help="Print the DICOM conformance statement and end.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object an event on stdout.")
@click.option("--debug", is_flag=True, help="Tracebacks on stderr.")
@click.pass_context
def listen(
    context: click.Context,
    path: Path | None,
    workspace: Path | None,
    check: bool,
    conformance: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Receive studies from a PACS, answer them, and send the results where the settings say. Research use only.

    Nothing is sent unless a rule names a destination. Ends with 0 on SIGTERM or Ctrl-C; the queue stays, and the next
    start goes on with it.
    """
    from medmtl.cli.extras import need_pacs
    from medmtl.cli.reporting import set_up_logging
    from medmtl.errors import Code, UsageError
    from medmtl.pacs.settings import read_settings

    if conformance:
        from medmtl.pacs.conformance import statement

        click.echo(statement(), nl=False)
        return
    if path is None:
        raise UsageError(Code.BAD_OPTION, "--settings is missing", "name a file, see docs/pacs.md")
    settings = read_settings(path)
    need_pacs()
    set_up_logging(debug)
    if check:
        context.exit(_check(settings))
    from medmtl.cli.main import ALLOCATOR
    from medmtl.pacs.inbox import default_workspace
    from medmtl.pacs.listener import Listener

    until = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: until.set())
    tell = _as_json if as_json else _as_text
    Listener(settings, workspace or default_workspace(), tell, ALLOCATOR).run(until)


def _check(settings: Any) -> int:
    """Asks every destination; 0 where all answer."""
    from medmtl.errors import PeerError
    from medmtl.pacs import dimse, web

    failed = 0
    for name, to in settings.destinations.items():
        try:
            if to.url:
                web.search(to, "studies", {"limit": "1"})
            else:
                dimse.echo(settings.node.ae_title, to)
            click.echo(f"ok   {name}")
        except PeerError as error:
            failed = 1
            click.echo(error.line(name), err=True)
    for rule in settings.rules:
        click.echo(f"rule {rule.name}: {', '.join(rule.formats)} to {', '.join(rule.send_to) or 'nobody'}")
    return failed


def _as_json(event: str, **values: Any) -> None:
    click.echo(json.dumps({"event": event, **values}))


def _as_text(event: str, **values: Any) -> None:
    if event == "received":
        return  # a line a slice would hide the rest
    told = " ".join(f"{key} {_plain(value)}" for key, value in values.items() if value not in ("", [], None))
    click.echo(f"{event}: {told}")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
