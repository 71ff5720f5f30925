"""A secure processor in software: launches, measures and signs as SEV-SNP firmware does, under a root of its own.

For machines without a TEE. It proves nothing about hardware, and nothing believes it unless a policy names its root:
every certificate it makes says SIMULATED, and no environment variable or file adds its root to anybody's trust.

``installation`` (keys and certificates on disk) -> ``processor`` (launch commands, guests) -> ``channel`` (what a Keep
talks to). ``process_keep`` lays out what a process Keep is launched from, ``misbehave`` tells lies on demand.
"""
