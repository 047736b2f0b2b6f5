"""The settings of the node, from one YAML file. An unknown word in it is an error, never passed over."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from medmtl.errors import Code, UsageError
from medmtl.outputs.write_case import FORMATS
from medmtl.pipeline.guards import PASSABLE

SENDABLE = ("seg", "sr", "rtstruct", "sc", "pdf")
"""Formats that are DICOM objects, and so can be sent."""

_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.5 6.2: no backslash, no control characters
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificates in PEM files.

    Attributes:
        certificate: ours; a listener needs it, a sender where the peer asks for it.
        key: its private key.
        authority: who may sign the peer's certificate; None takes the system's list. With it a listener lets only
            peers in that have a certificate (mutual TLS, PS3.15 B).
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """Who we are: AE title, where we listen, whether peers must speak TLS."""

    ae_title: str = "MEDMTL"
    host: str = "127.0.0.1"
    port: int = 11112
    tls: Tls | None = None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A node that may connect to us; no `host` takes its title from anywhere. `port`: where its reports go."""

    ae_title: str
    host: str | None = None
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Who may send, and how much.

    Attributes:
        peers: the only nodes that may connect.
        associations: open at a time.
        max_object_mb: size of one object, above which its association is aborted.
        min_free_mb: free space of the workspace below which nothing is taken (0xA700).
        quiet_s: seconds without a new image after which a study counts as complete.
    """

    peers: tuple[Peer, ...]
    associations: int = 10
    max_object_mb: int = 2048
    min_free_mb: int = 2048
    quiet_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A node that results go to: by C-STORE (`ae_title`, `host`, `port`) or by STOW-RS (`url`).

    Attributes:
        tls: certificates, where the peer asks for TLS.
        commitment: whether a delivery counts only when the archive has committed to keep it (PS3.4 J); C-STORE only.
        token_file: holds a bearer token for `url`; the token itself never stands in the settings.
    """

    ae_title: str | None = None
    host: str | None = None
    port: int | None = None
    url: str | None = None
    tls: Tls | None = None
    commitment: bool = False
    token_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which images are answered, by what, and where the results go.

    Attributes:
        name: of the rule, in the queue and in logs.
        calling: AE title of the sender, with `*` and `?`.
        modality: "CT" or "MR", with `*` and `?`.
        description: Series Description (0008,103E), with `*` and `?`, capitals or not.
        model: a bundle's name or folder; None chooses by the study.
        tasks: names of tasks; None for all.
        formats: what is made; those of `SENDABLE` are sent.
        allow: guards to pass.
        deidentify: whether results carry no identity.
        send_to: names of destinations; none keeps the results here.
    """

    name: str
    calling: str = "*"
    modality: str = "*"
    description: str = "*"
    model: str | None = None
    tasks: tuple[str, ...] | None = None
    formats: tuple[str, ...] = ("seg", "sr")
    allow: tuple[str, ...] = ()
    deidentify: bool = False
    send_to: tuple[str, ...] = ()

    def wants(self, calling: str, modality: str, description: str) -> bool:
        """Whether images of such a series are answered by this rule."""
        told = ((calling, self.calling), (modality, self.modality), (description, self.description))
        return all(fnmatch.fnmatchcase(value.lower(), pattern.lower()) for value, pattern in told)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How often a delivery is tried: after `first_s`, then twice as long each time up to `longest_s`."""

    first_s: float = 10.0
    longest_s: float = 3600.0
    attempts: int = 30
    commitment_s: float = 300.0

    def wait_s(self, attempt: int) -> float:
        """Seconds between failed attempt number `attempt`, from 1, and the next."""
        return min(self.first_s * 2.0 ** min(attempt - 1, 60), self.longest_s)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole file.

    Attributes:
        retention_days: images and results are removed this long after all was done; None keeps them.
        device: "auto", "cpu" or "cuda".
    """

    accept: Intake
    node: Node = field(default_factory=Node)
    rules: tuple[Rule, ...] = ()
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    delivery: Delivery = field(default_factory=Delivery)
    retention_days: float | None = 7.0
    device: str = "auto"


def read_settings(path: Path) -> Settings:
    """The settings in a YAML file.

    Raises:
        UsageError: `not-found`, or `bad-settings` with the word that is wrong.
    """
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise UsageError(Code.NOT_FOUND, "the settings file cannot be read", "check the path") from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise UsageError(Code.BAD_SETTINGS, "the settings are no YAML", "see docs/pacs.md") from fault
    settings = _settings(_mapping(told, "the file"), path.parent)
    _check(settings)
    return settings


def _settings(told: Mapping[str, Any], base: Path) -> Settings:
    known = {f.name for f in fields(Settings)}
    _refuse_unknown(told, known, "the file")
    accept = dict(_mapping(told.get("accept"), "accept"))
    accept["peers"] = tuple(_made(Peer, row, "accept.peers", base) for row in _list(accept.get("peers"), "peers"))
    destinations = _mapping(told.get("destinations") or {}, "destinations")
    return Settings(
        accept=_made(Intake, accept, "accept", base),
        node=_made(Node, told.get("node") or {}, "node", base),
        rules=tuple(_made(Rule, row, "rules", base) for row in _list(told.get("rules") or [], "rules")),
        destinations={
            str(name): _made(Destination, row, f"destinations.{name}", base) for name, row in destinations.items()
        },
        delivery=_made(Delivery, told.get("delivery") or {}, "delivery", base),
        retention_days=_value(float | None, told.get("retention_days", 7.0), "retention_days", base),
        device=_value(str, told.get("device", "auto"), "device", base),
    )


def _check(settings: Settings) -> None:
    titles = [settings.node.ae_title, *(peer.ae_title for peer in settings.accept.peers)]
    titles += [one.ae_title for one in settings.destinations.values() if one.ae_title is not None]
    for title in titles:
        if not _AE_TITLE.fullmatch(title) or not title.strip():
            raise _wrong("an AE title has 1 to 16 ASCII characters")
    if not settings.accept.peers:
        raise _wrong("accept.peers names no node, so nobody could send")
    if settings.device not in ("auto", "cpu", "cuda"):
        raise _wrong("device is auto, cpu or cuda")
    for name, one in settings.destinations.items():
        by_dimse = None not in (one.ae_title, one.host, one.port)
        if by_dimse is (one.url is not None):
            raise _wrong(f"destinations.{name} needs either ae_title, host and port, or url")
        if one.commitment and one.url is not None:
            raise _wrong(f"destinations.{name}: DICOMweb knows no storage commitment")
    names = [rule.name for rule in settings.rules]
    if len(set(names)) != len(names):
        raise _wrong("two rules have one name")
    for rule in settings.rules:
        _check_rule(rule, settings)


def _check_rule(rule: Rule, settings: Settings) -> None:
    for what, given, known in (
        ("send_to", rule.send_to, tuple(settings.destinations)),
        ("formats", rule.formats, tuple(sorted(FORMATS))),
        ("allow", rule.allow, PASSABLE),
    ):
        wrong = [name for name in given if name not in known]
        if wrong:
            raise _wrong(f"rule {rule.name}: {what} names {', '.join(wrong)}; known are {', '.join(known) or 'none'}")
    if rule.send_to and not set(rule.formats) & set(SENDABLE):
        raise _wrong(f"rule {rule.name} sends nothing: formats needs one of {', '.join(SENDABLE)}")


def _made(kind: type[T], told: Any, where: str, base: Path) -> T:
    row = _mapping(told, where)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    _refuse_unknown(row, known.keys(), where)
    for name, one in known.items():
        if name not in row and one.default is MISSING and one.default_factory is MISSING:
            raise _wrong(f"{where} lacks {name}")
    return kind(**{name: _value(known[name].type, value, f"{where}.{name}", base) for name, value in row.items()})


def _value(kind: Any, value: Any, where: str, base: Path) -> Any:
    """`value` as the field's type has it; YAML gives lists for tuples and text for paths."""
    kinds = getattr(kind, "__args__", (kind,)) if type(None) in getattr(kind, "__args__", ()) else (kind,)
    if value is None and type(None) in kinds:
        return None
    for one in kinds:
        if one is Tls:
            return _made(Tls, value, where, base)
        if one is Path and isinstance(value, str):
            return base / value
        if one is float and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
        if one is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if one in (str, bool) and type(value) is one:
            return value
        if getattr(one, "__origin__", None) is tuple and isinstance(value, list | tuple):
            return tuple(value)
    raise _wrong(f"{where} has a value of the wrong kind")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{where} is no mapping")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(f"{where} is no list")
    return value


def _refuse_unknown(row: Mapping[str, Any], known: Any, where: str) -> None:
    wrong = [str(name) for name in row if name not in known]
    if wrong:
        raise _wrong(f"{where} has the unknown word {wrong[0]}; known are {', '.join(known)}")


def _wrong(what: str) -> UsageError:
    return UsageError(Code.BAD_SETTINGS, what, "correct the settings, see docs/pacs.md")
