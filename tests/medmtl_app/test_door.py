"""Clients of other machines and foreign names are refused, requests and websockets alike."""

import asyncio
from typing import Any

import pytest

from medmtl_app.door import Door

PASSED = {"type": "passed"}


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send(PASSED)


def first_answer(kind: str, client: Any, *hosts: str, **how: Any) -> dict[str, Any]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "client": client, "headers": [(b"Host", host.encode()) for host in hosts]}
    asyncio.run(Door(behind, **how)(scope, receive, send))
    return sent[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost:8501", "localhost", "LOCALHOST:1"])
@pytest.mark.parametrize("client", [("127.0.0.1", 5), ("127.8.8.8", 5), ("::1", 5), ("::ffff:127.0.0.1", 5)])
def test_this_machine_is_let_in(kind: str, host: str, client: Any) -> None:
    assert first_answer(kind, client, host) == PASSED


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("client", "hosts"),
    [
        (("192.168.1.7", 5), ["localhost"]),
        (("2001:db8::1", 5), ["localhost"]),
        (("::ffff:192.168.1.7", 5), ["localhost"]),
        (("", 0), ["localhost"]),
        (None, ["localhost"]),
        (("127.0.0.1", 5), ["evil.example"]),
        (("127.0.0.1", 5), ["localhost.evil.example:80"]),
        (("127.0.0.1", 5), []),
        (("127.0.0.1", 5), ["localhost", "evil.example"]),
    ],
)
def test_others_are_refused(kind: str, client: Any, hosts: list[str]) -> None:
    answer = first_answer(kind, client, *hosts)
    refused = {"http": ("http.response.start", 403), "websocket": ("websocket.close", 1008)}
    assert (answer["type"], answer.get("status", answer.get("code"))) == refused[kind]


def test_the_start_of_the_server_is_no_request() -> None:
    assert first_answer("lifespan", None) == PASSED


@pytest.mark.parametrize(
    ("clients", "client", "host", "passes"),
    [
        ("any", "203.0.113.9", "viewer.example.org", True),
        ("any", "203.0.113.9", "viewer.example.org:443", True),
        ("any", "127.0.0.1", "localhost", False),
        ("any", "203.0.113.9", "evil.example", False),
        ("10.0.0.5", "10.0.0.5", "viewer.example.org", True),
        ("10.0.0.5", "::ffff:10.0.0.5", "viewer.example.org", True),
        ("10.0.0.5", "10.0.0.6", "viewer.example.org", False),
        ("10.0.0.5", "127.0.0.1", "viewer.example.org", False),
    ],
)
def test_a_stated_name_and_proxy_are_let_in_and_no_others(clients: str, client: str, host: str, passes: bool) -> None:
    answer = first_answer("http", (client, 5), host, names=("viewer.example.org",), clients=clients)
    assert (answer == PASSED) is passes
