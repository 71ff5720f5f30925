"""Enarx: run a WebAssembly workload in a Keep, and let the CPU prove what runs."""

__version__ = "0.1.0"
