"""The server: Streamlit's app with routes of ours, on loopback."""

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
from medmtl_app.jobs import Jobs
from medmtl_app.loopback import LoopbackOnly
from medmtl_app.routes import Api
from medmtl_app.sessions import Sessions
from medmtl_app.workspace import Workspace, default_workspace

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


def app_parts(workspace: Path | None = None) -> dict[str, Any]:
    """Routes, guard and lifespan for `st.App(PAGE, ...)`; jobs start and end with the app.

    Args:
        workspace: folder of studies and results; `default_workspace()` where None.
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
    return {"routes": routes, "middleware": [Middleware(LoopbackOnly)], "lifespan": lifespan}


def sessions() -> Sessions:
    """Sessions of the running server; of a page without one (a test of the page alone), new ones."""
    if not _running:
        _running.append(Sessions(_is_alive))
    return _running[0]


def serve(*, host: str, port: int, workspace: Path | None, open_browser: bool) -> None:
    """Serves the viewer until it is ended.

    Raises:
        UsageError: `bad-option`, the port is taken.
    """
    _check_port(host, port)
    click.echo(f"medmtl viewer: http://{host}:{port}   (research use only; Ctrl+C ends it)")
    given = {"server.address": host, "server.port": port, "server.headless": not open_browser}
    st.App(PAGE, **app_parts(workspace)).run(config={**CONFIG, **given})


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"port {port} cannot be used ({error.strerror})"
            raise UsageError(Code.BAD_OPTION, what, "choose another with --port") from None


def _is_alive(session_id: str) -> bool:
    return runtime.exists() and runtime.get_instance().is_active_session(session_id)
