"""Sparse merged vectors: what describes one, where its data lies, its file, and applying it in place."""
