"""One encoder, a light decoder per voxel task, a head per case-level task."""
