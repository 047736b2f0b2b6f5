"""`medmtl app` listens on loopback and nowhere else."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from medmtl.errors import Code, UsageError
from medmtl_app.launch import app


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_another_host_is_refused(host: str) -> None:
    result = CliRunner().invoke(app, ["--host", host])
    assert isinstance(result.exception, UsageError)
    assert result.exception.code is Code.BAD_OPTION
    assert "sign-in" in result.exception.what


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = CliRunner().invoke(app, ["--port", str(port), "--workspace", str(tmp_path / "w")])
    assert isinstance(result.exception, UsageError)
    assert f"port {port}" in result.exception.what
    assert not (tmp_path / "w").exists()


def test_help_names_the_options() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(option in result.output for option in ("--port", "--host", "--workspace", "Research use only"))
