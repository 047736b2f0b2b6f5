"""Who is let in: by default this machine alone, whoever starts the server, and however."""

from ipaddress import ip_address
from typing import Any

from medmtl_app import LOOPBACK


class Door:
    """Refuses requests and websockets of other machines, and of pages that point their own name here (DNS rebinding).

    Args:
        app: the ASGI app behind it.
        names: host names under which the viewer may be asked for, without a port.
        clients: addresses that may ask: "loopback" for this machine, "any", or the address of a proxy.
    """

    def __init__(self, app: Any, names: tuple[str, ...] = LOOPBACK, clients: str = "loopback") -> None:
        self.app, self.names, self.clients = app, names, clients

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes what may come in on; answers the rest with 403 or a closed socket."""
        if scope["type"] == "lifespan" or (self._may_ask(scope) and self._is_own_name(scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"The viewer does not answer here.\n"})

    def _may_ask(self, scope: Any) -> bool:
        try:
            address = ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # ::ffff:127.0.0.1, where it listens on IPv6 too
        if self.clients == "any":
            return True
        return address.is_loopback if self.clients == "loopback" else address == ip_address(self.clients)

    def _is_own_name(self, scope: Any) -> bool:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        return len(hosts) == 1 and hosts[0].rsplit(":", 1)[0].lower() in self.names
