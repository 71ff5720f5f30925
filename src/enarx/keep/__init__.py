"""The Keep: everything that runs inside the TEE, and nothing else.

Read it in this order: ``main`` (the life of a Keep), ``link`` (how it talks to the host), ``sandbox``,
``workload`` (what it was given), ``runtime`` (compile, link, run), ``engine`` (the one place that touches
raw engine memory), ``tls`` and ``identity``, then ``wasi/`` (what the workload can see).

Third-party code here is wasmtime and cryptography, and no more.
"""
