"""The statement says what is negotiated, and the command says what it needs."""

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from pydicom.uid import UID

from medmtl.cli.main import medmtl
from medmtl.pacs.sop_classes import IMAGES, RESULTS, SYNTAXES
from scripts.make_conformance_doc import conformance_page


def test_the_page_is_up_to_date(root: Path) -> None:
    assert (root / "docs" / "conformance.md").read_text(encoding="utf-8") == conformance_page(), "run `make docs`"


def test_every_uid_is_what_its_name_says() -> None:
    assert all(UID(uid).name.endswith("Image Storage") for uid in IMAGES)
    assert [UID(uid).name for uid in RESULTS] == [
        "Segmentation Storage",
        "Comprehensive 3D SR Storage",
        "RT Structure Set Storage",
        "Secondary Capture Image Storage",
        "Encapsulated PDF Storage",
    ]
    assert all(UID(uid).is_transfer_syntax for uid in SYNTAXES)


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(medmtl, ["listen", "--conformance"])
    assert done.exit_code == 0
    assert "| Storage |" in done.output


def test_without_the_extra_the_commands_name_it(tmp_path: Path) -> None:
    settings = tmp_path / "listen.yaml"
    settings.write_text("accept: {peers: [{ae_title: CT1}]}\n")
    hide = "import sys; sys.modules['pynetdicom'] = None; sys.modules['dicomweb_client'] = None\n"
    hide += "import importlib.util as u; real = u.find_spec\n"
    hide += (
        "u.find_spec = lambda name, *rest: None if name in ('pynetdicom', 'dicomweb_client') else real(name, *rest)\n"
    )
    for arguments in (
        ["listen", "-s", str(settings)],
        ["pull", "A@b:1", "--study", "1", "--list"],
        ["push", ".", "A@b:1"],
    ):
        code = f"{hide}sys.argv = ['medmtl', *{arguments!r}]\nfrom medmtl.cli.main import main\nmain()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "medmtl[pacs]" in done.stderr
        assert done.stderr.startswith("extra-missing ")
        assert len(done.stderr.splitlines()) == 1
    code = f"{hide}sys.argv = ['medmtl', '--help']\nfrom medmtl.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "listen" in done.stdout
