"""Benchmarks: `make bench NAME=...` runs `benchmarks/<name>.py`. A goal is a ratio of two things of one run."""
