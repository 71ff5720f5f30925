"""The Steward: decides whether a Keep is what its evidence says, and gives it a certificate and its secrets.

``decide`` judges and does nothing else; ``ca``, ``ear`` and ``seal`` make the answer; ``log`` and ``store`` keep what
was decided; ``service`` speaks HTTP.
"""
