"""Voxel grids in patient space: affines, orientation, resampling."""
