// Prints its arguments, its environment, and what each of the first descriptors is.
#include <stdio.h>
#include <wasi/api.h>

extern char **environ;

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) {
    printf("arg %s\n", argv[i]);
  }
  for (char **entry = environ; *entry != NULL; entry++) {
    printf("env %s\n", *entry);
  }
  for (int fd = 0; fd < 8; fd++) {
    __wasi_fdstat_t stat;
    if (__wasi_fd_fdstat_get(fd, &stat) == 0) {
      printf("fd %d type %d nonblocking %d\n", fd, stat.fs_filetype, (stat.fs_flags & __WASI_FDFLAGS_NONBLOCK) != 0);
    }
  }
  return fflush(stdout) != 0;
}
