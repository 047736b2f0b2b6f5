"""`medmtl app`: starts the viewer."""

from pathlib import Path

import click

from medmtl_app import LOOPBACK

DEFAULT_PORT = 8501


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--host", default=LOOPBACK[0], show_default=True, help="Loopback only.")
@click.option("--workspace", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Studies and results. Default: medmtl/workspace in the user's data folder.")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def app(port: int, host: str, workspace: Path | None, no_browser: bool) -> None:
    """Open the viewer: drop a study in, read lesions, organs and diagnosis on one page. Research use only."""
    from importlib.util import find_spec

    from medmtl.errors import Code, UsageError

    if host not in LOOPBACK:
        what = f"--host {host} opens patients' studies to the network without sign-in and TLS"
        raise UsageError(Code.BAD_OPTION, what, f"use {LOOPBACK[0]}, or reach it through an SSH tunnel")
    if find_spec("streamlit") is None:
        what = "the viewer needs streamlit, which is not installed"
        raise UsageError(Code.BAD_OPTION, what, "run pip install 'medmtl[app]'")
    from medmtl_app.server import serve

    serve(host=host, port=port, workspace=workspace, open_browser=not no_browser)
