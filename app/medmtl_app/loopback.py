"""Only this machine: whoever starts the server, and however, clients from elsewhere get nothing."""

from ipaddress import ip_address
from typing import Any

from medmtl_app import LOOPBACK


class LoopbackOnly:
    """Refuses requests and websockets of other machines, and of pages that point their own name here (DNS rebinding).

    Args:
        app: the ASGI app behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes what comes from this machine under its own name on; answers the rest with 403 or a closed socket."""
        if scope["type"] == "lifespan" or (_is_near(scope) and _is_own_name(scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"The viewer answers to its own machine only.\n"})


def _is_near(scope: Any) -> bool:
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, where the server listens on IPv6 too
    return (mapped or address).is_loopback


def _is_own_name(scope: Any) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
    return len(hosts) == 1 and hosts[0].rsplit(":", 1)[0].lower() in LOOPBACK
