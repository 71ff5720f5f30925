"""Measures Enarx against its bars: ``python -m bench [NAME...]``, or ``make bench`` for all of them.

Each bench is a module with a ``run`` that returns figures. A figure is compared with a peer that is measured in the
same run, round by round in turns, so that a busy machine slows both: ratios can be trusted where times cannot.
"""
