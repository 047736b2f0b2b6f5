"""From other machines only with a sign-in and TLS, or a stated proxy; and nothing of a study before the sign-in."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlparse

import pytest

from medmtl.errors import Code, UsageError
from medmtl_app import signin
from medmtl_app.signin import reach
from tests.medmtl_app.conftest import PAGE_MS, free_port, serving

WHOLE = {
    "redirect_uri": "https://viewer.example.org/oauth2callback",
    "cookie_secret": "c" * 32,
    "client_id": "medmtl",
    "client_secret": "s",
    "server_metadata_url": "https://issuer.example.org/.well-known/openid-configuration",
}
PEM = Path("some.pem")


@pytest.fixture
def section(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """`[auth]` of the secrets, whole."""
    found = dict(WHOLE)
    monkeypatch.setattr(signin, "auth_section", lambda: found)
    monkeypatch.setattr(signin, "find_spec", lambda name: object())
    return found


def refusal(*args: Any) -> str:
    with pytest.raises(UsageError) as caught:
        reach(*args)
    assert caught.value.code is Code.BAD_OPTION
    return f"{caught.value.what}; {caught.value.todo}"


def test_loopback_needs_nothing() -> None:
    assert reach("127.0.0.1", None, None, None).clients == "loopback"


@pytest.mark.parametrize("missing", signin.KEYS)
def test_what_the_sign_in_lacks_is_named(section: dict[str, str], missing: str) -> None:
    del section[missing]
    said = refusal("0.0.0.0", PEM, PEM, None)
    assert "sign-in" in said
    assert f"set {missing} under" in said


def test_tls_or_a_stated_proxy_is_needed(section: dict[str, str]) -> None:
    assert "without TLS" in refusal("0.0.0.0", None, None, None)
    assert "both" in refusal("0.0.0.0", PEM, None, None)
    assert "no IP address" in refusal("0.0.0.0", None, None, "proxy.example.org")
    section["redirect_uri"] = "http://viewer.example.org/oauth2callback"
    assert "https" in refusal("0.0.0.0", PEM, PEM, None)
    section |= {"redirect_uri": WHOLE["redirect_uri"], "cookie_secret": "short"}
    assert "cookie_secret" in refusal("0.0.0.0", PEM, PEM, None)


def test_a_stated_proxy_alone_may_ask(section: dict[str, str]) -> None:
    found = reach("0.0.0.0", None, None, "10.0.0.5")
    assert (found.names, found.clients) == (("viewer.example.org",), "10.0.0.5")
    assert reach("127.0.0.1", None, None, "127.0.0.1").clients == "loopback"
    assert reach("0.0.0.0", PEM, PEM, None).options["server.sslKeyFile"] == "some.pem"


def test_without_authlib_it_is_refused(section: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "find_spec", lambda name: None)
    assert "medmtl[app,signin]" in refusal("0.0.0.0", PEM, PEM, None)


@contextmanager
def issuer() -> Iterator[str]:
    """An OpenID provider that lets everybody in as Dr Reader (OpenID Connect Core 1.0, code flow)."""
    from joserfc import jwk, jwt

    key = jwk.RSAKey.generate_key(2048, parameters={"kid": "one"})
    nonces: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlparse(self.path).query).items()}
            if self.path.startswith("/authorize"):
                nonces["code"] = query.get("nonce", "")
                self.send_response(302)
                back = urlencode({"code": "code", "state": query["state"]})
                self.send_header("Location", f"{query['redirect_uri']}?{back}")
                self.end_headers()
            elif self.path.startswith("/jwks"):
                self.answer({"keys": [key.as_dict(private=False)]})
            else:
                ends = {f"{name}_endpoint": f"{url}/{name.split('_')[0]}" for name in ("authorization", "token")}
                ends["authorization_endpoint"] = f"{url}/authorize"
                about = {"id_token_signing_alg_values_supported": ["RS256"], "subject_types_supported": ["public"]}
                self.answer(
                    {"issuer": url, "jwks_uri": f"{url}/jwks", "response_types_supported": ["code"], **ends, **about}
                )

        def do_POST(self) -> None:
            now = int(time.time())
            claims = {"iss": url, "aud": "medmtl", "sub": "1", "iat": now, "exp": now + 600, "name": "Dr Reader"}
            token = jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, "nonce": nonces["code"]}, key)
            self.answer({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": token})

        def answer(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_reader_signs_in_over_tls(browser: Any, tmp_path: Path) -> None:
    """A self-signed certificate, a provider of our own: no worklist before the sign-in, none after the sign-out."""
    pytest.importorskip("authlib", reason="Authlib is not installed (medmtl[signin])")
    pytest.importorskip("joserfc", reason="joserfc comes with Authlib")
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    certificate, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port()
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    (tmp_path / ".streamlit").mkdir()
    with issuer() as url:
        values = {**WHOLE, "redirect_uri": f"https://localhost:{port}/oauth2callback"}
        values["server_metadata_url"] = f"{url}/.well-known/openid-configuration"
        lines = ["[auth]", *(f'{name} = "{value}"' for name, value in values.items())]
        (tmp_path / ".streamlit" / "secrets.toml").write_text("\n".join(lines))
        options = ("--host", "0.0.0.0", "--tls-certificate", str(certificate), "--tls-key", str(key))
        with serving(tmp_path / "workspace", tmp_path / "models", port, *options) as address:
            context = browser.new_context(ignore_https_errors=True, locale="en-GB")
            page = context.new_page()
            page.set_default_timeout(PAGE_MS)
            asked: list[str] = []
            page.on("request", lambda sent: asked.append(sent.url))
            page.goto(address)
            page.get_by_role("button", name="Sign in").wait_for()
            assert page.get_by_test_id("medmtl").count() == 0
            assert [one for one in asked if "/medmtl/" in one] == []
            page.get_by_role("button", name="Sign in").click()
            page.get_by_test_id("medmtl").wait_for()
            page.get_by_test_id("sign-out").wait_for()
            assert page.get_by_test_id("sign-out").get_attribute("title") == "Dr Reader"
            page.get_by_test_id("sign-out").click()
            page.get_by_role("button", name="Sign in").wait_for()
            assert page.get_by_test_id("medmtl").count() == 0
            context.close()
