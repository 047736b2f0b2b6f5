"""The viewer: `medmtl app`."""
