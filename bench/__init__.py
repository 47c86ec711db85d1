"""Benchmarks: each prints what the service reaches in parts of a ceiling measured beside it, on the same machine."""
