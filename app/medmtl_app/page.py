"""The page: one component that fills the window, given a token of its session."""

import json
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from medmtl import __version__
from medmtl_app import signin
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
    texts = (HERE / "strings.json").read_text(encoding="utf-8")
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
    required = signin.is_required()
    if required and not st.user.is_logged_in:
        _door(json.loads(parts["texts"]))
        return
    viewer = st.components.v2.component("medmtl_viewer", css=parts["css"], js=parts["js"])
    reader = str(st.user.get("name") or st.user.get("email") or "") if required else ""
    token = sessions().token(context.session_id, reader)
    # text alone: for anything else Streamlit loads pandas and pyarrow, 66 MB, to see whether it is a table
    data = {"token": token, "texts": parts["texts"], "version": __version__, **({"reader": reader} if required else {})}
    # asking for a token runs this script again, and that is all it needs
    answer = viewer(key="viewer", data=data, on_renew_change=lambda: None, on_sign_out_change=lambda: None)
    if required and answer.sign_out:
        st.logout()


def _door(texts: dict[str, Any]) -> None:
    """What stands in the page's place until the reader has signed in: no token, no worklist."""
    _, middle, _ = st.columns(3)
    with middle:
        st.title("medmtl")
        st.write("  \n".join(texts["research"].values()))
        st.button(" · ".join(texts["sign_in"].values()), on_click=st.login, type="primary", key="sign-in")


show()
