"""The server: Streamlit's app with routes of ours, on loopback."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from streamlit import runtime

from medmtl_app.jobs import Jobs
from medmtl_app.launch import LOOPBACK
from medmtl_app.routes import Api
from medmtl_app.sessions import Sessions
from medmtl_app.workspace import Workspace, default_workspace

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


def create_app(workspace: Path | None = None) -> Any:
    """The ASGI app, an `st.App`; its jobs start and end with it.

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

    # a page of another site that points its own name at loopback is refused (DNS rebinding)
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    page = Path(__file__).resolve().parent / "page.py"
    return st.App(page, routes=Api(kept, jobs, sessions).routes(), middleware=[hosts], lifespan=lifespan)


def sessions() -> Sessions:
    """Sessions of the running server; of a page without one (a test of the page alone), new ones."""
    if not _running:
        _running.append(Sessions(_is_alive))
    return _running[0]


def serve(*, host: str, port: int, workspace: Path | None, open_browser: bool) -> None:
    """Serves the viewer until it is ended."""
    os.environ["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] = "false"
    given = {"server.address": host, "server.port": port, "server.headless": not open_browser}
    create_app(workspace).run(config={**CONFIG, **given})


def _is_alive(session_id: str) -> bool:
    return runtime.exists() and runtime.get_instance().is_active_session(session_id)
