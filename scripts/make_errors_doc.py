"""Makes `docs/errors.md` from the codes of the library (`make docs`)."""

from pathlib import Path

from medmtl.errors import MEANINGS, Code

TARGET = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
HEAD = """\
# Codes of refusals and warnings

Every refusal is one line on stderr, `CODE where: what is wrong; what to do`; warnings stand in `findings.json` under
the same codes. Most refusals are final: only the guards named below with `--allow` can be passed, and every output
says so.

This table is made from `medmtl/errors.py` by `make docs`.

| code | meaning | remedy |
|---|---|---|
"""


def errors_page() -> str:
    """The page as Markdown, codes in alphabetical order."""
    rows = []
    for code in sorted(Code, key=str):
        meaning, remedy = MEANINGS[code].split("; ", 1)
        rows.append(f"| `{code}` | {meaning} | {remedy} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(errors_page(), encoding="utf-8")
