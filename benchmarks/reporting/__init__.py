"""Result files turned into the tables and plots of docs/benchmarks.md."""
