"""The server: Streamlit's app with routes of ours, on loopback."""

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import streamlit as st
from starlette.middleware import Middleware
from streamlit import config, runtime

from medmtl.errors import Code, UsageError
from medmtl.pacs.inbox import default_workspace
from medmtl_app.door import Door
from medmtl_app.jobs import Jobs
from medmtl_app.routes import Api
from medmtl_app.sessions import Sessions
from medmtl_app.signin import Reach
from medmtl_app.workspace import Workspace

PAGE = Path(__file__).resolve().parent / "page.py"
CONFIG = {
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "server.fileWatcherType": "none",
    "server.enableStaticServing": False,
    "server.maxUploadSize": 1,  # files come by our own route
    "theme.base": "dark",
    "theme.backgroundColor": "#0a0d11",
    "theme.primaryColor": "#4c9ffe",
}
_running: list[Sessions] = []


def configure() -> None:
    """Sets Streamlit up as `serve` does, for `streamlit run` and ASGI servers."""
    for name, value in CONFIG.items():
        config.set_option(name, value)


def app_parts(workspace: Path | None = None, reached: Reach | None = None) -> dict[str, Any]:
    """Routes, guard and lifespan for `st.App(PAGE, ...)`; jobs start and end with the app.

    Args:
        workspace: folder of studies and results; `default_workspace()` where None.
        reached: from where; this machine alone where None.
    """
    kept = Workspace(workspace or default_workspace())
    sessions, jobs = Sessions(_is_alive), Jobs(kept)
    _running[:] = [sessions]

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None, None]:
        jobs.start()
        yield
        jobs.stop()
        kept.close()

    routes = Api(kept, jobs, sessions).routes()
    far = reached or Reach(options={})
    door = Middleware(Door, names=far.names, clients=far.clients)
    return {"routes": routes, "middleware": [door], "lifespan": lifespan}


def sessions() -> Sessions:
    """Sessions of the running server; of a page without one (a test of the page alone), new ones."""
    if not _running:
        _running.append(Sessions(_is_alive))
    return _running[0]


def serve(*, host: str, port: int, workspace: Path | None, open_browser: bool, reached: Reach) -> None:
    """Serves the viewer until it is ended.

    Raises:
        UsageError: `bad-option`, the port is taken.
    """
    _check_port(host, port)
    scheme = "https" if "server.sslCertFile" in reached.options else "http"
    click.echo(f"medmtl viewer: {scheme}://{host}:{port}   (research use only; Ctrl+C ends it)")
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # addresses are those of the connection, not what a header says
    given = {**reached.options, "server.address": host, "server.port": port, "server.headless": not open_browser}
    st.App(PAGE, **app_parts(workspace, reached)).run(config={**CONFIG, **given})


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"port {port} cannot be used ({error.strerror})"
            raise UsageError(Code.BAD_OPTION, what, "choose another with --port") from None


def _is_alive(session_id: str) -> bool:
    return runtime.exists() and runtime.get_instance().is_active_session(session_id)
