"""Training and evaluation: `medmtl train`, `medmtl evaluate`, `medmtl data`."""
