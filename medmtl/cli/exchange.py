"""`medmtl pull` and `medmtl push`: studies from and to a PACS."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl.pacs.exchange import Archive
    from medmtl.pacs.settings import Destination

_NODE = click.argument("node", metavar="NODE")
_SECURITY = (
    click.option("--tls", is_flag=True, help="Speak TLS to AET@host:port."),
    click.option("--tls-authority", metavar="FILE", type=click.Path(exists=True, path_type=Path),
                 help="Who may sign NODE's certificate; the system's list without it."),
    click.option("--tls-certificate", metavar="FILE", type=click.Path(exists=True, path_type=Path),
                 help="Our certificate, where NODE asks for one."),
    click.option("--tls-key", metavar="FILE", type=click.Path(exists=True, path_type=Path), help="Its private key."),
    click.option("--token-file", metavar="FILE", type=click.Path(exists=True, path_type=Path),
                 help="Holds a bearer token for DICOMweb."),
    click.option("--ae-title", default="MEDMTL", show_default=True, help="Our AE title."),
)  # fmt: skip


def _secured(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SECURITY):
        command = option(command)
    return command


@click.command()
@_NODE
@click.option("-o", "--output", "out_dir", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the images.")
@click.option("--study", metavar="UID", default="", help="Study Instance UID.")
@click.option("--accession", metavar="NUMBER", default="", help="Accession Number.")
@click.option("--patient", metavar="ID", default="", help="Patient ID.")
@click.option("--date", metavar="DATE", default="", help="Study date, YYYYMMDD or YYYYMMDD-YYYYMMDD.")
@click.option("--modality", metavar="NAME,…", default="", help="Only these modalities; CT and MR without it.")
@click.option("--list", "only_list", is_flag=True, help="List the series and fetch nothing.")
@click.option("--move", is_flag=True, help="C-MOVE to --ae-title at --port in place of C-GET.")
@click.option("--port", default=11112, show_default=True, help="Where NODE sends to for --move.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address we take it on for --move.")
@_secured
def pull(
    node: str, out_dir: Path | None, study: str, accession: str, patient: str, date: str, modality: str,
    only_list: bool, move: bool, port: int, host: str, **security: Any,
) -> None:  # fmt: skip
    """Fetch CT and MR series from NODE: AET@host:port, or the address of a DICOMweb service.

    What arrives is counted against what NODE says it has.
    """
    from medmtl.errors import Code, UsageError

    wanted = {"StudyInstanceUID": study, "AccessionNumber": accession, "PatientID": patient, "StudyDate": date}
    if not any(wanted.values()):
        raise UsageError(Code.BAD_OPTION, "nothing says which study", "give --study, --accession, --patient or --date")
    if out_dir is None and not only_list:
        raise UsageError(Code.BAD_OPTION, "--output is missing", "name a folder, or ask with --list")
    source = _archive(node, security, move=move, host=host, port=port)
    from medmtl.pacs import exchange

    modalities = [name.strip() for name in modality.split(",") if name.strip()] or ["CT", "MR"]
    asked = {key: value for key, value in wanted.items() if value}
    if only_list or out_dir is None:
        for one in exchange.listed(source, asked, modalities):
            count = "?" if one.images is None else one.images
            head = f"{one.modality}  {count} images  {one.number} {one.description}".rstrip()
            click.echo("".join(char if char.isprintable() else "?" for char in head))
            click.echo(f"    study {one.study_uid}\n    series {one.series_uid}")
        return
    for name, count in exchange.pull(source, asked, modalities, out_dir).items():
        click.echo(f"{name}: {count} images")


@click.command()
@click.argument("source", metavar="FILES", type=click.Path(exists=True, path_type=Path))
@_NODE
@click.option("--all", "everything", is_flag=True, help="Every DICOM file; without it only what medmtl wrote.")
@_secured
def push(source: Path, node: str, everything: bool, **security: Any) -> None:
    """Send DICOM results to NODE: AET@host:port, or the address of a DICOMweb service.

    FILES is a file or a folder of results. Ends with 0 if NODE has taken all, 1 if some were refused.
    """
    to = _archive(node, security)
    from medmtl.errors import Code, UsageError
    from medmtl.pacs.exchange import sendable

    files = sendable(source, everything=everything)
    if not files:
        raise UsageError(Code.NOT_FOUND, "there is no DICOM result to send", "name a folder of results, or give --all")
    outcome = to.send(files)
    failed = [error for error in outcome.values() if error is not None]
    for line in sorted({error.line("push") for error in failed}):
        click.echo(line, err=True)
    click.echo(f"{len(outcome) - len(failed)} of {len(files)} objects were taken")
    click.get_current_context().exit(1 if failed else 0)


def _archive(node: str, security: dict[str, Any], *, move: bool = False, host: str = "", port: int = 0) -> "Archive":
    from medmtl.cli.extras import need_pacs

    need_pacs()
    from medmtl.pacs.exchange import archive, node_of
    from medmtl.pacs.settings import Node

    peer = _peer(security)
    return archive(node_of(node, peer), Node(ae_title=security["ae_title"], host=host, port=port), move=move)


def _peer(security: dict[str, Any]) -> "Destination":
    from medmtl.pacs.settings import Destination, Tls

    files = (security["tls_certificate"], security["tls_key"], security["tls_authority"])
    tls = Tls(certificate=files[0], key=files[1], authority=files[2]) if security["tls"] or any(files) else None
    return Destination(tls=tls, token_file=security["token_file"])
