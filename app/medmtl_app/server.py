"""The server: Streamlit's app with routes of ours, on loopback."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import streamlit as st
import uvicorn
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
PING_S = 30.0
BACKLOG = 128
_running: list[Sessions] = []


def configure(further: Mapping[str, Any] | None = None) -> None:
    """Sets Streamlit up, with `further` options; `streamlit run` and ASGI servers need no more than this."""
    for name, value in {**CONFIG, **(further or {})}.items():
        config.set_option(name, value)


def app_parts(workspace: Path | None = None, reached: Reach | None = None, pacs: str = "") -> dict[str, Any]:
    """Routes, guard and lifespan for `st.App(PAGE, ...)`; jobs start and end with the app.

    Args:
        workspace: folder of studies and results; `default_workspace()` where None.
        reached: from where; this machine alone where None.
        pacs: node that studies come from and results go to, or settings that name some; none where empty.

    Raises:
        UsageError: `pacs` names no node.
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

    routes = Api(kept, jobs, sessions, pacs).routes()
    far = reached or Reach(options={})
    door = Middleware(Door, names=far.names, clients=far.clients)
    return {"routes": routes, "middleware": [door], "lifespan": lifespan}


def sessions() -> Sessions:
    """Sessions of the running server; of a page without one (a test of the page alone), new ones."""
    if not _running:
        _running.append(Sessions(_is_alive))
    return _running[0]


def serve(*, host: str, port: int, workspace: Path | None, open_browser: bool, reached: Reach, pacs: str = "") -> None:
    """Serves the viewer until it is ended.

    Raises:
        UsageError: `bad-option`, the port is taken; `pacs` names no node.
    """
    listener = _listener(host, port)
    scheme = "https" if "server.sslCertFile" in reached.options else "http"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    click.echo(f"medmtl viewer: {address}   (research use only; Ctrl+C ends it)")
    configure({**reached.options, "server.address": host, "server.port": port, "server.headless": True})
    asgi = uvicorn.Config(
        st.App(PAGE, **app_parts(workspace, reached, pacs)),
        ssl_certfile=reached.options.get("server.sslCertFile"),
        ssl_keyfile=reached.options.get("server.sslKeyFile"),
        forwarded_allow_ips="",  # addresses are those of the connection, not what a header says
        ws="websockets-sansio",
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        access_log=False,
        log_level="warning",
    )
    if open_browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # it waits in the backlog
    uvicorn.Server(asgi).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens.

    It names its protocol: of sockets that do not, asyncio leaves TCP_NODELAY unset, and every small answer then waits
    40 ms for the client's delayed acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name != "nt":  # there it would share a port that is taken
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        what = f"port {port} cannot be used ({error.strerror})"
        raise UsageError(Code.BAD_OPTION, what, "choose another with --port") from None
    found.listen(BACKLOG)
    return found


def _has_screen() -> bool:
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _is_alive(session_id: str) -> bool:
    return runtime.exists() and runtime.get_instance().is_active_session(session_id)
