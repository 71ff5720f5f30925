// What portable programs take for granted of WASI preview 1: PROGRAM CHECK
//
// Where engines differ, `errs` lists every error number that such a program accepts. A check that finds something else
// says where, and exits with 1. Each works in a directory of its own, which must be empty when it ends.

#define _GNU_SOURCE
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

#define READ __WASI_RIGHTS_FD_READ
#define WRITE __WASI_RIGHTS_FD_WRITE
#define SEEK __WASI_RIGHTS_FD_SEEK
#define TELL __WASI_RIGHTS_FD_TELL
#define STAT __WASI_RIGHTS_FD_FILESTAT_GET
#define SET_SIZE __WASI_RIGHTS_FD_FILESTAT_SET_SIZE
#define SET_TIMES __WASI_RIGHTS_FD_FILESTAT_SET_TIMES
#define CREAT __WASI_OFLAGS_CREAT
#define EXCL __WASI_OFLAGS_EXCL
#define TRUNC __WASI_OFLAGS_TRUNC
#define DIRECTORY __WASI_OFLAGS_DIRECTORY
#define FOLLOW __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW

enum {
  E_ACCES = __WASI_ERRNO_ACCES,
  E_BADF = __WASI_ERRNO_BADF,
  E_EXIST = __WASI_ERRNO_EXIST,
  E_ILSEQ = __WASI_ERRNO_ILSEQ,
  E_INVAL = __WASI_ERRNO_INVAL,
  E_ISDIR = __WASI_ERRNO_ISDIR,
  E_LOOP = __WASI_ERRNO_LOOP,
  E_NAMETOOLONG = __WASI_ERRNO_NAMETOOLONG,
  E_NOENT = __WASI_ERRNO_NOENT,
  E_NOTCAPABLE = __WASI_ERRNO_NOTCAPABLE,
  E_NOTDIR = __WASI_ERRNO_NOTDIR,
  E_NOTEMPTY = __WASI_ERRNO_NOTEMPTY,
  E_PERM = __WASI_ERRNO_PERM,
  E_SUCCESS = __WASI_ERRNO_SUCCESS,
};

#define ok(call) is_one_of(__LINE__, #call, (call), E_SUCCESS, -1)
#define errs(call, ...) is_one_of(__LINE__, #call, (call), __VA_ARGS__, -1)
#define holds(truth) holds_at(__LINE__, #truth, (truth))

struct check {
  const char *name;
  void (*run)(void);
};
#define CHECK(name) {#name, name}

static int root; // the directory that was given as "/", opened again
static int dir;  // the check's own, below it
static char text[256];

static inline void holds_at(int line, const char *what, bool truth) {
  if (!truth) {
    fprintf(stderr, "line %d: not so: %s\n", line, what);
    exit(1);
  }
}

static inline void is_one_of(int line, const char *what, int got, int accepted, ...) {
  va_list more;
  va_start(more, accepted);
  while (accepted >= 0 && accepted != got) {
    accepted = va_arg(more, int);
  }
  va_end(more);
  if (accepted >= 0) {
    return;
  }
  fprintf(stderr, "line %d: errno %d from %s\n", line, got, what);
  exit(1);
}

// --- calls with the arguments that matter

static inline __wasi_errno_t open_at(int at, const char *path, int oflags, uint64_t rights, int *fd) {
  return __wasi_path_open(at, 0, path, (__wasi_oflags_t)oflags, rights, 0, 0, fd);
}

static inline __wasi_errno_t try_open(const char *path, int oflags) {
  int fd;
  __wasi_errno_t error = open_at(dir, path, oflags, 0, &fd);
  if (error == E_SUCCESS) {
    holds(fd > 2);
    ok(__wasi_fd_close(fd));
  }
  return error;
}

static inline int file(const char *path, uint64_t rights) {
  int fd;
  ok(open_at(dir, path, CREAT, rights, &fd));
  holds(fd > 2);
  return fd;
}

static inline void touch(const char *path) { ok(__wasi_fd_close(file(path, 0))); }
static inline void make(const char *path) { ok(__wasi_path_create_directory(dir, path)); }
static inline void gone(const char *path) { ok(__wasi_path_unlink_file(dir, path)); }
static inline void rmdir_(const char *path) { ok(__wasi_path_remove_directory(dir, path)); }

static inline size_t put(int fd, const void *data, size_t size) {
  __wasi_ciovec_t vector = {data, size};
  size_t done;
  ok(__wasi_fd_write(fd, &vector, 1, &done));
  return done;
}

static inline size_t get(int fd, void *data, size_t size) {
  __wasi_iovec_t vector = {data, size};
  size_t done;
  ok(__wasi_fd_read(fd, &vector, 1, &done));
  return done;
}

static inline uint64_t seek(int fd, int64_t offset, int whence) {
  __wasi_filesize_t position;
  ok(__wasi_fd_seek(fd, offset, (__wasi_whence_t)whence, &position));
  return position;
}

static inline __wasi_filestat_t stat_of(int fd) {
  __wasi_filestat_t stat;
  ok(__wasi_fd_filestat_get(fd, &stat));
  return stat;
}

static inline __wasi_filestat_t stat_at(const char *path, int flags) {
  __wasi_filestat_t stat;
  ok(__wasi_path_filestat_get(dir, (__wasi_lookupflags_t)flags, path, &stat));
  return stat;
}

static inline __wasi_fdstat_t fdstat_of(int fd) {
  __wasi_fdstat_t stat;
  ok(__wasi_fd_fdstat_get(fd, &stat));
  return stat;
}

// What the calls that find a directory's descriptor see, as every libc makes them: from 3 up to the first error.
static inline int preopened(const char *path) {
  __wasi_prestat_t found;
  for (int fd = 3; __wasi_fd_prestat_get(fd, &found) == E_SUCCESS; fd++) {
    char name[64] = {0};
    if (found.tag == __WASI_PREOPENTYPE_DIR && found.u.dir.pr_name_len < sizeof name) {
      ok(__wasi_fd_prestat_dir_name(fd, (uint8_t *)name, found.u.dir.pr_name_len));
      if (strcmp(name, path) == 0) {
        return fd;
      }
    }
  }
  return -1;
}

// Runs the check that the command line names. Unlike descriptor 3, `dir` may get every right that there is.
static inline int run(const struct check *checks, size_t number, int count, char **arguments) {
  int given = preopened("/");
  holds(given > 2 && count == 2);
  __wasi_fdstat_t stat = fdstat_of(given);
  ok(__wasi_path_open(given, 0, ".", DIRECTORY, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &root));
  ok(__wasi_path_create_directory(root, "own"));
  ok(__wasi_path_open(root, 0, "own", DIRECTORY, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &dir));
  for (size_t i = 0; i < number; i++) {
    if (strcmp(checks[i].name, arguments[1]) == 0) {
      checks[i].run();
      ok(__wasi_path_remove_directory(root, "own"));
      return 0;
    }
  }
  return 2;
}
