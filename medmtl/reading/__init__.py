"""Files to volumes: NIfTI, DICOM folders and zips. Geometry is never guessed."""
