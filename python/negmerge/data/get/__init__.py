"""Bringing data sets into the data folder: local copies, official downloads, packages of registries."""
