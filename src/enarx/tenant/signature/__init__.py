"""Detached signatures over packages: who says that a package is theirs, and how a policy asks for it.

``keys`` and ``dsse`` are the cryptography and its envelope, ``statement`` is what is signed, ``bundle`` verifies
sigstore bundles (optional extra ``sigstore``), ``signers`` answers who signed, ``settings`` reads who has to from a
policy file, and ``rules`` judges.
"""
