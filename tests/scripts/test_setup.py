"""The setup script: what it decides to do, with the commands that would change the machine recorded, not run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import setup
from tests.support import ROOT

APT = "# comment\n\npython3-venv demo pip\nclang tests compiler\nlld tests linker, with words\n"
PYPROJECT = '[build-system]\nrequires = []\n[project]\nname = "x"\n[tool.ruff]\nline-length = 120\n'


class Recorder:
    """Stands where commands are run: keeps them, makes an environment of links, and fails where told to."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []
        self.failing = ""

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(command)
        if self.failing and self.failing in command:
            return f"{self.failing} failed\n"
        if "venv" in command:
            programs = Path(command[-1]) / "bin"
            programs.mkdir(parents=True, exist_ok=True)
            python = programs / "python"
            python.unlink(missing_ok=True)
            python.symlink_to(sys.executable)
        return ""

    def take(self) -> list[str]:
        """What was done since the last call, in short."""
        done = []
        for command in self.commands:
            if "venv" in command:
                done.append("create")
            elif "--requirement" in command:
                done += [Path(part).name for part in command if part.endswith(".txt")]
            elif "uninstall" in command:
                done.append("remove " + " ".join(command[command.index("--yes") + 1 :]))
            elif "--editable" in command:
                done.append("project")
            else:
                done.append(" ".join(part for part in command if part in ("update", "install", "clang", "lld")))
        self.commands.clear()
        return done


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(setup, "failure_of", recorder)
    return recorder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    for name in ("runtime.txt", "build.txt", "dev.txt"):
        (tmp_path / "requirements" / name).write_text("a==1 --hash=sha256:00\n")
    (tmp_path / "requirements" / "apt.txt").write_text(APT)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


def make(tree: Path, level: str) -> None:
    setup.make_environment(tree, level, apt_complete=True)


def test_a_first_run_makes_everything_and_a_second_nothing(tree: Path, recorder: Recorder) -> None:
    make(tree, "demo")
    assert recorder.take() == ["create", "runtime.txt", "build.txt", "project"]
    make(tree, "demo")
    assert recorder.take() == []


def test_every_requirement_is_installed_by_its_hash_and_the_project_from_the_tree(
    tree: Path, recorder: Recorder
) -> None:
    make(tree, "tests")
    _create, requirements, project = recorder.commands
    assert "--require-hashes" in requirements
    assert {"--no-deps", "--no-build-isolation"} < set(project)
    assert not any("index" in part for command in recorder.commands for part in command)


def test_tests_are_added_to_the_demo_in_place_and_stay(tree: Path, recorder: Recorder) -> None:
    make(tree, "demo")
    recorder.take()
    make(tree, "tests")
    assert recorder.take() == ["dev.txt", "project"]
    make(tree, "demo")
    assert recorder.take() == []


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt"])
def test_a_changed_lock_file_is_installed(tree: Path, recorder: Recorder, name: str) -> None:
    make(tree, "demo")
    recorder.take()
    (tree / "requirements" / name).write_text("a==2 --hash=sha256:00\n")
    make(tree, "demo")
    assert recorder.take() == ["runtime.txt", "build.txt", "project"]


def test_what_the_lock_no_longer_names_is_removed(tree: Path, recorder: Recorder) -> None:
    make(tree, "demo")
    packages = tree / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("pip", "enarx", "a", "Old.Thing"):
        (packages / f"{name}-1.dist-info").mkdir(parents=True)
        (packages / f"{name}-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    recorder.take()
    (tree / "requirements" / "runtime.txt").write_text("A==2 --hash=sha256:00\n")
    make(tree, "demo")
    assert recorder.take() == ["runtime.txt", "build.txt", "remove old-thing", "project"]


def test_changed_metadata_reinstalls_the_project_and_a_changed_linter_setting_nothing(
    tree: Path, recorder: Recorder
) -> None:
    make(tree, "demo")
    recorder.take()
    (tree / "pyproject.toml").write_text(PYPROJECT.replace("120", "100"))
    make(tree, "demo")
    assert recorder.take() == []
    (tree / "pyproject.toml").write_text(PYPROJECT.replace('"x"', '"y"'))
    make(tree, "demo")
    assert recorder.take() == ["project"]


def test_another_python_makes_a_new_environment(
    tree: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tree, "demo")
    recorder.take()
    older = replace(setup.wanted_stamp(tree, "demo"), python="3.9")
    setup.write_stamp(tree / ".venv" / ".setup-stamp.json", older)
    make(tree, "demo")
    assert recorder.take() == ["create", "runtime.txt", "build.txt", "project"]


def test_an_environment_whose_python_is_gone_is_made_again(tree: Path, recorder: Recorder) -> None:
    make(tree, "demo")
    recorder.take()
    python = tree / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    make(tree, "demo")
    assert recorder.take()[0] == "create"


@pytest.mark.parametrize("stamp", ["", "{}", "[]", "null", '{"level": "other"}', "\x00"])
def test_a_stamp_of_another_form_counts_as_none(tree: Path, recorder: Recorder, stamp: str) -> None:
    make(tree, "demo")
    recorder.take()
    (tree / ".venv" / ".setup-stamp.json").write_text(stamp)
    make(tree, "demo")
    assert recorder.take()[0] == "create"


@pytest.mark.parametrize("failing", ["--requirement", "--editable"])
def test_a_run_that_fails_is_not_taken_for_done(tree: Path, recorder: Recorder, failing: str) -> None:
    recorder.failing = failing
    with pytest.raises(setup.SetupError, match="pip could not install"):
        make(tree, "demo")
    recorder.failing = ""
    recorder.take()
    make(tree, "demo")
    assert recorder.take() == ["create", "runtime.txt", "build.txt", "project"]


def test_a_python_without_ensurepip_is_told_which_package_to_install(
    tree: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "find_spec", lambda name: None)
    with pytest.raises(setup.SetupError, match=r"apt-get install python3\.\d+-venv"):
        setup.make_environment(tree, "demo", apt_complete=False)
    assert recorder.commands == []


def test_two_runs_take_turns(tree: Path) -> None:
    """One that comes while another works waits until that one is done."""
    held = os.open(tree, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    entered = threading.Event()

    def second() -> None:
        with setup.exclusive(tree):
            entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(0.2)
    os.close(held)
    assert entered.wait(10)
    thread.join(10)


# --- Debian packages


def test_the_demo_needs_no_compiler(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_spec", lambda name: None)
    assert setup.wanted_packages(tree, "demo") == ["python3-venv"]
    assert setup.wanted_packages(tree, "tests") == ["python3-venv", "clang", "lld"]


def test_tests_do_without_what_only_the_kernel_is_built_with(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_spec", lambda name: None)
    (tree / "requirements" / "apt.txt").write_text(APT + "gcc-12 kernel compiles it\n")
    assert setup.wanted_packages(tree, "tests") == ["python3-venv", "clang", "lld"]
    assert setup.wanted_packages(tree, "kernel") == ["python3-venv", "clang", "lld", "gcc-12"]


def test_a_python_with_ensurepip_does_not_need_the_package_for_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_spec", lambda name: object())
    assert setup.wanted_packages(tree, "tests") == ["clang", "lld"]


def test_a_line_for_nobody_in_the_list_is_refused(tree: Path) -> None:
    (tree / "requirements" / "apt.txt").write_text("clang everybody compiler\n")
    with pytest.raises(setup.SetupError, match="clang is needed by 'everybody'"):
        setup.wanted_packages(tree, "demo")


@pytest.mark.skipif(not Path("/usr/bin/dpkg-query").exists(), reason="not Debian")
def test_dpkg_knows_what_is_installed() -> None:
    assert setup.missing_packages(["dpkg", "no-such-package-at-all", "libc6"]) == ["no-such-package-at-all"]


@pytest.mark.skipif(not Path("/usr/bin/dpkg-query").exists(), reason="not Debian")
def test_what_is_installed_from_the_release_is_no_backport() -> None:
    assert setup.missing_packages(["libc6", "libc6/bookworm-backports"]) == ["libc6/bookworm-backports"]


def test_backports_are_for_their_release_alone(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "requirements" / "apt.txt").write_text("python3-venv demo pip\nqemu/bookworm-backports tests machine\n")
    monkeypatch.setattr(setup, "OS_RELEASE", tmp_path / "os-release")
    for name, wanted in (("bookworm", "qemu/bookworm-backports"), ("trixie", "qemu"), ("", "qemu")):
        (tmp_path / "os-release").write_text(f'ID=debian\nVERSION_CODENAME="{name}"\n')
        assert setup.wanted_packages(tree, "tests")[-1] == wanted
    (tmp_path / "os-release").unlink()
    assert setup.wanted_packages(tree, "tests")[-1] == "qemu"


def offer(monkeypatch: pytest.MonkeyPatch, *, programs: Sequence[str], root: bool) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name in programs else None)
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(setup, "missing_packages", list)


def test_root_installs_what_is_missing(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, programs=["apt-get"], root=True)
    assert setup.install_debian_packages(["clang", "lld"])
    assert recorder.take() == ["update", "install clang lld"]


def test_backports_come_from_sources_of_our_own(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's own sources, lists and caches are not touched, and what was made for it is removed."""
    offer(monkeypatch, programs=["apt-get"], root=True)
    monkeypatch.setattr(setup, "mirror", lambda: "http://mirror.example/debian/")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sources: list[str] = []

    def look(command: Sequence[str]) -> str:
        sources.extend(path.read_text() for path in tmp_path.glob("*/parts/*.sources"))
        return recorder(command)

    monkeypatch.setattr(setup, "failure_of", look)
    assert setup.install_debian_packages(["clang", "qemu/bookworm-backports"])
    assert [command[-1] for command in recorder.commands] == ["update", "clang", "update", "qemu/bookworm-backports"]
    first, own = recorder.commands[0], recorder.commands[-1]
    assert not any(part.startswith("Dir::") for part in first)
    assert {part.partition("=")[0] for part in own if part.startswith("Dir::")} == {
        "Dir::Etc::SourceList", "Dir::Etc::SourceParts", "Dir::State::Lists", "Dir::Cache",
    }  # fmt: skip
    assert "URIs: http://mirror.example/debian/\n" in sources[-1]
    assert "bookworm-backports\n" in sources[-1]
    assert not list(tmp_path.iterdir())


def test_a_package_that_does_not_come_ends_the_installation(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, programs=["apt-get"], root=True)
    recorder.failing = "clang"
    assert not setup.install_debian_packages(["clang", "qemu/bookworm-backports"])
    assert "or: apt-get install --no-install-recommends clang qemu/bookworm-backports" in capsys.readouterr().err
    assert len(recorder.commands) == 2
    recorder.failing = "qemu/bookworm-backports"
    assert not setup.install_debian_packages(["qemu/bookworm-backports"])


@pytest.mark.skipif(not Path("/usr/bin/apt-get").exists(), reason="not Debian")
def test_the_mirror_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert setup.mirror().startswith(("http", "file", "mirror"))
    monkeypatch.setattr(setup, "release", lambda: "no such release")
    assert setup.mirror() == setup.APT_MIRROR


def test_nothing_missing_asks_apt_nothing(recorder: Recorder) -> None:
    assert setup.install_debian_packages([])
    assert recorder.commands == []


def test_an_unreachable_source_does_not_matter_if_the_packages_come(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, programs=["apt-get"], root=True)
    recorder.failing = "update"
    assert setup.install_debian_packages(["clang"])
    assert "failed" not in capsys.readouterr().err


def test_a_failing_mirror_is_named_as_the_likely_cause(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, programs=["apt-get"], root=True)
    recorder.failing = "apt-get"
    assert not setup.install_debian_packages(["clang"])
    assert "a mirror may be unreachable" in capsys.readouterr().err


def test_without_root_the_command_to_run_is_printed(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, programs=["apt-get"], root=False)
    assert not setup.install_debian_packages(["clang", "lld"])
    assert "Run: sudo apt-get install --no-install-recommends clang lld" in capsys.readouterr().err
    assert recorder.commands == []


def test_elsewhere_than_on_debian_the_packages_are_named(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, programs=[], root=True)
    assert not setup.install_debian_packages(["clang"])
    assert "clang" in capsys.readouterr().err
    assert recorder.commands == []


# --- running commands


def test_what_a_command_prints_is_kept_for_when_it_fails() -> None:
    assert setup.failure_of(["sh", "-c", "echo fine"]) == ""
    assert setup.failure_of(["sh", "-c", "echo out; echo err >&2; exit 3"]) == "out\nerr\n(exit status 3)\n"


# --- the shell part


def test_no_usable_python_is_a_clear_error() -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": "/nowhere/python3.99"}
    command = [str(ROOT / "scripts" / "setup")]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "needs Python 3.11 or later" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        setup.main(["--everything"])
    assert stopped.value.code == 2
