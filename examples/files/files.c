// A file tool: lists, shows, copies, moves, links and removes what is in the directory that the Keep was given.
//
//   files COMMAND [ARG ...] [, COMMAND [ARG ...]] ...
//
// What a workload writes stays in the Keep and ends with it, so one run takes several commands, joined by commas.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define COPY_BYTES 65536
#define MAX_DEPTH 64
#define MAX_ENTRIES 65536

static const char *command;

static int failed(const char *path) {
  fprintf(stderr, "files: %s: %s: %s\n", command, path, strerror(errno));
  return 1;
}

static int join(char *path, const char *directory, const char *name) {
  const char *slash = directory[strlen(directory) - 1] == '/' ? "" : "/";
  if (snprintf(path, PATH_BYTES, "%s%s%s", directory, slash, name) >= PATH_BYTES) {
    errno = ENAMETOOLONG;
    return failed(name);
  }
  return 0;
}

// --- moving bytes

static int write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno != EINTR) {
      return -1;
    }
    if (written > 0) {
      data += written;
      size -= (size_t)written;
    }
  }
  return 0;
}

static int pour(int from, const char *from_name, int to, const char *to_name) {
  static char buffer[COPY_BYTES];
  for (;;) {
    ssize_t count = read(from, buffer, sizeof buffer);
    if (count == 0) {
      return 0;
    }
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return failed(from_name);
    }
    if (write_all(to, buffer, (size_t)count) != 0) {
      return failed(to_name);
    }
  }
}

static int cat(const char *path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) {
    return failed(path);
  }
  fflush(stdout);
  int status = pour(fd, path, STDOUT_FILENO, "standard output");
  close(fd);
  return status;
}

static int pour_into(int from, const char *from_name, const char *path) {
  int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (to < 0) {
    return failed(path);
  }
  int status = pour(from, from_name, to, path);
  if (close(to) != 0 && status == 0) {
    status = failed(path);
  }
  return status;
}

static int same_file(const char *a, const char *b) {
  struct stat left, right;
  return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_ino == right.st_ino && left.st_dev == right.st_dev;
}

static int cp(const char *source, const char *target) {
  if (same_file(source, target)) {
    fprintf(stderr, "files: cp: %s and %s are the same file\n", source, target);
    return 1;
  }
  int from = open(source, O_RDONLY);
  if (from < 0) {
    return failed(source);
  }
  int status = pour_into(from, source, target);
  close(from);
  return status;
}

// --- directories

typedef struct {
  char *names[MAX_ENTRIES];
  size_t count;
} listing;

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void forget(listing *entries) {
  while (entries->count > 0) {
    free(entries->names[--entries->count]);
  }
  free(entries);
}

// The names in a directory without . and .., sorted; NULL after a message if it cannot be read.
static listing *read_directory(const char *path) {
  DIR *directory = opendir(path);
  listing *entries = directory == NULL ? NULL : calloc(1, sizeof *entries);
  if (entries == NULL) {
    failed(path);
    if (directory != NULL) {
      closedir(directory);
    }
    return NULL;
  }
  struct dirent *entry;
  errno = 0;
  while ((entry = readdir(directory)) != NULL) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      char *name = entries->count < MAX_ENTRIES ? strdup(entry->d_name) : NULL;
      if (name == NULL) {
        errno = ENOMEM;
        break;
      }
      entries->names[entries->count++] = name;
    }
    errno = 0;
  }
  int error = errno;
  closedir(directory);
  if (error != 0) {
    errno = error;
    failed(path);
    forget(entries);
    return NULL;
  }
  qsort(entries->names, entries->count, sizeof entries->names[0], by_name);
  return entries;
}

static char letter(const struct stat *info) {
  return S_ISDIR(info->st_mode) ? 'd' : S_ISLNK(info->st_mode) ? 'l' : S_ISREG(info->st_mode) ? '-' : '?';
}

// " -> TARGET" after a symbolic link's name.
static void print_target(const char *path, const struct stat *info) {
  char target[PATH_BYTES];
  if (S_ISLNK(info->st_mode)) {
    ssize_t length = readlink(path, target, sizeof target);
    if (length >= 0) {
      printf(" -> %.*s", (int)length, target);
    }
  }
}

static int ls_entry(const char *path, const char *name) {
  struct stat info;
  if (lstat(path, &info) != 0) {
    return failed(path);
  }
  printf("%c %3lu %12lld  %s", letter(&info), (unsigned long)info.st_nlink, (long long)info.st_size, name);
  print_target(path, &info);
  putchar('\n');
  return 0;
}

static int ls(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0) {
    return failed(path);
  }
  if (!S_ISDIR(info.st_mode)) {
    return ls_entry(path, path);
  }
  listing *entries = read_directory(path);
  if (entries == NULL) {
    return 1;
  }
  int status = 0;
  for (size_t i = 0; i < entries->count; i++) {
    char child[PATH_BYTES];
    status |= join(child, path, entries->names[i]) || ls_entry(child, entries->names[i]);
  }
  forget(entries);
  return status;
}

static int tree_below(const char *path, const char *prefix, int depth) {
  if (depth > MAX_DEPTH) {
    errno = ELOOP;
    return failed(path);
  }
  listing *entries = read_directory(path);
  if (entries == NULL) {
    return 1;
  }
  int status = 0;
  for (size_t i = 0; i < entries->count; i++) {
    char child[PATH_BYTES], below[PATH_BYTES];
    struct stat info;
    int last = i + 1 == entries->count;
    if (join(child, path, entries->names[i]) != 0) {
      status = 1;
      continue;
    }
    if (lstat(child, &info) != 0) {
      status = failed(child);
      continue;
    }
    printf("%s%s%s%s", prefix, last ? "`-- " : "|-- ", entries->names[i], S_ISDIR(info.st_mode) ? "/" : "");
    print_target(child, &info);
    putchar('\n');
    if (S_ISDIR(info.st_mode)) {
      snprintf(below, sizeof below, "%s%s", prefix, last ? "    " : "|   ");
      status |= tree_below(child, below, depth + 1);
    }
  }
  forget(entries);
  return status;
}

static int tree(const char *path) {
  printf("%s\n", path);
  return tree_below(path, "", 0);
}

static int rm_all(const char *path, int depth) {
  struct stat info;
  if (lstat(path, &info) != 0) {
    return failed(path);
  }
  if (!S_ISDIR(info.st_mode)) {
    return unlink(path) == 0 ? 0 : failed(path);
  }
  if (depth > MAX_DEPTH) {
    errno = ELOOP;
    return failed(path);
  }
  listing *entries = read_directory(path);
  if (entries == NULL) {
    return 1;
  }
  int status = 0;
  for (size_t i = 0; i < entries->count; i++) {
    char child[PATH_BYTES];
    status |= join(child, path, entries->names[i]) || rm_all(child, depth + 1);
  }
  forget(entries);
  return status != 0 ? status : rmdir(path) == 0 ? 0 : failed(path);
}

// --- the command line

static int do_ls(char **args, int count) { return ls(count > 0 ? args[0] : "/"); }
static int do_tree(char **args, int count) { return tree(count > 0 ? args[0] : "/"); }
static int do_cp(char **args, int count) { return (void)count, cp(args[0], args[1]); }
static int do_write(char **args, int count) { return (void)count, pour_into(STDIN_FILENO, "standard input", args[0]); }
static int do_mv(char **args, int count) { return (void)count, rename(args[0], args[1]) == 0 ? 0 : failed(args[0]); }
static int do_mkdir(char **args, int count) { return (void)count, mkdir(args[0], 0777) == 0 ? 0 : failed(args[0]); }

static int do_cat(char **args, int count) {
  int status = 0;
  for (int i = 0; i < count; i++) {
    status |= cat(args[i]);
  }
  return status;
}

static int do_ln(char **args, int count) {
  int symbolic = strcmp(args[0], "-s") == 0;
  if (count != 2 + symbolic) {
    fprintf(stderr, "files: ln: give a target and a name\n");
    return 2;
  }
  const char *target = args[symbolic], *name = args[symbolic + 1];
  return (symbolic ? symlink(target, name) : link(target, name)) == 0 ? 0 : failed(name);
}

static int do_rm(char **args, int count) {
  int recursive = strcmp(args[0], "-r") == 0, status = 0;
  for (int i = recursive; i < count; i++) {
    status |= recursive ? rm_all(args[i], 0) : unlink(args[i]) == 0 ? 0 : failed(args[i]);
  }
  return status;
}

static const struct {
  const char *name;
  int least, most;  // arguments
  int (*run)(char **, int);
  const char *usage;
} commands[] = {
    {"ls", 0, 1, do_ls, "ls [DIRECTORY]          kind, links, size and name of what is in it"},
    {"tree", 0, 1, do_tree, "tree [DIRECTORY]        everything below it"},
    {"cat", 1, 1000, do_cat, "cat FILE ...            show files"},
    {"write", 1, 1, do_write, "write FILE              standard input becomes the file"},
    {"cp", 2, 2, do_cp, "cp FILE NEW             copy a file"},
    {"mv", 2, 2, do_mv, "mv OLD NEW              rename, over what has that name"},
    {"ln", 2, 3, do_ln, "ln [-s] TARGET NAME     another name, or a symbolic link"},
    {"mkdir", 1, 1, do_mkdir, "mkdir DIRECTORY         make a directory"},
    {"rm", 1, 1000, do_rm, "rm [-r] PATH ...        remove; -r with everything below"},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static int usage(void) {
  fprintf(stderr, "usage: files COMMAND [ARG ...] [, COMMAND [ARG ...]] ...\n");
  for (size_t i = 0; i < COMMANDS; i++) {
    fprintf(stderr, "  %s\n", commands[i].usage);
  }
  return 2;
}

static int run(char **words, int count) {
  for (size_t i = 0; count > 0 && i < COMMANDS; i++) {
    if (strcmp(words[0], commands[i].name) == 0) {
      command = words[0];
      if (count - 1 < commands[i].least || count - 1 > commands[i].most) {
        break;
      }
      return commands[i].run(words + 1, count - 1);
    }
  }
  return usage();
}

// Runs every command up to the first that fails.
int main(int argc, char **argv) {
  int status = 0;
  int start = 1;
  do {
    int end = start;
    while (end < argc && strcmp(argv[end], ",") != 0) {
      end++;
    }
    status = run(argv + start, end - start);
    start = end + 1;
  } while (status == 0 && start <= argc);
  if (fflush(stdout) != 0 && status == 0) {
    status = failed("standard output");
  }
  return status;
}
