"""`medmtl app`: starts the viewer."""

from pathlib import Path

import click

from medmtl_app import LOOPBACK

DEFAULT_PORT = 8501


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option(
    "--host", default=LOOPBACK[0], show_default=True, help="Another address needs a sign-in, and TLS or a stated proxy."
)
@click.option("--tls-certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PEM")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PEM")
@click.option("--behind-proxy", metavar="ADDRESS", help="IP address of a proxy that does TLS; only it may ask.")
@click.option("--workspace", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Studies and results. Default: medmtl/workspace in the user's data folder.")  # fmt: skip
@click.option(
    "--pacs",
    default="",
    metavar="NODE",
    help="AET@host:port or DICOMweb address to fetch from and send to; or settings of medmtl listen.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def app(
    port: int,
    host: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    behind_proxy: str | None,
    workspace: Path | None,
    pacs: str,
    no_browser: bool,
) -> None:
    """Open the viewer: drop a study in, read lesions, organs and diagnosis on one page. Research use only."""
    from importlib.util import find_spec

    from medmtl.errors import Code, UsageError

    if find_spec("streamlit") is None:
        what = "the viewer needs streamlit, which is not installed"
        raise UsageError(Code.BAD_OPTION, what, "run pip install 'medmtl[app]'")
    from medmtl_app.server import serve
    from medmtl_app.signin import reach

    found = reach(host, tls_certificate, tls_key, behind_proxy)
    serve(host=host, port=port, workspace=workspace, open_browser=not no_browser, reached=found, pacs=pacs)
