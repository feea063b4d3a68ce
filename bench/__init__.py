"""Benchmarks: limit and ours in one run, one JSON line for each figure."""
