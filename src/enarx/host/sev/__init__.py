"""The host's part of a SEV or SEV-ES launch: bytes between the platform's firmware and the tenant's approver.

The host is trusted with nothing here. What it passes on is made by the firmware or by the approver, for one another.
"""
