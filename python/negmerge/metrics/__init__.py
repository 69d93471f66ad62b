"""Measures of a model's output, one file each."""
