"""``path_*``: what a program can do with names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enarx.keep.wasi.abi import MAX_NAME, MAX_PATH, Errno, Filetype, Fstflags, Oflags, Rights
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.tree import FileSystem
from tests.keep.wasi.conftest import MakeGuest
from tests.keep.wasi.guest import ALL_DIRECTORY, ALL_FILE, Guest, fails

CREATE = Oflags.CREAT
EXCLUSIVE = Oflags.CREAT | Oflags.EXCL


# Opening


def test_opening_creates_only_when_asked(guest: Guest) -> None:
    with fails(Errno.NOENT):
        guest.open("new")
    guest.close(guest.open("new", oflags=CREATE))
    assert guest.path_stat("new").size == 0


def test_exclusive_creation_fails_on_anything_that_exists(guest: Guest) -> None:
    guest.close(guest.open("new", oflags=EXCLUSIVE))
    guest.mkdir("d")
    guest.symlink("nowhere", "dangling")
    for name in ("new", "d", "dangling"):
        with fails(Errno.EXIST):
            guest.open(name, oflags=EXCLUSIVE)
    with fails(Errno.NOENT):
        guest.path_stat("nowhere")


def test_truncation_empties_a_file(guest: Guest) -> None:
    guest.create("file", b"content")
    guest.close(guest.open("file", oflags=Oflags.TRUNC))
    assert guest.content("file") == b""


def test_a_directory_opens_as_a_directory_only(guest: Guest) -> None:
    guest.mkdir("d")
    guest.create("file")
    fd = guest.open_directory("d")
    assert guest.fdstat(fd).filetype == Filetype.DIRECTORY
    assert guest.fdstat(guest.open("d", rights=Rights.FD_READ)).filetype == Filetype.DIRECTORY
    with fails(Errno.ISDIR):
        guest.open("d", rights=Rights.FD_WRITE)
    with fails(Errno.ISDIR):
        guest.open("d", rights=Rights.FD_READ, oflags=CREATE)
    with fails(Errno.ISDIR):
        guest.open("d", rights=Rights.FD_READ, oflags=Oflags.TRUNC)
    with fails(Errno.NOTDIR):
        guest.open("file", oflags=Oflags.DIRECTORY)
    with fails(Errno.NOTDIR):
        guest.open("file/")
    with fails(Errno.NOTDIR):
        guest.open("file/x")
    with fails(Errno.NOTDIR):
        guest.open("file/.")
    with fails(Errno.ISDIR):
        guest.open("new/", oflags=CREATE)


@pytest.mark.parametrize("oflags", [Oflags.DIRECTORY | CREATE, Oflags.DIRECTORY | Oflags.TRUNC, 16, 1 << 31])
def test_contradicting_or_unknown_open_flags_are_invalid(guest: Guest, oflags: int) -> None:
    with fails(Errno.INVAL):
        guest.open("x", oflags=oflags)


def test_unknown_descriptor_flags_are_invalid(guest: Guest) -> None:
    with fails(Errno.INVAL):
        guest.open("x", oflags=CREATE, flags=32)


def test_an_open_whose_result_cannot_be_stored_creates_nothing(guest: Guest) -> None:
    with fails(Errno.FAULT):
        guest.do("path_open", 3, 0, *guest.put("new"), CREATE, 0, 0, 0, guest.size - 3)
    assert [entry.name for entry in guest.entries(3)] == [".", ".."]


@pytest.mark.parametrize("name", [".", "./", "././", "d/..", "d/../d/.."])
def test_a_directory_can_be_opened_through_itself(guest: Guest, name: str) -> None:
    guest.mkdir("d")
    assert guest.stat(guest.open_directory(name)).ino == guest.stat(3).ino


def test_a_file_that_is_open_stays_after_its_name_is_gone(guest: Guest, fs: FileSystem) -> None:
    before = fs.used
    guest.create("file", b"still here")
    fd, other = guest.open("file"), guest.open("file")
    guest.unlink("file")
    assert guest.stat(fd).nlink == 0
    assert guest.read(fd, 100) == b"still here"
    guest.write(fd, bytes(1000))
    assert fs.used > before + 1000
    guest.close(fd)
    assert fs.used > before + 1000
    assert guest.read(other, 10) == b"still here"
    guest.close(other)
    assert fs.used == before


def test_nothing_can_be_made_in_a_directory_that_was_removed(guest: Guest, fs: FileSystem) -> None:
    before = fs.used
    guest.mkdir("d")
    fd = guest.open_directory("d")
    guest.rmdir("d")
    assert guest.stat(fd).nlink == 0
    assert [entry.name for entry in guest.entries(fd)] == [".", ".."]
    with fails(Errno.NOENT):
        guest.open("new", at=fd, oflags=CREATE)
    with fails(Errno.NOENT):
        guest.mkdir("new", at=fd)
    with fails(Errno.NOENT):
        guest.symlink("x", "new", at=fd)
    guest.create("file")
    with fails(Errno.NOENT):
        guest.rename("file", "new", to=fd)
    with fails(Errno.NOENT):
        guest.link("file", "new", to=fd)
    guest.unlink("file")
    assert fs.used > before
    guest.close(fd)
    assert fs.used == before


# Paths that are not allowed


@pytest.mark.parametrize("path", ["..", "../x", "d/../..", "d/../../d", "./..", "/", "/d", "//", "out/x", "absolute"])
def test_no_path_leaves_the_directory_it_starts_from(guest: Guest, fs: FileSystem, path: str) -> None:
    guest.mkdir("d")
    guest.symlink("..", "out")
    fs.create_symlink(fs.root, "absolute", "/d")
    guest.mkdir("d/d")
    for attempt in (
        lambda: guest.open(path, oflags=CREATE),
        lambda: guest.path_stat(path),
        lambda: guest.do("path_filestat_set_times", 3, 1, *guest.put(path), 0, 0, Fstflags.ATIM),
    ):
        with fails(Errno.PERM):
            attempt()


def test_a_directory_descriptor_is_a_root_of_its_own(guest: Guest) -> None:
    guest.mkdir("d")
    guest.create("secret")
    guest.symlink("../secret", "d/link")
    fd = guest.open_directory("d")
    assert guest.content("d/link") == b""
    with fails(Errno.PERM):
        guest.open("link", at=fd)
    with fails(Errno.PERM):
        guest.open("../secret", at=fd)
    with fails(Errno.PERM):
        guest.rename("../secret", "stolen", at=fd, to=fd)


def test_absolute_targets_of_symbolic_links_are_refused(guest: Guest) -> None:
    with fails(Errno.PERM):
        guest.symlink("/etc/passwd", "link")


def test_names_and_paths_have_a_longest_length(guest: Guest) -> None:
    guest.mkdir("n" * MAX_NAME)
    long = "n" * (MAX_NAME + 1)
    wide = "ü" * (MAX_NAME // 2 + 1)
    guest.create("file", b"kept")
    for name in (long, wide, f"{long}/x"):
        with fails(Errno.NAMETOOLONG):
            guest.path_stat(name)
        with fails(Errno.NAMETOOLONG):
            guest.open(name, oflags=CREATE)
        with fails(Errno.NAMETOOLONG):
            guest.rename("file", name)
    assert guest.content("file") == b"kept"
    assert guest.path_stat("./" * (MAX_PATH // 2 - 2) + "file").size == 4
    with fails(Errno.NAMETOOLONG):
        guest.path_stat("./" * (MAX_PATH // 2) + "file")
    with fails(Errno.NAMETOOLONG):
        guest.do("path_unlink_file", 3, 0, guest.size)


def test_a_path_must_be_utf8_without_nul(guest: Guest) -> None:
    with fails(Errno.ILSEQ):
        guest.open(b"\xff\xfe", oflags=CREATE)
    with fails(Errno.INVAL):
        guest.open(b"a\0b", oflags=CREATE)
    guest.create("größe ☂")
    assert [entry.name for entry in guest.entries(3)][2:] == ["größe ☂"]


def test_an_empty_path_names_nothing(guest: Guest) -> None:
    for attempt in (
        lambda: guest.open("", oflags=CREATE),
        lambda: guest.mkdir(""),
        lambda: guest.path_stat(""),
        lambda: guest.symlink("", "x"),
        lambda: guest.symlink("x", ""),
        lambda: guest.rename("", "x"),
        lambda: guest.unlink(""),
    ):
        with fails(Errno.NOENT):
            attempt()


def test_a_path_outside_memory_is_a_fault(guest: Guest) -> None:
    for pointer, length in ((guest.size - 3, 4), (0xFFFFFFFF, 1), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)):
        with fails(Errno.FAULT):
            guest.do("path_create_directory", 3, pointer, length)


@pytest.mark.parametrize("name", ["path_create_directory", "path_unlink_file", "path_remove_directory"])
def test_a_path_starts_from_a_directory(guest: Guest, name: str) -> None:
    fd = guest.open("file", oflags=CREATE)
    for base in (0, fd):
        with fails(Errno.NOTDIR):
            guest.do(name, base, *guest.put("x"))


# Directories


def test_directories_are_made_and_removed(guest: Guest) -> None:
    guest.mkdir("d")
    guest.mkdir("d/e/")
    assert guest.path_stat("d").nlink == 3
    with fails(Errno.EXIST):
        guest.mkdir("d")
    with fails(Errno.EXIST):
        guest.mkdir(".")
    with fails(Errno.NOENT):
        guest.mkdir("x/y")
    with fails(Errno.NOTEMPTY):
        guest.rmdir("d")
    guest.rmdir("d/e/")
    assert guest.path_stat("d").nlink == 2
    guest.rmdir("d")
    with fails(Errno.NOENT):
        guest.rmdir("d")


def test_only_directories_are_removed_as_directories_and_only_others_unlinked(guest: Guest) -> None:
    guest.create("file")
    guest.mkdir("d")
    guest.symlink("d", "link")
    with fails(Errno.NOTDIR):
        guest.rmdir("file")
    with fails(Errno.NOTDIR):
        guest.rmdir("link")
    with fails(Errno.NOTDIR):
        guest.rmdir("file/")
    with fails(Errno.ISDIR):
        guest.unlink("d")
    with fails(Errno.ISDIR):
        guest.unlink("d/")
    with fails(Errno.NOTDIR):
        guest.unlink("file/")
    with fails(Errno.ISDIR):
        guest.unlink(".")
    with fails(Errno.INVAL):
        guest.rmdir(".")
    guest.unlink("link")
    assert guest.path_stat("d").filetype == Filetype.DIRECTORY


def test_a_slash_behind_a_symbolic_link_does_not_remove_or_move_what_it_points_to(guest: Guest) -> None:
    guest.mkdir("d")
    guest.symlink("d", "link")
    with fails(Errno.NOTDIR):
        guest.rmdir("link/")
    with fails(Errno.NOTDIR):
        guest.unlink("link/")
    with fails(Errno.NOTDIR):
        guest.rename("link/", "moved")
    with fails(Errno.EXIST):
        guest.mkdir("link/")
    assert guest.path_stat("link/", follow=False).filetype == Filetype.DIRECTORY


# Hard links


def test_a_hard_link_is_the_same_file(guest: Guest, fs: FileSystem) -> None:
    guest.create("a", b"one")
    used = fs.used
    guest.link("a", "b")
    assert fs.used == used + 1
    first, second = guest.path_stat("a"), guest.path_stat("b")
    assert first == second
    assert first.nlink == 2
    guest.create("b", b"two!")
    assert guest.content("a") == b"two!"
    guest.unlink("a")
    assert guest.path_stat("b").nlink == 1


def test_hard_links_that_cannot_be(guest: Guest) -> None:
    guest.create("a")
    guest.mkdir("d")
    guest.symlink("a", "link")
    with fails(Errno.EXIST):
        guest.link("a", "d")
    with fails(Errno.PERM):
        guest.link("d", "e")
    with fails(Errno.NOENT):
        guest.link("missing", "b")
    with fails(Errno.NOENT):
        guest.link("a", "b/")
    with fails(Errno.NOENT):
        guest.link("a", "missing/b")
    with fails(Errno.NOTDIR):
        guest.link("a/", "b")
    with fails(Errno.INVAL):
        guest.link("link", "b", flags=1)
    guest.link("link", "link2")
    assert guest.path_stat("link2", follow=False).filetype == Filetype.SYMBOLIC_LINK
    assert guest.readlink("link2") == b"a"


# Symbolic links


def test_symbolic_links_are_followed_when_asked(guest: Guest) -> None:
    guest.mkdir("d")
    guest.create("d/file", b"12345")
    guest.symlink("d/file", "link")
    guest.symlink("d", "dlink")
    assert guest.path_stat("link").size == 5
    assert guest.path_stat("link", follow=False) == guest.path_stat("link", follow=False)
    assert guest.path_stat("link", follow=False).filetype == Filetype.SYMBOLIC_LINK
    assert guest.path_stat("link", follow=False).size == 6
    assert guest.content("dlink/file") == b"12345"
    assert guest.content("dlink/../dlink/./file") == b"12345"
    with fails(Errno.LOOP):
        guest.open("link", follow=False)
    assert guest.path_stat("dlink/", follow=False).filetype == Filetype.DIRECTORY
    guest.do("path_filestat_set_times", 3, 0, *guest.put("link"), 7, 8, Fstflags.ATIM | Fstflags.MTIM)
    assert guest.path_stat("link", follow=False)[5:7] == (7, 8)
    guest.do("path_filestat_set_times", 3, 1, *guest.put("link"), 9, 9, Fstflags.ATIM | Fstflags.MTIM)
    assert guest.path_stat("d/file")[5:7] == (9, 9)


def test_creating_through_a_dangling_link_makes_its_target(guest: Guest) -> None:
    guest.symlink("target", "link")
    with fails(Errno.NOENT):
        guest.open("link")
    with fails(Errno.LOOP):
        guest.open("link", oflags=CREATE, follow=False)
    guest.create("link", b"x")
    assert guest.content("target") == b"x"
    assert guest.readlink("link") == b"target"


def test_loops_of_links_end(guest: Guest) -> None:
    guest.symlink("b", "a")
    guest.symlink("a", "b")
    guest.symlink("self/x", "self")
    for name in ("a", "b", "a/x", "self", "a/"):
        with fails(Errno.LOOP):
            guest.open(name)
    assert guest.path_stat("a", follow=False).filetype == Filetype.SYMBOLIC_LINK


@pytest.mark.parametrize(("count", "works"), [(40, True), (41, False)])
def test_as_many_links_are_followed_as_on_linux(guest: Guest, count: int, works: bool) -> None:
    guest.create("0", b"end")
    for number in range(count):
        guest.symlink(f"{number}", f"{number + 1}")
    if works:
        assert guest.content(f"{count}") == b"end"
    else:
        with fails(Errno.LOOP):
            guest.open(f"{count}")


def test_a_target_with_a_slash_must_be_a_directory(guest: Guest) -> None:
    guest.create("file")
    guest.symlink("file/", "link")
    with fails(Errno.NOTDIR):
        guest.open("link")


@pytest.mark.parametrize("room", [0, 1, 6, 10, 11, 100])
def test_reading_a_link_gives_as_much_as_fits(guest: Guest, room: int) -> None:
    guest.symlink("some/target", "link")
    assert guest.readlink("link", room) == b"some/target"[:room]


def test_reading_what_is_no_link(guest: Guest) -> None:
    guest.create("file")
    with fails(Errno.INVAL):
        guest.readlink("file")
    with fails(Errno.INVAL):
        guest.readlink(".")
    with fails(Errno.NOENT):
        guest.readlink("missing")


def test_links_that_cannot_be_made(guest: Guest) -> None:
    guest.create("file")
    with fails(Errno.EXIST):
        guest.symlink("x", "file")
    with fails(Errno.NOENT):
        guest.symlink("x", "new/")
    with fails(Errno.NOTDIR):
        guest.symlink("x", "file/")
    with fails(Errno.NOTDIR):
        guest.link("file", "file/")
    guest.mkdir("directory")
    for path in ("directory/", "."):
        with fails(Errno.EXIST):
            guest.symlink("x", path)


# Renaming


@pytest.fixture
def stage(guest: Guest) -> Guest:
    """One name of each kind to rename from and to."""
    for prefix in ("old", "new"):
        guest.create(f"{prefix}-file", prefix.encode())
        guest.mkdir(f"{prefix}-empty")
        guest.mkdir(f"{prefix}-full")
        guest.create(f"{prefix}-full/inside")
        guest.symlink(f"{prefix}-file", f"{prefix}-link")
    return guest


@pytest.mark.parametrize(
    ("old", "new", "errno"),
    [
        ("file", "nothing", None),
        ("file", "file", None),
        ("file", "link", None),
        ("file", "empty", Errno.ISDIR),
        ("file", "full", Errno.ISDIR),
        ("file", "nothing/", Errno.NOTDIR),
        ("link", "nothing", None),
        ("link", "file", None),
        ("link", "link", None),
        ("link", "empty", Errno.ISDIR),
        ("empty", "nothing", None),
        ("empty", "nothing/", None),
        ("empty/", "nothing", None),
        ("empty", "file", Errno.NOTDIR),
        ("empty", "link", Errno.NOTDIR),
        ("empty", "empty", None),
        ("empty", "full", Errno.NOTEMPTY),
        ("full", "nothing", None),
        ("full", "empty", None),
        ("full", "empty/", None),
        ("full", "full", Errno.NOTEMPTY),
        ("full", "file", Errno.NOTDIR),
        ("file/", "nothing", Errno.NOTDIR),
        ("nothing", "file", Errno.NOENT),
        ("file", "full/inside/x", Errno.NOTDIR),
        ("file", "missing/x", Errno.NOENT),
    ],
)
def test_renaming_replaces_what_posix_allows(
    stage: Guest, fs: FileSystem, old: str, new: str, errno: Errno | None
) -> None:
    origin, target = f"old-{old}", f"new-{new}"
    if errno is not None:
        before = sorted(stage.entries(3))
        with fails(errno):
            stage.rename(origin, target)
        assert sorted(stage.entries(3)) == before
        return
    ino = stage.path_stat(origin, follow=False).ino
    stage.rename(origin, target)
    assert stage.path_stat(target, follow=False).ino == ino
    with fails(Errno.NOENT):
        stage.path_stat(origin, follow=False)


def test_renaming_onto_itself_or_another_name_of_itself_does_nothing(guest: Guest) -> None:
    guest.create("a", b"x")
    guest.link("a", "b")
    guest.rename("a", "a")
    guest.rename("a", "b")
    assert guest.content("a") == guest.content("b") == b"x"
    guest.mkdir("d")
    guest.rename("d", "d")
    assert guest.path_stat("d").nlink == 2


@pytest.mark.parametrize("target", ["a/x", "a/b/x", "a/b/c/x", "a/b/c", "a/file"])
def test_a_directory_cannot_be_moved_into_itself(guest: Guest, target: str) -> None:
    for path in ("a", "a/b", "a/b/c"):
        guest.mkdir(path)
    guest.create("a/file")
    with fails(Errno.INVAL):
        guest.rename("a", target)


def test_moving_a_directory_moves_its_parent_link(guest: Guest) -> None:
    guest.mkdir("a")
    guest.mkdir("b")
    guest.mkdir("a/d")
    guest.create("a/d/file", b"x")
    fd = guest.open_directory("a/d")
    guest.rename("a/d", "b/e")
    assert (guest.path_stat("a").nlink, guest.path_stat("b").nlink) == (2, 3)
    assert guest.entries(fd)[1].ino == guest.path_stat("b").ino
    assert guest.content("file", at=fd) == b"x"
    assert guest.content("b/e/file") == b"x"


@pytest.mark.parametrize(("old", "new"), [(".", "x"), ("d/.", "x"), ("d", "."), ("d/..", "x")])
def test_a_directory_is_not_renamed_through_its_dots(guest: Guest, old: str, new: str) -> None:
    guest.mkdir("d")
    with fails(Errno.INVAL):
        guest.rename(old, new)


def test_names_move_between_trees_of_one_file_system(make_guest: MakeGuest, fs: FileSystem) -> None:
    guest = make_guest(preopen(fs, fs.new_root(), b"/other"))
    guest.create("file", b"x")
    guest.link("file", "second", to=4)
    guest.rename("file", "first", to=4)
    assert guest.content("first", at=4) == b"x"
    assert guest.path_stat("second", at=4).nlink == 2
    guest.mkdir("d")
    guest.rename("d", "d", to=4)
    assert guest.path_stat(".", at=4).nlink == 3
    assert guest.path_stat(".").nlink == 2


def test_a_file_replaced_by_a_rename_stays_for_who_has_it_open(guest: Guest, fs: FileSystem) -> None:
    before = fs.used
    guest.create("old", b"old")
    guest.create("new", b"new")
    fd = guest.open("new")
    guest.rename("old", "new")
    assert guest.read(fd, 10) == b"new"
    guest.close(fd)
    assert guest.content("new") == b"old"
    guest.unlink("new")
    assert fs.used == before


# Rights


@pytest.mark.parametrize(
    ("right", "attempt"),
    [
        (Rights.PATH_CREATE_DIRECTORY, lambda guest, at: guest.mkdir("x", at=at)),
        (Rights.PATH_CREATE_FILE, lambda guest, at: guest.open("x", at=at, oflags=CREATE)),
        (Rights.PATH_FILESTAT_SET_SIZE, lambda guest, at: guest.open("file", at=at, oflags=Oflags.TRUNC)),
        (Rights.PATH_OPEN, lambda guest, at: guest.open("file", at=at)),
        (Rights.PATH_LINK_SOURCE, lambda guest, at: guest.link("file", "x", at=at)),
        (Rights.PATH_LINK_TARGET, lambda guest, at: guest.link("file", "x", to=at)),
        (Rights.PATH_RENAME_SOURCE, lambda guest, at: guest.rename("file", "x", at=at)),
        (Rights.PATH_RENAME_TARGET, lambda guest, at: guest.rename("file", "x", to=at)),
        (Rights.PATH_READLINK, lambda guest, at: guest.readlink("link", at=at)),
        (Rights.PATH_SYMLINK, lambda guest, at: guest.symlink("a", "x", at=at)),
        (Rights.PATH_REMOVE_DIRECTORY, lambda guest, at: guest.rmdir("d", at=at)),
        (Rights.PATH_UNLINK_FILE, lambda guest, at: guest.unlink("file", at=at)),
        (Rights.PATH_FILESTAT_GET, lambda guest, at: guest.path_stat("file", at=at)),
        (
            Rights.PATH_FILESTAT_SET_TIMES,
            lambda guest, at: guest.do("path_filestat_set_times", at, 0, *guest.put("file"), 0, 0, 0),
        ),
        (Rights.FD_READDIR, lambda guest, at: guest.readdir(at, 0, 100)),
    ],
)
def test_each_operation_on_a_path_needs_its_right(
    guest: Guest, right: int, attempt: Callable[[Guest, int], object]
) -> None:
    guest.create("file")
    guest.symlink("file", "link")
    guest.mkdir("d")
    base = guest.open_directory(".")
    guest.do("fd_fdstat_set_rights", base, ALL_DIRECTORY & ~right, ALL_DIRECTORY | ALL_FILE)
    with fails(Errno.NOTCAPABLE):
        attempt(guest, base)
    attempt(guest, 3)
