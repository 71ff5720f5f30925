"""The attested client: connections to a Keep on which nothing is sent before certificate, evidence and manifest hold.

``client`` has the transports of httpx, ``requests`` the adapter, ``sockets`` the plain sockets; all are thin shells
around ``attestor``. ``bundle`` keeps what a Keep has shown for later. Their names are ``enarx.Client`` and so on.
"""
