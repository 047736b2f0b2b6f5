"""The viewer for `streamlit run app/viewer.py` and for ASGI servers; `medmtl app` is the usual way."""

import streamlit as st

from medmtl_app.server import PAGE, app_parts, configure

configure()
app = st.App(PAGE, **app_parts())  # Streamlit looks for this very call, without running it
