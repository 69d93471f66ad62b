"""Engines: each executes the same plan, in memory or out of core."""
