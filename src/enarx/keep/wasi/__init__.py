"""WASI preview 1, all of it, over an in-memory file system and the streams that the config names.

One file per concern: ``proc`` (arguments, environment, clocks, randomness, exit), ``fd``, ``path``, ``sock`` and
``poll`` hold the functions; ``descriptor``, ``stdio``, ``stream`` and ``openfile`` what a descriptor can be;
``tree`` and ``paths`` the file system; ``memory`` the only way to guest memory; ``abi`` the numbers.
"""
