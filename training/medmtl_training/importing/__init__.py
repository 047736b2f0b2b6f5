"""Data sets of other makes, to the folder that `medmtl train` reads: one file a make, one writer for all."""
