"""pynetdicom held still and set up: application entities, TLS, and one way out for every failure of a connection."""

import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association

from medmtl import __version__
from medmtl.errors import Code, PeerError, UsageError
from medmtl.outputs.dicom_source import IMPLEMENTATION_CLASS_UID
from medmtl.pacs.settings import Destination, Tls
from medmtl.pacs.sop_classes import ACSE_S, DIMSE_S, NETWORK_S

MAX_CONTEXTS = 128  # presentation contexts of one association, PS3.8 9.3.2.2

_NOISY = ("pynetdicom", "dicomweb_client", "urllib3", "requests", "retrying", "pydicom", "py.warnings")


def quiet_network() -> None:
    """No log line of the network packages: they quote UIDs, and at their lowest level whole data sets.

    Nor any warning of Python's that becomes one: `quiet_pydicom` holds them for one thread, and here are several.
    """
    for name in _NOISY:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False


def entity(ae_title: str) -> AE:
    """An application entity of ours without presentation contexts."""
    quiet_network()
    ae = AE(ae_title=ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = f"MEDMTL_{__version__}"[:16]
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = ACSE_S, DIMSE_S, NETWORK_S
    ae.connection_timeout = ACSE_S
    return ae


@contextmanager
def associated(
    our_title: str, peer: Destination, contexts: Sequence[tuple[str, Sequence[str]]], **more: Any
) -> Iterator[Association]:
    """An open association with `peer`, released at the end.

    Args:
        our_title: our AE title.
        peer: with `ae_title`, `host` and `port`.
        contexts: SOP class and transfer syntaxes of each presentation context, at most 128.
        more: for pynetdicom: `ext_neg`, `evt_handlers`.

    Raises:
        PeerError: `peer-unreachable`, it does not answer or does not let us in.
    """
    ae = entity(our_title)
    for sop_class, syntaxes in contexts:
        ae.add_requested_context(sop_class, list(syntaxes))
    tls = (client_tls(peer.tls), peer.host) if peer.tls is not None else None
    assoc = ae.associate(peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls, **more)
    if not assoc.is_established:
        why = "refuses the association" if assoc.is_rejected else "does not answer"
        raise PeerError(Code.PEER_UNREACHABLE, f"the node {peer.ae_title} {why}", "check address, AE titles and TLS")
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def status_of(reply: Any, what: str) -> int:
    """The status of a DIMSE response.

    Raises:
        PeerError: `peer-unreachable`, the connection broke before there was one.
    """
    if reply is None or "Status" not in reply:
        raise PeerError(Code.PEER_UNREACHABLE, f"the connection broke during {what}", "it is tried again")
    return int(reply.Status)


def client_tls(tls: Tls) -> ssl.SSLContext:
    """TLS for a connection that we open; the peer's certificate is always checked.

    Raises:
        UsageError: `bad-settings`, a certificate cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=str(tls.authority) if tls.authority else None)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as fault:
        raise _bad_certificate() from fault
    return context


def server_tls(tls: Tls) -> ssl.SSLContext:
    """TLS for connections that others open; with an authority they need a certificate of it.

    Raises:
        UsageError: `bad-settings`, there is no certificate, or it cannot be read.
    """
    if tls.certificate is None:
        raise UsageError(Code.BAD_SETTINGS, "node.tls names no certificate", "correct the settings, see docs/pacs.md")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # BCP 195 profile, PS3.15 B.9
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.authority is not None:
            context.load_verify_locations(tls.authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as fault:
        raise _bad_certificate() from fault
    return context


def _bad_certificate() -> UsageError:
    return UsageError(
        Code.BAD_SETTINGS, "a certificate of tls cannot be read", "correct the settings, see docs/pacs.md"
    )
