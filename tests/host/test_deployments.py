"""The directories of detached Keeps: who lives, who has ended, and who may use them."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host import deployments as module
from enarx.host.deployments import MAX_ENDED, Deployments, Own, default_directory
from enarx.host.facts import Facts, Process
from tests.descriptors import nothing_left_open

FACTS = Facts("", "file:///app.wasm", "process", "2026-01-01T00:00:00.000+00:00", Process(7, 9))


@pytest.fixture
def place(tmp_path: Path) -> Deployments:
    return Deployments(tmp_path / "enarx")


def end(own: Own) -> None:
    own.write_last(replace(own.facts, ended="2026-01-02T00:00:00.000+00:00", outcome="exited", status=0))
    own.close()


def code(call: Callable[[], object]) -> str:
    with nothing_left_open(), pytest.raises(HostError) as caught:
        call()
    assert caught.value.hint
    return caught.value.code


def test_nothing_is_made_by_looking(place: Deployments, tmp_path: Path) -> None:
    assert place.all() == []
    assert code(lambda: place.get("web")) == "deployment-unknown"
    assert list(tmp_path.iterdir()) == []


def test_a_deployment_lives_as_long_as_its_lock_is_held(place: Deployments) -> None:
    with nothing_left_open():
        own = place.create("web", FACTS)
        assert [(seen.name, seen.state, seen.living) for seen in place.all()] == [("web", "starting", True)]
        own.write(replace(own.facts, started="2026-01-01T00:00:01.000+00:00"))
        assert place.get("web").state == "running"
        assert place.get("web").facts == own.facts
        own.close()
        assert place.get("web").state == "gone"


def test_how_it_ended_is_its_state_then(place: Deployments) -> None:
    end(place.create("web", FACTS))
    seen = place.get("web")
    assert (seen.state, seen.living) == ("exited", False)
    assert {entry.name for entry in seen.directory.iterdir()} == {"facts.json"}


def test_all_of_it_is_for_its_owner_alone(place: Deployments, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        own = place.create("web", FACTS)
    finally:
        os.umask(before)
    for path in (tmp_path / "enarx").rglob("*"):
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path
    own.close()


def test_looking_at_the_same_time_does_not_make_one_live(place: Deployments) -> None:
    place.create("web", FACTS).close()
    directory = os.open(place.get("web").directory, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_SH)  # as another `ps` has it for a moment
    assert not place.get("web").living
    os.close(directory)


def test_a_name_is_taken_while_its_deployment_lives(place: Deployments) -> None:
    own = place.create("web", FACTS)
    assert code(lambda: place.create("web", FACTS)) == "deployment-name-taken"
    assert code(lambda: place.remove("web")) == "deployment-living"
    (place.get("web").directory / "stdout.log").write_text("former")
    own.close()
    again = place.create("web", FACTS)
    assert not (place.get("web").directory / "stdout.log").exists()
    again.close()


def test_without_a_name_one_is_found(place: Deployments, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["one", "one", "two"] + ["two"] * 200)
    monkeypatch.setattr(module, "random_name", lambda: next(names))
    owned = [place.create(None, FACTS) for _ in range(3)]
    assert [own.facts.name for own in owned[:2]] == ["one", "two"]
    assert owned[2].facts.name.startswith("two-")
    for own in owned:
        own.close()


def test_one_of_many_gets_a_name(place: Deployments) -> None:
    owned: list[Own] = []
    codes: list[str] = []
    barrier = threading.Barrier(8)

    def create() -> None:
        barrier.wait()
        try:
            owned.append(place.create("web", FACTS))
        except HostError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(owned), codes) == (1, ["deployment-name-taken"] * 7)
    owned[0].close()


@pytest.mark.parametrize("which", ["enarx", "enarx/deployments"])
@pytest.mark.parametrize("mode", [0o701, 0o710, 0o755, 0o777, 0o704])
def test_a_directory_that_others_can_use_is_refused(which: str, mode: int, place: Deployments, tmp_path: Path) -> None:
    end(place.create("web", FACTS))
    (tmp_path / which).chmod(mode)
    for call in (place.all, lambda: place.get("web"), lambda: place.create("x", FACTS), lambda: place.remove("web")):
        assert code(call) == "runtime-directory"


@pytest.mark.parametrize("which", ["enarx", "enarx/deployments"])
def test_a_directory_of_somebody_else_is_refused(
    which: str, place: Deployments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(place.create("web", FACTS))
    if os.getuid() == 0:
        os.chown(tmp_path / which, 1, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 1)
    assert code(place.all) == "runtime-directory"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_directory_is_refused(kind: str, place: Deployments, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    if kind == "file":
        (tmp_path / "enarx").touch(mode=0o600)
    else:
        (tmp_path / "enarx").symlink_to(tmp_path / "other")
    assert code(place.all) == "runtime-directory"
    assert code(lambda: place.create("x", FACTS)) == "runtime-directory"


def test_crashed_makers_and_removers_are_cleaned_up_after_and_living_ones_left_alone(
    place: Deployments, tmp_path: Path
) -> None:
    end(place.create("web", FACTS))
    directory = tmp_path / "enarx" / "deployments"
    for name in (".dead.new", ".dead.old", ".living.new"):
        (directory / name).mkdir()
    living = os.open(directory / ".living.new", os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)
    end(place.create("other", FACTS))
    os.close(living)
    assert {entry.name for entry in directory.iterdir()} == {"web", "other", ".living.new"}


def test_the_oldest_that_have_ended_make_room(place: Deployments) -> None:
    living = place.create("living", FACTS)
    os.utime(place.get("living").directory, (0, 0))
    for number in range(MAX_ENDED + 3):
        end(place.create(f"n{number}", FACTS))
        os.utime(place.get(f"n{number}").directory, (number + 1, number + 1))
    place.create("new", FACTS).close()
    names = {seen.name for seen in place.all()}
    assert names == {"living", "new", *(f"n{number}" for number in range(3, MAX_ENDED + 3))}
    living.close()


def test_whoever_holds_the_lock_on_all_does_not_hold_it_for_ever(
    place: Deployments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(place.create("web", FACTS))
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    holder = os.open(tmp_path / "enarx" / "deployments", os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert code(lambda: place.create("x", FACTS)) == "deployment-busy"
    assert code(lambda: place.remove("web")) == "deployment-busy"
    assert place.get("web").state == "exited"
    os.close(holder)
    end(place.create("x", FACTS))


def test_facts_that_cannot_be_replaced_stay(place: Deployments) -> None:
    own = place.create("web", FACTS)
    directory = place.get("web").directory
    (directory / ".facts.json").mkdir()
    with pytest.raises(IsADirectoryError):
        own.write(replace(own.facts, message="new"))
    assert place.get("web").facts == own.facts
    own.close()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_RUNTIME_DIR": "/run/mine"}, "/run/mine/enarx"),
        ({"XDG_RUNTIME_DIR": "mine", "TMPDIR": "/elsewhere"}, None),
        ({"XDG_RUNTIME_DIR": "", "TMPDIR": "/elsewhere"}, None),
    ],
)
def test_where_deployments_are(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    usual = f"/run/user/{os.getuid()}"
    fallback = f"{usual}/enarx" if os.path.isdir(usual) else f"/elsewhere/enarx-{os.getuid()}"
    assert str(default_directory()) == (expected or fallback)
