"""The page: one component that fills the window, given a token of its session."""

import json
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from medmtl import __version__
from medmtl_app.server import sessions

HERE = Path(__file__).resolve().parent
# the component is the page: Streamlit's own margins and bars go
BARE = """<style>
  header[data-testid="stHeader"], [data-testid="stToolbar"], [data-testid="stDecoration"] { display: none; }
  [data-testid="stMainBlockContainer"] { padding: 0; max-width: none; }
  [data-testid="stMain"] { overflow: hidden; }
</style>"""


@st.cache_resource
def _parts() -> dict[str, Any]:
    texts = json.loads((HERE / "strings.json").read_text(encoding="utf-8"))
    component = {name: (HERE / "component" / f"viewer.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    return {"texts": texts, **component}


def show() -> None:
    """Draws the page."""
    st.set_page_config(page_title="medmtl", layout="wide", initial_sidebar_state="collapsed")
    st.html(BARE)
    context = get_script_run_ctx()
    if context is None:
        return
    parts = _parts()
    viewer = st.components.v2.component("medmtl_viewer", css=parts["css"], js=parts["js"])
    data = {"token": sessions().token(context.session_id), "texts": parts["texts"], "version": __version__}
    # asking for a token runs this script again, and that is all it needs
    viewer(key="viewer", data=data, on_renew_change=lambda: None)


show()
