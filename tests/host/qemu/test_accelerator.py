"""KVM is used where a guest has been seen to boot on it, and the reason for the choice is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import HostError, UsageError
from enarx.host.image.layout import Image
from enarx.host.qemu import accelerator
from enarx.host.qemu.accelerator import REMEMBERED_SECONDS, VARIABLE, boots_on_kvm, choose
from tests.descriptors import nothing_left_open
from tests.host.qemu import miniature


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    with nothing_left_open(60):
        yield


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is opened in the place of KVM."""
    path = tmp_path / "kvm"
    path.touch()
    monkeypatch.setattr(accelerator, "KVM", str(path))
    return path


@pytest.fixture
def image(program: Path) -> Image:
    return miniature.image(program, "hang")


class Probe:
    """Stands for the boot on KVM, which depends on the machine; counts."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.count = 0

    def __call__(self, _program: str, _image: Image) -> bool:
        self.count += 1
        return self.answer


@pytest.fixture(params=[True, False], ids=["boots", "hangs"])
def probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Probe:
    found = Probe(request.param)
    monkeypatch.setattr(accelerator, "boots_on_kvm", found)
    return found


def chosen(qemu: str, image: Image) -> str:
    return str(choose(qemu, image, lambda line: None))


def test_kernel_that_comes_to_its_end_has_booted(qemu: str, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TCG in the place of KVM, and a guest in the place of the kernel."""
    monkeypatch.setattr(accelerator, "FIRST_SECONDS", 30.0)
    monkeypatch.setattr(accelerator, "PROBE_SECONDS", 30.0)
    monkeypatch.setattr(accelerator, "_CMDLINE", "reset")
    assert boots_on_kvm(qemu, miniature.image(program, ""), "tcg")


@pytest.mark.parametrize("limit", ["FIRST_SECONDS", "PROBE_SECONDS"])
def test_kernel_that_hangs_has_not_booted(
    limit: str, qemu: str, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "FIRST_SECONDS", 30.0)
    monkeypatch.setattr(accelerator, limit, 0.01 if limit == "FIRST_SECONDS" else 0.5)
    monkeypatch.setattr(accelerator, "_CMDLINE", "hang")
    assert not boots_on_kvm(qemu, miniature.image(program, ""), "tcg")


def test_machine_that_qemu_cannot_start_has_not_booted(qemu: str, program: Path) -> None:
    assert not boots_on_kvm(qemu, miniature.image(program, ""), "no-such-accelerator")


def test_answer_is_remembered(probe: Probe, device: Path, qemu: str, image: Image) -> None:
    first = chosen(qemu, image)
    assert chosen(qemu, image) == first
    assert probe.count == 1
    words = "KVM (a guest boots on it)" if probe.answer else f"TCG ({device} is there, but no guest boots on it)"
    assert first == words


def test_answer_of_another_program_kernel_or_time_is_not_taken(
    probe: Probe, device: Path, qemu: str, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.exists()
    chosen(qemu, image)
    other = tmp_path / "qemu"
    other.touch()
    chosen(str(other), image)
    assert probe.count == 2
    chosen(qemu, miniature.image(other, "hang"))
    assert probe.count == 3
    later = time.time() + REMEMBERED_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    chosen(qemu, image)
    assert probe.count == 4


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"boots": 1, "when": 0}', b'{"boots": true, "when": "now"}', b"\xff", b"[" * 3000,
     b'{"boots": true, "when": 99999999999}'],
)  # fmt: skip
def test_what_is_no_answer_is_asked_again(
    content: bytes, device: Path, qemu: str, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(answer=False)
    monkeypatch.setattr(accelerator, "boots_on_kvm", probe)
    chosen(qemu, image)
    (answer,) = (tmp_path / "cache" / "enarx" / "kvm").iterdir()
    assert json.loads(answer.read_bytes())["boots"] is False
    answer.write_bytes(content)
    chosen(qemu, image)
    assert probe.count == 2
    assert device.exists()


def test_without_a_cache_directory_nothing_is_remembered(
    device: Path, qemu: str, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.exists()
    (tmp_path / "cache").write_text("a file")
    probe = Probe(answer=True)
    monkeypatch.setattr(accelerator, "boots_on_kvm", probe)
    chosen(qemu, image)
    chosen(qemu, image)
    assert probe.count == 2


def test_machine_without_kvm_takes_tcg(
    qemu: str, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setattr(accelerator, "KVM", str(missing))
    assert chosen(qemu, image) == f"TCG (there is no {missing})"
    monkeypatch.setattr(accelerator, "KVM", str(tmp_path))
    assert chosen(qemu, image) == f"TCG ({tmp_path} cannot be opened: Is a directory)"
    monkeypatch.setenv(VARIABLE, "kvm")
    with pytest.raises(HostError) as caught:
        chosen(qemu, image)
    assert caught.value.code == "kvm-unusable"


@pytest.mark.skipif(os.getuid() == 0, reason="root may open everything")
def test_user_who_may_not_open_kvm_is_told_why(device: Path, qemu: str, image: Image) -> None:
    device.chmod(0)
    assert "its group must have this user" in chosen(qemu, image)


def test_variable_decides(probe: Probe, device: Path, qemu: str, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.exists()
    for wanted in ("tcg", "kvm"):
        monkeypatch.setenv(VARIABLE, wanted)
        assert chosen(qemu, image) == f"{wanted.upper()} ({VARIABLE}={wanted} asks for it)"
    assert probe.count == 0
    monkeypatch.setenv(VARIABLE, "xen")
    with pytest.raises(UsageError) as caught:
        chosen(qemu, image)
    assert caught.value.code == "accelerator"
