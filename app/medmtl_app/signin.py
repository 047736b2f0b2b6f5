"""Sign-in by OpenID Connect (Streamlit's `st.login`), and what reaching the viewer from other machines takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from medmtl.errors import Code, UsageError
from medmtl_app import LOOPBACK

KEYS = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
"""What `[auth]` in `.streamlit/secrets.toml` must hold."""
CALLBACK = "/oauth2callback"
_SECRET_CHARACTERS = 32


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far the viewer can be reached.

    Attributes:
        names: host names it answers to.
        clients: who may ask, see `Door`.
        options: Streamlit's options for it.
    """

    names: tuple[str, ...] = LOOPBACK
    clients: str = "loopback"
    options: Mapping[str, Any]


def auth_section() -> dict[str, Any]:
    """`[auth]` of `.streamlit/secrets.toml` in this folder or the user's; empty where there is none."""
    from streamlit.auth_util import get_secrets_auth_section

    return get_secrets_auth_section().to_dict()


def is_required() -> bool:
    """Whether a reader must sign in: always from other machines, and wherever a sign-in is configured."""
    return bool(auth_section())


def reach(host: str, certificate: Path | None, key: Path | None, proxy: str | None) -> Reach:
    """What `--host`, `--tls-certificate`, `--tls-key` and `--behind-proxy` come to.

    Args:
        host: address to listen on.
        certificate, key: PEM files for TLS.
        proxy: address of a proxy that does TLS; nobody else may ask then.

    Raises:
        UsageError: `bad-option`, sign-in or TLS is missing or cannot be used.
    """
    if host in LOOPBACK and not (certificate or key or proxy):
        return Reach(options={})
    where = f"--host {host}" if host not in LOOPBACK else "the viewer behind a proxy or with TLS"
    _check_sign_in(where)
    if bool(certificate) != bool(key):
        raise UsageError(Code.BAD_OPTION, "TLS needs both --tls-certificate and --tls-key", "give both files")
    if not proxy and not certificate:
        what = f"{where} opens patients' studies to the network without TLS"
        todo = "give --tls-certificate and --tls-key, or --behind-proxy ADDRESS where a proxy does TLS"
        raise UsageError(Code.BAD_OPTION, what, todo)
    uri = urlparse(str(auth_section()["redirect_uri"]))
    name = (uri.hostname or "").lower()
    options: dict[str, Any] = {
        "browser.serverAddress": name,
        "server.corsAllowedOrigins": [f"{uri.scheme}://{uri.netloc}"],
    }
    if certificate and key:
        options |= {"server.sslCertFile": str(certificate), "server.sslKeyFile": str(key)}
    return Reach(names=(name,), clients=_proxy_address(proxy) if proxy else "any", options=options)


def _check_sign_in(where: str) -> None:
    what = f"{where} needs a sign-in"
    section = auth_section()
    missing = [name for name in KEYS if not section.get(name)]
    if missing:
        todo = f"set {', '.join(missing)} under [auth] in .streamlit/secrets.toml, or use --host {LOOPBACK[0]}"
        raise UsageError(Code.BAD_OPTION, what, todo)
    if find_spec("authlib") is None:
        raise UsageError(
            Code.BAD_OPTION, f"{what}, and Authlib is not installed", "run pip install 'medmtl[app,signin]'"
        )
    if len(str(section["cookie_secret"])) < _SECRET_CHARACTERS:
        todo = f"make it {_SECRET_CHARACTERS} random characters or more"
        raise UsageError(Code.BAD_OPTION, f"{what}, and its cookie_secret is short", todo)
    uri = urlparse(str(section["redirect_uri"]))
    if uri.scheme != "https" or not uri.hostname or uri.path != CALLBACK:
        todo = f"write it as https://NAME{CALLBACK}, with the name readers use"
        raise UsageError(Code.BAD_OPTION, f"{what}, and its redirect_uri is not one of https", todo)


def _proxy_address(proxy: str) -> str:
    try:
        return "loopback" if ip_address(proxy).is_loopback else proxy
    except ValueError:
        what = f"--behind-proxy {proxy} is no IP address"
        raise UsageError(Code.BAD_OPTION, what, "give the address the proxy's requests come from") from None
