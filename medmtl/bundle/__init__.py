"""Trained models as folders of plain data, every file checked against its SHA-256."""
