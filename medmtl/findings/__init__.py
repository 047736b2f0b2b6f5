"""Masks to numbers: connected components, volumes, axes, formulas."""
