"""The page as Streamlit runs it."""

from pathlib import Path

import medmtl_app

PAGE = Path(medmtl_app.__file__).parent / "page.py"


def test_the_page_runs_and_mounts_the_viewer() -> None:
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(PAGE), default_timeout=30).run()
    assert not at.exception
    assert not at.error
    again = at.run()
    assert not again.exception


def test_streamlit_run_finds_an_app_and_not_a_bare_script() -> None:
    """A bare script would be served without our guard, to the whole network and with usage statistics."""
    from streamlit.web.server.app_discovery import discover_asgi_app

    found = discover_asgi_app(PAGE.parent.parent / "viewer.py")
    assert (found.is_asgi_app, found.import_string) == (True, "viewer:app")


def test_the_page_loads_nothing_foreign() -> None:
    folder = PAGE.parent
    texts = [path for path in folder.rglob("*") if path.suffix in (".js", ".css", ".json", ".py")]
    assert len(texts) > 20
    allowed = ("http://www.w3.org/2000/svg", "https://NAME{CALLBACK}")
    for path in texts:
        content = path.read_text(encoding="utf-8")
        for known in allowed:
            content = content.replace(known, "")
        assert "http://" not in content, path.name
        assert "https://" not in content, path.name
