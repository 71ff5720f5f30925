"""The image's kernel, booted for what no Keep does on a machine without a secure processor."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from enarx.host.image import build, layout
from tests import images, support

SECONDS = 240.0
"""What no boot takes, however busy the machine is."""
LOADS = """
import os
from enarx.keep import init
init.mount("proc", "/proc", 0)
for name in MODULES:
    try:
        init.load_module(f"/lib/modules/{name}.ko")
        print(name, "is loaded", flush=True)
    except OSError as error:
        print(name, error.errno, flush=True)
init.mount("sysfs", "/sys", 0)
init.mount("configfs", "/sys/kernel/config", 0)
init.mount("securityfs", "/sys/kernel/security", 0)
print("reports", os.path.isdir("/sys/kernel/config/tsm/report"), flush=True)
print(open("/sys/kernel/security/lockdown").read(), flush=True)
init.set_switch("/proc/sys/kernel/modules_disabled", "1")
try:
    init.load_module("/lib/modules/tsm.ko")
except OSError as error:
    print("afterwards", error.errno, flush=True)
init.say("all is said")
init.power_off()
"""


def boot(image: layout.Image, code: str, memory: str = "256M") -> list[str]:
    """What the console has said when ``code`` was the first process, under the image's own options of the kernel."""
    options, _, _ = image.cmdline.partition(" -- ")
    encoded = base64.b64encode(code.encode()).decode()
    program = f"import base64;exec(base64.b64decode('{encoded}'))"
    qemu = support.require_tool("qemu-system-x86_64", "qemu-system-x86")
    machine = "-nodefaults -no-user-config -no-reboot -display none -machine q35 -accel tcg -cpu EPYC-v4 -serial stdio"
    files: list[str | Path] = [
        "-kernel",
        image.kernel,
        "-initrd",
        image.initrd,
        "-append",
        f'{options} -- -I -S -B -c "{program}"',
    ]
    done = subprocess.run(
        [qemu, *machine.split(), "-m", memory, *files], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(errors="replace").replace("\r", "").splitlines()


@pytest.mark.timeout(600)
def test_drivers_go_with_the_kernel_and_nothing_is_loaded_after_them() -> None:
    """Those that serve a processor say that there is none (ENODEV), once the kernel has accepted them."""
    lines = boot(layout.open_image(images.stock_image()), f"MODULES = {build.MODULES!r}\n{LOADS}")
    said = [line for line in lines if line.startswith(("afterwards", "none", "reports", *build.MODULES))]
    assert said == [
        "configfs is loaded", "tsm is loaded", "sev-guest 19", "tdx-guest 19", "reports True",
        "none integrity [confidentiality]", "afterwards 1",
    ]  # fmt: skip
