"""`medmtl queue`: what the node has received, answered and sent."""

import json
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl.pacs.queue import Queue

_WORKSPACE = click.option("--workspace", metavar="DIR", type=click.Path(path_type=Path), help="As for listen.")
_JOB = click.argument("job", metavar="JOB", type=int)


@click.group()
def queue() -> None:
    """The queue of medmtl listen; works while it runs and while it does not."""


@queue.command("list")
@_WORKSPACE
@click.option("--json", "as_json", is_flag=True, help="A JSON list for machines.")
def list_jobs(workspace: Path | None, as_json: bool) -> None:
    """List every study with its state, and what could not be sent."""
    with closing(_opened(workspace)) as opened:
        jobs = [(job, opened.deliveries(job.id)) for job in opened.jobs()]
    rows = [{**asdict(job), "deliveries": [asdict(one) for one in sent]} for job, sent in jobs]
    click.echo(json.dumps(rows, indent=1) if as_json else "\n".join(_text(row) for row in rows) or "the queue is empty")


@queue.command()
@_JOB
@_WORKSPACE
def retry(job: int, workspace: Path | None) -> None:
    """Answer JOB again where it failed, or send again what of it could not be sent."""
    with closing(_opened(workspace)) as opened:
        click.echo("waiting" if opened.retry(job) else "nothing of it failed")


@queue.command()
@_JOB
@_WORKSPACE
def drop(job: int, workspace: Path | None) -> None:
    """Take JOB, and what of it is not yet sent, off the queue."""
    with closing(_opened(workspace)) as opened:
        click.echo("dropped" if opened.drop(job) else "nothing of it was waiting")


def _opened(workspace: Path | None) -> "Queue":
    from medmtl.errors import Code, UsageError
    from medmtl.pacs.inbox import default_workspace
    from medmtl.pacs.queue import FILE, Queue

    folder = (workspace or default_workspace()) / "pacs"
    if not (folder / FILE).is_file():
        raise UsageError(Code.NOT_FOUND, "there is no queue in this workspace", "give the --workspace of listen")
    return Queue(folder)


def _text(row: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["added"]))
    head = f"{row['id']:>4}  {when}  {row['name']}  {row['rule']}  {row['images']} images  {row['state']}"
    lines = [head + (f" (replaces {row['supersedes']})" if row["supersedes"] else "")]
    if row["code"]:
        lines.append(f"        {row['code']}: {row['message']}")
    by_state: dict[tuple[str, str, str, str], int] = {}
    for one in row["deliveries"]:
        key = (one["destination"], one["state"], one["code"], one["message"])
        by_state[key] = by_state.get(key, 0) + 1
    for (to, state, code, message), count in by_state.items():
        lines.append(f"        {to}: {count} {state}" + (f" ({code}: {message})" if code else ""))
    return "\n".join(lines)
