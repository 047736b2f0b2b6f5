"""The viewer for `streamlit run app/viewer.py` and for ASGI servers; `medmtl app` is the usual way."""

from medmtl_app.server import create_app

app = create_app()
