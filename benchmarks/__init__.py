"""Measurements of kernels, of the training step and of loading; see README.md."""
