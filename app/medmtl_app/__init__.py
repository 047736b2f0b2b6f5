"""The viewer: `medmtl app`."""

LOOPBACK = ("127.0.0.1", "localhost")
"""Names under which the viewer may be reached: this machine alone."""
