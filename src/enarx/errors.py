"""Every error that a user of Enarx can meet.

::

    EnarxError                 code, message, hint, exit status
    +-- UsageError             the command line is wrong                        exit 2
    +-- ConfigError            Enarx.toml (or a policy file) is wrong           exit 1
    +-- WorkloadError          the module cannot be loaded, linked or started   exit 1
    +-- LimitError             a limit from [limits] ended the workload         exit 1
    +-- StreamError            a socket that the config asks for cannot be had  exit 1
    +-- LinkError              the other end of the link broke the protocol     exit 1
    +-- SandboxError           a required layer of the sandbox is unavailable   exit 1
    +-- HostError              the host could not start or serve a Keep         exit 1
    +-- RegistryError          a registry, or the local store, failed or lied   exit 1
    +-- EvidenceError          evidence was not accepted
        +-- MalformedError     the bytes are not what they claim to be          exit 3
        +-- AuthenticityError  no chain of signatures to an accepted root       exit 4
        +-- PolicyError        genuine, but the policy refuses it               exit 5
        +-- CollateralError    a certificate or CRL is missing or stale         exit 6

An error is made to be read by the person who can mend it: ``code`` is stable and can be searched
for, ``message`` says what happened, ``hint`` says what to do next. The cause, where there is one,
is the ordinary ``__cause__``.
"""

from __future__ import annotations


class EnarxError(Exception):
    """Base of all errors that this project raises on purpose.

    ``code`` is a stable, lower-case identifier such as ``config-unknown-key``; ``hint`` may be empty.
    ``exit_status`` is what a command ends with when the error reaches it.
    """

    default_code = "enarx"
    exit_status = 1

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(EnarxError):
    default_code = "usage"
    exit_status = 2


class ConfigError(EnarxError):
    default_code = "config"


class WorkloadError(EnarxError):
    default_code = "workload"


class LimitError(EnarxError):
    default_code = "limit"


class StreamError(EnarxError):
    default_code = "stream"


class LinkError(EnarxError):
    default_code = "link"


class SandboxError(EnarxError):
    default_code = "sandbox"


class HostError(EnarxError):
    default_code = "host"


class RegistryError(EnarxError):
    default_code = "registry"


class EvidenceError(EnarxError):
    """Base of the four ways in which evidence is not accepted, one per phase."""

    default_code = "evidence"


class MalformedError(EvidenceError):
    default_code = "malformed"
    exit_status = 3


class AuthenticityError(EvidenceError):
    default_code = "not-authentic"
    exit_status = 4


class PolicyError(EvidenceError):
    default_code = "refused"
    exit_status = 5


class CollateralError(EvidenceError):
    default_code = "collateral"
    exit_status = 6
