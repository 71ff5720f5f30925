"""Packages: a workload as one artifact, built, encrypted and inspected on the machine of whoever it belongs to.

The formats are those of ``enarx.archive`` and ``enarx.envelope``.
"""
