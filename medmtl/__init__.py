"""Multi-task diagnosis from CT and MRI: one 3D encoder, lesions, organs and a diagnosis. Research use only."""

__version__ = "0.1.0"
