"""What tenant, host and client have in ``enarx demo``, and what each of them does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enarx.errors import HostError

if TYPE_CHECKING:
    import ssl
    from datetime import datetime
    from pathlib import Path

    from enarx.cli.demoshow import Show
    from enarx.trust.model import Stack

ADDRESS: Final = "127.0.0.1"
NAME: Final = "localhost"
"""The name that the Steward's policy gives to the workload."""
LISTEN_SECONDS: Final = 30.0
"""How long the Keep has until it listens, and the Steward until it serves; the first time code is compiled."""
BOOT_SECONDS: Final = 180.0
"""How much longer a Keep has whose machine has to boot, without KVM."""
FETCH_SECONDS: Final = 20.0
"""How long one step of the client may take."""
MAX_PAGE_BYTES: Final = 1 << 20
LISTENING: Final = "enarx: listening on "
SERVING: Final = "steward: "
SWAPPED: Final = b"\0\x08\x07swapped"
"""A custom section that changes nothing but a module's digest (WebAssembly 5.5.3)."""

CONFIG: Final = """\
[[files]]
kind = "null"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

[[files]]
kind = "listen"
name = "web"
prot = "tls"
addr = "{address}"
port = {port}
"""

POLICY: Final = """
[simulated]
root = "{root}"
{accepted}

[workload.web]
digest = ["{module}"]
config = ["{config}"]

[certificate]
dns = ["{name}"]
"""


@dataclass(slots=True)
class Scene:
    """What tenant, host and client have, below a directory that is removed at the end."""

    directory: Path
    module: Path
    backend: str
    image: Path | None
    url: str = ""
    ca: str = ""
    measurement: str = ""
    stack: Stack | None = None
    """Who had to be trusted for the Keep, once the client has checked it."""

    @property
    def seconds(self) -> float:
        """How long a Keep has until it listens."""
        return LISTEN_SECONDS if self.image is None else LISTEN_SECONDS + BOOT_SECONDS

    @property
    def steward(self) -> Path:
        return self.directory / "steward"

    @property
    def config(self) -> Path:
        return self.directory / "Enarx.toml"

    @property
    def root(self) -> Path:
        return self.directory / "simulated-root.pem"

    def prepare(self, port: int, show: Show) -> None:
        """The tenant's part: a Steward, and a policy of what it accepts."""
        from enarx.cli.child import ask
        from enarx.manifest import digest_of

        self.config.write_text(CONFIG.format(address=ADDRESS, port=port))
        ask("simulator", "root", "--out", str(self.root))
        self.measurement = self._measure()
        self.ca = ask("steward", "init", str(self.steward), "--name", ADDRESS).split()[-1]
        module, config = digest_of(self.module.read_bytes()), digest_of(self.config.read_bytes())
        policy = self.steward / "steward.toml"
        stated = POLICY.format(
            root=self.root.name, accepted=self._accepted(), module=module, config=config, name=NAME
        ).replace(self.root.name, f"../{self.root.name}")
        policy.write_text(policy.read_text() + stated)
        show.step(
            f"Tenant: a policy that accepts a Keep of measurement {self.measurement[:16]}..., under the SIMULATED "
            f"root, with workload {module[:23]}... and its Enarx.toml, and nothing else"
        )

    def launch(self, module: Path) -> list[str]:
        """The host's part, as arguments of ``enarx``."""
        pinned = ["--steward", self.url, "--steward-ca", self.ca]
        machine = [] if self.image is None else ["--backend", self.backend, "--image", str(self.image)]
        return ["run", str(module), "--wasmcfgfile", str(self.config), *pinned, *machine, "--verbose"]

    def _measure(self) -> str:
        """The measurement that the tenant expects, in hexadecimal: of the Keep's code, or as its image states it."""
        if self.image is None:
            from enarx.cli.child import ask

            return ask("simulator", "measure").strip()
        from enarx.evidence.reference import parse_reference_values
        from enarx.evidence.vcpu import vcpu_signature
        from enarx.host.qemu.machine import CPU_MODEL, Machine

        signature, count = vcpu_signature(CPU_MODEL), Machine().cpus
        for value in parse_reference_values(self._reference_values().read_bytes()):
            if (value.technology, value.vcpus) == ("snp", count) and vcpu_signature(value.model) == signature:
                return value.measurement.hex()
        raise HostError("the image states no launch digest for this machine", code="demo-image")

    def _reference_values(self) -> Path:
        from enarx.host.image.layout import REFERENCE_VALUES

        return (self.image or self.directory) / REFERENCE_VALUES

    def _accepted(self) -> str:
        """What the policy says of the measurement: the image's own reference values, for this machine."""
        if self.image is None:
            return f'measurement = ["{self.measurement}"]'
        from enarx.host.qemu.machine import CPU_MODEL, Machine

        values = str(self._reference_values()).replace("\\", "\\\\").replace('"', '\\"')
        return f'include = {{ file = "{values}", model = ["{CPU_MODEL}"], vcpus = [{Machine().cpus}] }}'

    def manifest(self) -> bytes:
        """The digest of the manifest that this launch must have: the client knows what was deployed."""
        from enarx.host.attested import manifest_of
        from enarx.host.load import load_package
        from enarx.manifest import StewardPin

        package = load_package(module=self.module, config=self.config, directories=(), env=())
        return manifest_of(package, StewardPin(self.url, self.ca)).digest()

    def fetch(self, port: int, show: Show) -> None:
        """The client's part: verify, then ask for the page. Raises HostError or EvidenceError."""
        from datetime import UTC, datetime
        from http.client import HTTPException, HTTPSConnection

        connection = HTTPSConnection(NAME, port, timeout=FETCH_SECONDS, context=self._context())
        try:
            connection.connect()
            tls: ssl.SSLSocket = connection.sock
            suite = (tls.cipher() or ("no cipher suite",))[0]
            show.step(
                f"Client: {(tls.version() or 'no TLS').replace('v', ' ')}, {suite}; the certificate is for {NAME}, and "
                "its chain ends in the Steward's CA"
            )
            subject = f"https://{NAME}:{port}"
            self._check(tls.getpeercert(binary_form=True) or b"", subject, datetime.now(UTC), show)
            connection.request("GET", "/", headers={"User-Agent": "enarx demo", "Connection": "close"})
            response = connection.getresponse()
            body = response.read(MAX_PAGE_BYTES)
            status = f"HTTP/{response.version / 10:.1f} {response.status} {response.reason}"
            show.step(f"Client: {status}, {len(body)} bytes in answer to GET /, over that same connection")
        except (OSError, HTTPException, ValueError) as error:
            raise HostError(
                f"the page could not be fetched: {error}", code="demo-fetch", hint="run `enarx demo` again"
            ) from error
        finally:
            connection.close()
        if response.status != 200:
            raise HostError(f"the workload answered {response.status} {response.reason}", code="demo-fetch")
        show.page(body.decode(errors="replace"))

    def _context(self) -> ssl.SSLContext:
        """Trusts the Steward's CA, and nothing else."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cafile=str(self.steward / "ca.pem"))
        return context

    def _check(self, certificate: bytes, subject: str, now: datetime, show: Show) -> None:
        """What the client finds out from the certificate by himself."""
        from enarx.cli.keepcheck import check_keep
        from enarx.evidence.snp import Policy
        from enarx.evidence.snp.simulated import simulated_roots
        from enarx.trust.model import Kind

        expected, roots = self.manifest(), simulated_roots(self.root.read_bytes())
        policy = Policy(measurement=(bytes.fromhex(self.measurement),), host_data=(expected,), simulated=True)
        facts = check_keep(certificate, policy, roots, now)
        machine = Kind.PROCESS if self.image is None else Kind.VM_KEEP
        self.stack = facts.stack(subject, certificate, roots, now, machine)
        kind = "a SIMULATED SEV-SNP report" if facts.simulated else "a SEV-SNP report"
        show.step(
            f"Client: the evidence in the certificate is {kind}, signed under the root that the policy names; all "
            f"{len(facts.rules)} rules hold: the measurement is the Keep's, the report data is the certificate's key"
        )
        show.step(
            f"Client: evidence and certificate name manifest sha256:{expected.hex()[:16]}..., which is what was to be "
            "deployed: this workload, this Enarx.toml, this Steward"
        )

    def swap(self, show: Show) -> None:
        """The host launches something else. Raises HostError unless that is refused."""
        from enarx.cli.child import start

        swapped = self.directory / self.module.name
        swapped.write_bytes(self.module.read_bytes() + SWAPPED)
        show.step("Host: the same again, with another workload in its place")
        with start(self.launch(swapped), errors=True) as keep:
            failure = keep.ending(LISTENING, self.seconds)
        if failure is None or failure.code != "steward-refused":
            raise failure or HostError("the swapped workload was not refused", code="demo-swap")
        show.step(f"Keep: it ended, and the workload never ran: {failure.message}")

    def decisions(self) -> str:
        """What the Steward's log comes to, once checked."""
        from enarx.cli.child import ask

        return ask("steward", "log", "--directory", str(self.steward), "--verify").strip()
