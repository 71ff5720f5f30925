"""AMD SEV and SEV-ES: platform certificates, the tenant's side of a launch, and owned platforms.

Rooms: ``certs`` and ``report`` (bytes to frozen dataclasses), ``authenticate`` (chain to AMD's root), ``session`` and
``launch`` (keys, measurement, secrets), ``appraise`` (a policy's verdict), ``measure`` (files to the launch digest to
expect), ``owner`` (OCA and PEK).
"""
