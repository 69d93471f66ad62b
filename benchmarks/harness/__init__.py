"""What the benchmarks share: interleaved timing, processes, models, results."""
