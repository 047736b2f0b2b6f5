"""The rules of the house that no other tool checks: sizes, names, layers, light start, no pickle, true documents."""

import ast
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from medmtl.errors import MEANINGS, Code
from scripts.make_errors_doc import errors_page

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (ROOT / "medmtl", ROOT / "training" / "medmtl_training", ROOT / "app" / "medmtl_app")
SOURCES = (*PACKAGES, ROOT / "scripts", ROOT / "sample_data", ROOT / "benchmarks")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 7
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
HEAVY = {"torch", "monai", "highdicom", "SimpleITK", "streamlit", "sklearn", "tensorboard", "pandas"}
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def python_files() -> list[Path]:
    return sorted(path for folder in SOURCES for path in folder.rglob("*.py"))


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    return [(path, node) for path in python_files() for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{place(path)}:{node.lineno} {node.name}", node


def lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Parameters of a command are its options, however many."""
    return any(
        "click." in ast.unparse(decorator) or ".command" in ast.unparse(decorator) for decorator in node.decorator_list
    )


def test_sources_are_found() -> None:
    assert len(python_files()) > 20
    assert all(any(path.is_relative_to(package) for path in python_files()) for package in PACKAGES)


def test_no_file_is_long() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_long() -> None:
    lengths = {name: lines_without_docstring(node) for name, node in functions()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_no_function_has_many_parameters() -> None:
    counts = {}
    for name, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        counts[name] = 0 if is_command(node) else len([a for a in arguments if a.arg not in ("self", "cls")])
    assert {name: count for name, count in counts.items() if count > MAX_PARAMETERS} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = {place(path) for path in python_files() if BANNED_NAMES & {path.stem.strip("_"), path.parent.name}}
    assert named == set()


def test_imports_keep_their_layers() -> None:
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_loads_pickles_or_runs_text() -> None:
    found = []
    for path, node in nodes():
        where = f"{place(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found += [f"{where} {alias.name}" for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            found.append(f"{where} {node.module}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            allows = any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
            if called in ("eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load") or allows:
                found.append(f"{where} {called}")
    assert found == []


def test_library_prints_nothing() -> None:
    found = [
        f"{place(path)}:{node.lineno}"
        for path, node in nodes()
        if any(path.is_relative_to(package) for package in PACKAGES)
        and isinstance(node, ast.Call)
        and ast.unparse(node.func) == "print"
    ]
    assert found == []


def heavy_modules_after(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after `code`."""
    report = "\nimport sys; print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.rsplit("LOADED", 1)[1].split())


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['medmtl', '--help']\nfrom medmtl.cli.main import main\n"
    assert heavy_modules_after(code + "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n") == set()


def test_loading_every_command_loads_nothing_heavy() -> None:
    code = "from importlib.metadata import entry_points\n"
    code += "for command in entry_points(group='medmtl.commands'): command.load()\n"
    assert heavy_modules_after(code) == set()


def test_heavy_modules_are_noticed() -> None:
    assert heavy_modules_after("import sklearn") >= {"sklearn"}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_meaning_and_remedy(code: Code) -> None:
    meaning, remedy = MEANINGS[code].split("; ", 1)
    assert len(meaning) > 10
    assert len(remedy) > 10
    assert "|" not in MEANINGS[code]
    assert not MEANINGS[code].endswith(".")


def test_errors_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == errors_page(), "run `make docs`"


def test_no_text_names_a_machine_path() -> None:
    """Paths of one machine help nobody else."""
    texts = [
        *python_files(),
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("sample_data/**/*.md"),
        ROOT / "Makefile",
    ]
    prefixes = tuple(f"/{name}/" for name in ("work", "root", "home"))
    named = [place(path) for path in texts if any(prefix in path.read_text(encoding="utf-8") for prefix in prefixes)]
    assert named == []
