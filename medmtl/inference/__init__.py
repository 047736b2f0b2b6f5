"""Prepared input to task outputs: windows, engines, one encoder pass for all tasks."""
