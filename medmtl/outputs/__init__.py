"""Results to files: NIfTI, JSON, HTML, PNG, DICOM SEG and SR, and the manifest of a run."""
