"""Calls to other nodes by DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from medmtl.errors import Code, PeerError, UsageError
from medmtl.pacs.association import quiet_network
from medmtl.pacs.dimse import kind_of
from medmtl.pacs.inbox import hashed
from medmtl.pacs.settings import Destination
from medmtl.reading.quiet_pydicom import quiet_pydicom

TIMEOUT_S = (10.0, 120.0)
_AT_ONCE = 20  # objects of one STOW request
_FOR_EVER = (0x0122, *range(0xA900, 0xAA00), *range(0xC000, 0xD000))


def client(peer: Destination) -> DICOMwebClient:
    """A client that asks nobody but `peer.url`: no proxy, no password file of the environment.

    Raises:
        UsageError: `bad-settings`, the token cannot be read.
    """
    quiet_network()
    session = requests.Session()
    session.trust_env = False
    if peer.tls is not None:
        if peer.tls.authority is not None:
            session.verify = str(peer.tls.authority)
        if peer.tls.certificate is not None:
            session.cert = (str(peer.tls.certificate), str(peer.tls.key or peer.tls.certificate))
    if peer.token_file is not None:
        try:
            token = peer.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise UsageError(Code.BAD_SETTINGS, "token_file cannot be read", "check its path and rights") from fault
        session.headers["Authorization"] = f"Bearer {token}"
    made = DICOMwebClient(url=str(peer.url), session=session, timeout=TIMEOUT_S)
    made.set_http_retry_params(retry=False)  # the queue tries again, and it remembers
    return made


def search(peer: Destination, level: str, filters: Mapping[str, str], study: str | None = None) -> tuple[Dataset, ...]:
    """What a node answers to QIDO-RS on `level`, "studies" or "series".

    Raises:
        PeerError: it cannot be reached or refuses.
    """
    wanted = {key: value for key, value in filters.items() if value}
    with _failures("QIDO-RS"):
        if level == "studies":
            rows = client(peer).search_for_studies(search_filters=wanted)
        else:
            rows = client(peer).search_for_series(study_instance_uid=study, search_filters=wanted)
        with quiet_pydicom():
            return tuple(Dataset.from_json(row) for row in rows)


def fetch(peer: Destination, study: str, series: str, folder: Path) -> int:
    """Writes the objects of a series into `folder` (WADO-RS); gives how many arrived.

    Raises:
        PeerError: it cannot be reached or refuses.
    """
    count = 0
    with _failures("WADO-RS"), quiet_pydicom():
        for dataset in client(peer).iter_series(study, series, media_types=(("application/dicom", "*"),)):
            dataset.save_as(folder / f"{hashed(str(dataset.SOPInstanceUID))}.dcm", enforce_file_format=True)
            count += 1
    return count


def store(peer: Destination, files: Sequence[Path]) -> dict[Path, PeerError | None]:
    """Sends files (STOW-RS); says of each what became of it.

    A node may answer with success and have stored nothing, so each object is looked for in its answer.

    Raises:
        PeerError: the node cannot be reached; what was sent before is not told.
    """
    outcome: dict[Path, PeerError | None] = {}
    for start in range(0, len(files), _AT_ONCE):
        some = {path: kind_of(path)[2] for path in files[start : start + _AT_ONCE]}
        with _failures("STOW-RS"), quiet_pydicom():
            answer = client(peer).store_instances([pydicom.dcmread(path) for path in some])
        stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence", ())}
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
            for item in answer.get("FailedSOPSequence", ())
        }
        outcome |= {path: _failure(uid, stored, failed) for path, uid in some.items()}
    return outcome


def _failure(uid: str, stored: set[str], failed: Mapping[str, int]) -> PeerError | None:
    if uid in failed:
        code = Code.PEER_CANNOT_STORE if failed[uid] in _FOR_EVER else Code.PEER_REFUSED
        return PeerError(code, f"the web service refused an object (0x{failed[uid]:04X})", "look at its log")
    if uid not in stored:
        return PeerError(Code.PEER_REFUSED, "the web service does not name an object as stored", "look at its log")
    return None


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Without the texts of the web's own errors, which quote addresses with UIDs."""
    try:
        yield
    except requests.HTTPError as fault:
        status = getattr(fault.response, "status_code", 0)
        code = Code.PEER_CANNOT_STORE if status in (400, 415, 422) else Code.PEER_REFUSED
        raise PeerError(code, f"the web service refused {what} ({status})", "look at its log") from None
    except (requests.RequestException, OSError) as fault:
        kind = type(fault).__name__
        raise PeerError(
            Code.PEER_UNREACHABLE, f"the web service does not answer ({kind})", "check its address and TLS"
        ) from None
    except (ValueError, KeyError, AttributeError, TypeError) as fault:
        kind = type(fault).__name__
        raise PeerError(
            Code.PEER_REFUSED, f"the web service answered {what} with what it is not ({kind})", "check its address"
        ) from None
