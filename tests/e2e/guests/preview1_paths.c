// Directories, paths and links. See preview1.h.

#include "preview1.h"

__attribute__((import_module("wasi_snapshot_preview1"), import_name("path_open"))) //
int raw_path_open(int at, int flags, const char *path, size_t length, int oflags, int64_t rights, int64_t inheriting,
                  int fdflags, int *fd);

// --- directories

static void directory_descriptor(void) {
  __wasi_filesize_t position;
  __wasi_iovec_t in = {(uint8_t *)text, sizeof text};
  __wasi_ciovec_t out = {(uint8_t *)text, sizeof text};
  size_t done;
  holds(stat_of(dir).filetype == __WASI_FILETYPE_DIRECTORY);
#define NO_FILE E_ISDIR, E_BADF, E_NOTCAPABLE
  errs(__wasi_fd_read(dir, &in, 1, &done), NO_FILE);
  errs(__wasi_fd_pread(dir, &in, 1, 0, &done), NO_FILE);
  errs(__wasi_fd_write(dir, &out, 1, &done), NO_FILE);
  errs(__wasi_fd_pwrite(dir, &out, 1, 0, &done), NO_FILE);
  for (int whence = 0; whence < 3; whence++) {
    errs(__wasi_fd_seek(dir, 0, (__wasi_whence_t)whence, &position), NO_FILE);
  }
  errs(__wasi_fd_tell(dir, &position), NO_FILE);
  errs(__wasi_fd_allocate(dir, 0, 1), NO_FILE);
  errs(__wasi_fd_filestat_set_size(dir, 0), E_INVAL, NO_FILE);

  make("sub"); // with the right to seek, which a directory cannot have
  int fd;
  ok(open_at(dir, "sub", DIRECTORY, SEEK, &fd));
  errs(__wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &position), NO_FILE);
  holds(fdstat_of(fd).fs_filetype == __WASI_FILETYPE_DIRECTORY && !(fdstat_of(fd).fs_rights_base & SEEK));
  ok(__wasi_fd_close(fd));
  rmdir_("sub");
  ok(__wasi_path_open(dir, 0, ".", 0, 0, 0, __WASI_FDFLAGS_NONBLOCK, &fd));
  ok(__wasi_fd_close(fd));
}

static void preopen(void) {
  int given = preopened("/"), fd;
  char name[3] = "xx";
  errs(__wasi_fd_prestat_dir_name(given, (uint8_t *)name, 0), E_INVAL, E_NAMETOOLONG);
  ok(__wasi_fd_prestat_dir_name(given, (uint8_t *)name, 2));
  holds(memcmp(name, "/x", 2) == 0);
  __wasi_fdstat_t stat = fdstat_of(given);
  const uint64_t directory =
      __WASI_RIGHTS_PATH_CREATE_DIRECTORY | __WASI_RIGHTS_PATH_CREATE_FILE | __WASI_RIGHTS_PATH_LINK_SOURCE |
      __WASI_RIGHTS_PATH_LINK_TARGET | __WASI_RIGHTS_PATH_OPEN | __WASI_RIGHTS_FD_READDIR |
      __WASI_RIGHTS_PATH_READLINK | __WASI_RIGHTS_PATH_RENAME_SOURCE | __WASI_RIGHTS_PATH_RENAME_TARGET |
      __WASI_RIGHTS_PATH_SYMLINK | __WASI_RIGHTS_PATH_REMOVE_DIRECTORY | __WASI_RIGHTS_PATH_UNLINK_FILE |
      __WASI_RIGHTS_PATH_FILESTAT_GET | __WASI_RIGHTS_PATH_FILESTAT_SET_TIMES | STAT | SET_TIMES;
  const uint64_t below = directory | READ | WRITE | SEEK | TELL | SET_SIZE | __WASI_RIGHTS_FD_DATASYNC |
                         __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS | __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_ADVISE |
                         __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_POLL_FD_READWRITE;
  holds((stat.fs_rights_base & directory) == directory);
  holds((stat.fs_rights_inheriting & below) == below);
  holds(stat.fs_flags == 0 && !(stat.fs_rights_base & SET_SIZE));
  ok(__wasi_path_open(given, 0, ".", 0, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &fd));
  ok(open_at(given, ".", 0, 0, &fd));
  ok(open_at(given, ".", DIRECTORY, 0, &fd));
  ok(open_at(given, ".", DIRECTORY, READ, &fd));
  errs(open_at(given, ".", DIRECTORY, READ | WRITE, &fd), E_ISDIR);
}

static void preopen_closed(void) {
  int given = preopened("/");
  __wasi_fdstat_t stat;
  ok(__wasi_fd_close(given));
  holds(fdstat_of(dir).fs_filetype == __WASI_FILETYPE_DIRECTORY);
  errs(__wasi_fd_fdstat_get(given, &stat), E_BADF);
}

static void preopen_replaced(void) {
  int given = preopened("/");
  __wasi_fdstat_t stat;
  __wasi_filestat_t before = stat_of(dir);
  ok(__wasi_fd_renumber(dir, given));
  holds(stat_of(given).ino == before.ino && stat_of(given).dev == before.dev);
  errs(__wasi_fd_fdstat_get(dir, &stat), E_BADF);
  ok(__wasi_fd_close(given));
}

static char names[16][16];  // of the entries that the last call gave
static uint64_t behind[16]; // where the next one begins, for each

// One call's worth of whole entries from `cookie` on: how many.
static size_t entries(uint64_t cookie, bool *end) {
  uint8_t buffer[256];
  size_t used, count = 0;
  ok(__wasi_fd_readdir(dir, buffer, sizeof buffer, cookie, &used));
  *end = used < sizeof buffer;
  for (size_t start = 0; used - start >= sizeof(__wasi_dirent_t); count++) {
    __wasi_dirent_t entry;
    memcpy(&entry, buffer + start, sizeof entry);
    start += sizeof entry;
    if (used - start < entry.d_namlen) {
      break;
    }
    holds(entry.d_namlen < sizeof names[0] && count < 16);
    memcpy(names[count], buffer + start, entry.d_namlen);
    names[count][entry.d_namlen] = 0;
    start += entry.d_namlen;
    if (strcmp(names[count], "..") != 0) {
      __wasi_filestat_t stat = stat_at(names[count], 0);
      holds(entry.d_ino == stat.ino && entry.d_type == stat.filetype);
    }
    behind[count] = entry.d_next;
  }
  return count;
}

static void directory_entries(void) {
  bool end;
  holds(entries(0, &end) == 2 && end);
  holds(strcmp(names[0], ".") == 0 && strcmp(names[1], "..") == 0);
  touch("file");
  holds(entries(0, &end) == 3 && end);
  char last[16];
  strcpy(last, names[2]);
  holds(entries(behind[1], &end) == 1 && end && strcmp(names[0], last) == 0);
  holds(entries(behind[0], &end) == 0 && end);
  for (size_t i = 0; i < 1000; i++) {
    sprintf(text, "file.%zu", i);
    touch(text);
  }
  size_t total = 0;
  size_t count = 0;
  do {
    total += count = entries(total ? behind[count - 1] : 0, &end);
  } while (!end);
  holds(total == 1003);
  for (size_t i = 0; i < 1000; i++) {
    sprintf(text, "file.%zu", i);
    gone(text);
  }
  gone("file");
}

// --- paths

static void paths(void) {
  int fd;
  make("dir");
  make("dir/nested");
  touch("dir/nested/file");
  errs(try_open("/dir/nested/file", 0), E_PERM, E_NOTCAPABLE);
  ok(try_open("dir/.//nested/../../dir/nested/../nested///./file", 0));
  // wasi-libc measures paths itself, so one with a NUL inside is put together by hand.
  static const char nul[] = "dir/nested/file";
  errs(raw_path_open(dir, 0, nul, sizeof nul, 0, 0, 0, 0, &fd), E_INVAL, E_ILSEQ,
       E_NOENT);
  errs(try_open("dir/nested/file/", 0), E_NOTDIR, E_NOENT);
  errs(try_open("dir/nested/file///", 0), E_NOTDIR, E_NOENT);
  ok(try_open("dir/nested/", 0));
  ok(try_open("dir/nested///", 0));
  errs(try_open("dir/nested/../../../own/dir/nested/file", 0), E_PERM, E_NOTCAPABLE);
  errs(try_open("missing", 0), E_NOENT);
  errs(try_open("dir/nested/file", CREAT | EXCL), E_EXIST);
  ok(open_at(dir, "dir/nested/file", 0, 0, &fd));
  errs(open_at(fd, "below", CREAT, 0, &fd), E_NOTDIR, E_NOTCAPABLE);
  gone("dir/nested/file");
  rmdir_("dir/nested");
  rmdir_("dir");
}

static void removal(void) {
  make("dir");
  make("dir/nested");
  errs(__wasi_path_remove_directory(dir, "dir"), E_NOTEMPTY);
  rmdir_("dir/nested/");
  errs(__wasi_path_unlink_file(dir, "dir"), E_ISDIR);
  errs(__wasi_path_unlink_file(dir, "dir/"), E_ISDIR);
  rmdir_("dir");
  touch("file");
  errs(__wasi_path_remove_directory(dir, "file"), E_NOTDIR);
  errs(__wasi_path_remove_directory(dir, "file/"), E_NOTDIR);
  errs(__wasi_path_unlink_file(dir, "file/"), E_NOTDIR);
  gone("file");
}

static void renaming(void) {
  make("source");
  ok(__wasi_path_rename(dir, "source", dir, "target"));
  errs(try_open("source", DIRECTORY), E_NOENT);
  ok(try_open("target", DIRECTORY));
  make("source");
  ok(__wasi_path_rename(dir, "source", dir, "target")); // onto an empty directory
  errs(try_open("source", DIRECTORY), E_NOENT);
  make("source");
  touch("target/file");
  errs(__wasi_path_rename(dir, "source", dir, "target"), E_NOTEMPTY);
  errs(__wasi_path_rename(dir, "source", dir, "target/file"), E_NOTDIR);
  gone("target/file");
  rmdir_("target");
  ok(__wasi_path_rename(dir, "source/", dir, "target"));
  ok(__wasi_path_rename(dir, "target", dir, "source/"));
  ok(__wasi_path_rename(dir, "source/", dir, "target/"));
  touch("source");
  errs(__wasi_path_rename(dir, "source", dir, "target"), E_ISDIR);
  rmdir_("target");
  ok(__wasi_path_rename(dir, "source", dir, "target"));
  errs(try_open("source", 0), E_NOENT);
  touch("source");
  ok(__wasi_path_rename(dir, "source", dir, "target")); // onto a file
  errs(try_open("source", 0), E_NOENT);
  ok(try_open("target", 0));
  gone("target");
}

// --- links

static __wasi_errno_t try_follow(const char *path, int oflags) {
  int fd;
  __wasi_errno_t error = __wasi_path_open(dir, FOLLOW, path, (__wasi_oflags_t)oflags, 0, 0, 0, &fd);
  if (error == E_SUCCESS) {
    ok(__wasi_fd_close(fd));
  }
  return error;
}

static bool same(int one, int other) {
  __wasi_filestat_t left = stat_of(one), right = stat_of(other);
  __wasi_fdstat_t mine = fdstat_of(one), theirs = fdstat_of(other);
  return left.dev == right.dev && left.ino == right.ino && left.filetype == right.filetype &&
         left.nlink == right.nlink && left.size == right.size && left.atim == right.atim &&
         left.mtim == right.mtim && left.ctim == right.ctim && mine.fs_filetype == theirs.fs_filetype &&
         mine.fs_flags == theirs.fs_flags && mine.fs_rights_base == theirs.fs_rights_base &&
         mine.fs_rights_inheriting == theirs.fs_rights_inheriting;
}

static void hard_links(void) {
  int original, linked, sub;
  original = file("file", READ | STAT);
  ok(__wasi_path_link(dir, 0, "file", dir, "link"));
  ok(open_at(dir, "link", 0, READ | STAT, &linked));
  holds(same(original, linked) && stat_of(linked).nlink == 2);
  ok(__wasi_fd_close(linked));
  gone("link");
  make("sub");
  const uint64_t target = __WASI_RIGHTS_PATH_LINK_TARGET | __WASI_RIGHTS_PATH_OPEN;
  ok(__wasi_path_open(dir, 0, "sub", DIRECTORY, target, READ | STAT, 0, &sub));
  ok(__wasi_path_link(dir, 0, "file", sub, "link"));
  ok(open_at(sub, "link", 0, READ | STAT, &linked));
  holds(same(original, linked));
  ok(__wasi_fd_close(linked));
  ok(__wasi_fd_close(original));
  ok(__wasi_fd_close(sub));
  gone("sub/link");
  errs(__wasi_path_link(dir, 0, "sub", dir, "link"), E_PERM, E_ACCES);
  errs(__wasi_path_link(dir, 0, "file", dir, "sub"), E_EXIST);
  errs(__wasi_path_link(dir, 0, "file", dir, "file"), E_EXIST);
  errs(__wasi_path_link(dir, 0, "file", dir, "link/"), E_NOENT);
  touch("other");
  errs(__wasi_path_link(dir, 0, "file", dir, "other"), E_EXIST);
  gone("other");
  rmdir_("sub");
  const char *targets[] = {"nowhere", "symlink"}; // a link to a link that dangles, and to one that loops
  for (int i = 0; i < 2; i++) {
    ok(__wasi_path_symlink(targets[i], dir, "symlink"));
    ok(__wasi_path_link(dir, 0, "symlink", dir, "link"));
    errs(__wasi_path_link(dir, 0, "file", dir, "symlink"), E_EXIST);
    gone("link");
    errs(__wasi_path_link(dir, FOLLOW, "symlink", dir, "link"), E_INVAL, E_NOENT);
    gone("symlink");
  }
  gone("file");
}

static void symbolic_links(void) {
  size_t used;
  uint8_t buffer[10] = {0};
#define NOT_FOLLOWED E_LOOP, E_NOTDIR
  ok(__wasi_path_symlink("target", dir, "link"));
  errs(try_open("link", DIRECTORY), NOT_FOLLOWED);
  errs(try_open("link", 0), E_LOOP);
  ok(__wasi_path_readlink(dir, "link", buffer, sizeof buffer, &used));
  holds(used == 6 && memcmp(buffer, "target\0\0\0", sizeof buffer) == 0);
  memset(buffer, 0, sizeof buffer);
  ok(__wasi_path_readlink(dir, "link", buffer, 4, &used));
  holds(used == 4 && memcmp(buffer, "targ\0", 5) == 0);
  make("target");
  errs(try_open("link", DIRECTORY), NOT_FOLLOWED);
  errs(try_open("link", 0), E_LOOP, E_ACCES);
  ok(try_follow("link", DIRECTORY));
  holds(stat_at("link", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  holds(stat_at("link", FOLLOW).filetype == __WASI_FILETYPE_DIRECTORY);
  rmdir_("target");
  touch("target");
  errs(try_open("link", DIRECTORY), NOT_FOLLOWED);
  errs(try_open("link", 0), E_LOOP);
  errs(try_follow("link", DIRECTORY), E_NOTDIR);
  ok(try_follow("link", 0));
  holds(stat_at("link", FOLLOW).filetype == __WASI_FILETYPE_REGULAR_FILE);
  gone("target");
  gone("link");
  ok(__wasi_path_symlink("link", dir, "link"));
  errs(try_open("link", 0), E_LOOP);
  errs(try_follow("link", 0), E_LOOP);
  gone("link");
  holds(__wasi_path_symlink("/", dir, "link") != E_SUCCESS);
  errs(__wasi_path_symlink("source", dir, "link/"), E_NOENT);
  make("link");
  errs(__wasi_path_symlink("source", dir, "link/"), E_EXIST);
  errs(__wasi_path_symlink("source", dir, "link"), E_EXIST);
  rmdir_("link");
  touch("link");
  errs(__wasi_path_symlink("source", dir, "link/"), E_NOTDIR);
  errs(__wasi_path_symlink("source", dir, "link"), E_EXIST);
  gone("link");
}

static const struct check checks[] = {
    CHECK(directory_descriptor), CHECK(preopen), CHECK(preopen_closed), CHECK(preopen_replaced),
    CHECK(directory_entries), CHECK(paths), CHECK(removal), CHECK(renaming), CHECK(hard_links),
    CHECK(symbolic_links),
};

int main(int count, char **arguments) {
  return run(checks, sizeof checks / sizeof checks[0], count, arguments);
}
