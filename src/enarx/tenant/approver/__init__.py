"""The tenant's approver of SEV and SEV-ES launches (``enarx launch approve``): it judges a launch while it happens.

SEV evidence exists at launch alone, between LAUNCH_MEASURE and LAUNCH_FINISH. Who wants proof has to be asked then, and
has one means to say yes: the secret that only the measured guest can read.
"""
