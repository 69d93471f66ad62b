"""Showing results: a table and a plot."""
