"""The network part of the DICOM conformance statement, from the tables that the node itself is made of (PS3.2)."""

from pydicom.uid import UID

from medmtl.pacs.sop_classes import ACSE_S, DIMSE_S, NETWORK_S, SERVICES, Service


def statement() -> str:
    """Markdown: SOP classes, roles and transfer syntaxes, and what is negotiated."""
    rows = [f"| {one.title} | {_names(one.sop_classes)} | {one.role} | {one.used_by} |" for one in SERVICES]
    encodings = [
        f"| {one.title} | {one.role} | {_names(one.syntaxes) if one.syntaxes else 'that of the file'} |"
        for one in _distinct(SERVICES)
    ]
    return "\n".join(
        [
            "| service | SOP classes | role | used by |",
            "|---|---|---|---|",
            *rows,
            "",
            "| service | role | transfer syntaxes, the preferred one first |",
            "|---|---|---|",
            *encodings,
            "",
            f"Time-outs: {ACSE_S:.0f} s for an association to be negotiated, {DIMSE_S:.0f} s for a DIMSE response, "
            f"{NETWORK_S:.0f} s without any data.",
            "",
        ]
    )


def _names(uids: tuple[str, ...]) -> str:
    return "<br>".join(f"{UID(uid).name} `{uid}`" for uid in uids) or "any"


def _distinct(services: tuple[Service, ...]) -> list[Service]:
    seen: dict[tuple[str, str], Service] = {}
    for one in services:
        seen.setdefault((one.title, one.role), one)
    return list(seen.values())
