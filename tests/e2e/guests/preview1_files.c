// Descriptors, files, rights, standard streams, clocks, and what a C library makes of them. See preview1.h.

#include "preview1.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

// --- files

static void positions(void) {
  int fd = file("file", READ | WRITE | SEEK | TELL);
  __wasi_filesize_t position;
  uint8_t data[100] = {1};
  ok(__wasi_fd_tell(fd, &position));
  holds(position == 0);
  holds(put(fd, data, sizeof data) == 100);
  ok(__wasi_fd_tell(fd, &position));
  holds(position == 100);
  holds(seek(fd, -50, SEEK_CUR) == 50);
  holds(seek(fd, 0, SEEK_SET) == 0);
  holds(seek(fd, 1000, SEEK_CUR) == 1000);
  errs(__wasi_fd_seek(fd, -2000, __WASI_WHENCE_CUR, &position), E_INVAL);
  holds(seek(fd, 0, SEEK_SET) == 0);
  holds(get(fd, text, 100) == 100);
  holds(seek(fd, 0, SEEK_CUR) == 100);
  ok(__wasi_fd_close(fd));
  gone("file");
}

static void reading_and_writing_at_offsets(void) {
  int fd = file("file", READ | WRITE | SEEK);
  uint8_t data[] = {0, 1, 2, 3}, back[4] = {9, 9, 9, 9};
  __wasi_ciovec_t out[] = {{data, 2}, {data + 2, 2}};
  __wasi_iovec_t in[] = {{back, 2}, {back + 2, 2}};
  size_t done;
  ok(__wasi_fd_pwrite(fd, out, 2, 0, &done));
  holds(done == 4);
  ok(__wasi_fd_pread(fd, in, 2, 0, &done));
  holds(done == 4 && memcmp(back, data, 4) == 0);
  ok(__wasi_fd_pread(fd, in, 2, 2, &done));
  holds(done == 2 && back[0] == 2 && back[1] == 3);
  ok(__wasi_fd_pread(fd, in, 2, 4, &done));
  holds(done == 0);
  data[0] = 1, data[1] = 0;
  ok(__wasi_fd_pwrite(fd, out, 1, 2, &done));
  ok(__wasi_fd_pread(fd, in, 2, 0, &done));
  holds(done == 4 && memcmp(back, (uint8_t[]){0, 1, 1, 0}, 4) == 0);
  holds(seek(fd, 0, SEEK_CUR) == 0);
  ok(__wasi_fd_close(fd));
  gone("file");
}

static void sizes(void) {
  int fd = file("file", READ | WRITE | STAT | SET_SIZE | __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_ADVISE);
  holds(stat_of(fd).size == 0);
  ok(__wasi_fd_allocate(fd, 0, 100));
  holds(stat_of(fd).size == 100);
  ok(__wasi_fd_allocate(fd, 10, 10));
  holds(stat_of(fd).size == 100);
  ok(__wasi_fd_allocate(fd, 90, 20));
  holds(stat_of(fd).size == 110);
  ok(__wasi_fd_advise(fd, 10, 50, __WASI_ADVICE_NORMAL));
  holds(stat_of(fd).size == 110);
  ok(__wasi_fd_filestat_set_size(fd, 7));
  holds(stat_of(fd).size == 7);
  ok(__wasi_fd_close(fd));
  ok(open_at(dir, "file", CREAT | TRUNC, READ | WRITE, &fd));
  holds(get(fd, text, sizeof text) == 0);
  ok(__wasi_fd_close(fd));
  gone("file");
}

static void two_descriptors_of_one_file(void) {
  int reader = file("file", READ), writer;
  ok(open_at(dir, "file", 0, WRITE, &writer));
  holds(put(writer, "\1", 1) == 1);
  holds(get(reader, text, 1) == 1 && text[0] == 1);
  ok(__wasi_fd_close(writer));
  ok(__wasi_fd_close(reader));
  gone("file");
}

static void append(void) {
  int fd;
  char back[100];
  ok(__wasi_path_open(dir, 0, "file", CREAT, READ | WRITE | SEEK | TELL | __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS, 0,
                      __WASI_FDFLAGS_APPEND, &fd));
  for (char fill = 0; fill < 2; fill++) {
    memset(text, fill, 100);
    seek(fd, 0, SEEK_SET);
    holds(put(fd, text, 100) == 100);
    seek(fd, 100 * fill, SEEK_SET);
    holds(get(fd, back, 100) == 100 && memcmp(back, text, 100) == 0);
  }
  ok(__wasi_fd_fdstat_set_flags(fd, 0));
  memset(text, 2, 100);
  seek(fd, 0, SEEK_SET);
  holds(put(fd, text, 100) == 100);
  seek(fd, 0, SEEK_SET);
  holds(get(fd, back, 100) == 100 && memcmp(back, text, 100) == 0);
  ok(__wasi_fd_close(fd));
  holds(stat_at("file", 0).size == 200);
  gone("file");
  ok(__wasi_path_open(dir, 0, "file", CREAT, READ | WRITE, 0, __WASI_FDFLAGS_APPEND | __WASI_FDFLAGS_SYNC, &fd));
  holds(fdstat_of(fd).fs_flags == (__WASI_FDFLAGS_APPEND | __WASI_FDFLAGS_SYNC));
  ok(__wasi_fd_close(fd));
  gone("file");
}

static void timestamps(void) {
  int fd = file("file", READ | WRITE | STAT | SET_SIZE | SET_TIMES);
  __wasi_filestat_t before = stat_of(fd);
  uint64_t earlier = before.mtim - 100;
  ok(__wasi_fd_filestat_set_times(fd, earlier, earlier, __WASI_FSTFLAGS_MTIM));
  holds(stat_of(fd).mtim == earlier && stat_of(fd).atim == before.atim && stat_of(fd).size == 0);
  const int both[] = {__WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW};
  for (int i = 0; i < 2; i++) {
    __wasi_fstflags_t flags = (__wasi_fstflags_t)both[i];
    errs(__wasi_fd_filestat_set_times(fd, 100, 200, flags), E_INVAL);
    errs(__wasi_path_filestat_set_times(dir, 0, "file", 100, 200, flags), E_INVAL);
  }
  holds(stat_of(fd).mtim == earlier);
  earlier -= 100;
  ok(__wasi_path_filestat_set_times(dir, 0, "file", 0, earlier, __WASI_FSTFLAGS_MTIM));
  holds(stat_at("file", 0).mtim == earlier);

  ok(__wasi_path_symlink("file", dir, "link")); // a link has times of its own
  uint64_t of_link = stat_at("link", 0).mtim - 200;
  ok(__wasi_path_filestat_set_times(dir, 0, "link", 0, of_link, __WASI_FSTFLAGS_MTIM));
  holds(stat_at("link", 0).mtim == of_link && stat_at("file", 0).mtim == earlier);
  holds(stat_at("link", FOLLOW).mtim == earlier);
  ok(__wasi_path_filestat_set_times(dir, FOLLOW, "link", 0, of_link - 1, __WASI_FSTFLAGS_MTIM));
  holds(stat_at("link", 0).mtim == of_link && stat_at("file", 0).mtim == of_link - 1);
  ok(__wasi_fd_close(fd));
  gone("link");
  gone("file");
}

static void a_file_without_a_name(void) {
  int fd = file("file", READ | WRITE | SEEK);
  gone("file");
  touch("file");
  holds(put(fd, "old", 3) == 3 && stat_at("file", 0).size == 0);
  seek(fd, 0, SEEK_SET);
  holds(get(fd, text, 10) == 3);
  ok(__wasi_fd_close(fd));
  gone("file");
  make("sub");
  ok(open_at(dir, "sub", DIRECTORY, 0, &fd));
  rmdir_("sub");
  make("sub");
  ok(__wasi_fd_close(fd));
  rmdir_("sub");
}

// --- rights

static void rights(void) {
  uint8_t data[] = {0, 1, 2, 3};
  __wasi_iovec_t in = {(uint8_t *)text, 4};
  __wasi_ciovec_t out = {data, 4};
  size_t done;
  int fd = file("file", READ | WRITE | SEEK | TELL);
  holds(put(fd, data, 4) == 4 && seek(fd, 0, SEEK_SET) == 0);
  holds(get(fd, text, 4) == 4 && memcmp(text, data, 4) == 0);
  __wasi_fdstat_t stat = fdstat_of(fd);
  ok(__wasi_fd_fdstat_set_rights(fd, stat.fs_rights_base & ~(READ | WRITE), stat.fs_rights_inheriting));
  stat = fdstat_of(fd);
  holds(!(stat.fs_rights_base & (READ | WRITE)) && stat.fs_rights_base & SEEK);
  errs(__wasi_fd_read(fd, &in, 1, &done), E_BADF, E_NOTCAPABLE);
  errs(__wasi_fd_write(fd, &out, 1, &done), E_BADF, E_NOTCAPABLE);
  errs(__wasi_fd_fdstat_set_rights(fd, stat.fs_rights_base | READ, stat.fs_rights_inheriting), E_NOTCAPABLE);
  ok(__wasi_fd_close(fd));

#define NOT_OPENED_SO E_BADF, E_NOTCAPABLE, E_ACCES
  ok(open_at(dir, "file", 0, READ, &fd));
  holds((fdstat_of(fd).fs_rights_base & (READ | WRITE)) == READ);
  errs(__wasi_fd_write(fd, &out, 1, &done), NOT_OPENED_SO);
  ok(__wasi_fd_close(fd));
  ok(open_at(dir, "file", 0, WRITE, &fd));
  holds((fdstat_of(fd).fs_rights_base & (READ | WRITE)) == WRITE);
  errs(__wasi_fd_read(fd, &in, 1, &done), NOT_OPENED_SO);
  ok(__wasi_fd_close(fd));
  ok(open_at(dir, "file", 0, READ | WRITE | STAT, &fd));
  holds(get(fd, text, 100) == 4 && put(fd, data, 4) == 4 && stat_of(fd).size == 8);
  ok(__wasi_fd_close(fd));
  gone("file");
}

static void truncation_takes_a_right(void) {
  int fd;
  touch("file");
  __wasi_fdstat_t stat = fdstat_of(dir);
  const uint64_t by_path = __WASI_RIGHTS_PATH_FILESTAT_SET_SIZE;
  holds(stat.fs_filetype == __WASI_FILETYPE_DIRECTORY && stat.fs_flags == 0 && !(stat.fs_rights_base & SET_SIZE));
  holds((stat.fs_rights_base & by_path) != 0);
  ok(try_open("file", TRUNC));
  ok(__wasi_fd_fdstat_set_rights(dir, stat.fs_rights_base, stat.fs_rights_inheriting & ~SET_SIZE));
  ok(try_open("file", TRUNC));
  ok(__wasi_fd_fdstat_set_rights(dir, stat.fs_rights_base & ~by_path, stat.fs_rights_inheriting & ~SET_SIZE));
  holds(!(fdstat_of(dir).fs_rights_base & by_path));
  errs(open_at(dir, "file", TRUNC, 0, &fd), E_PERM, E_NOTCAPABLE);
  gone("file");
}

// --- numbers of descriptors

static void renumbering(void) {
  int from = file("one", READ | WRITE), to = file("two", READ | WRITE);
  __wasi_fdstat_t before = fdstat_of(from), after;
  ok(__wasi_fd_renumber(from, to));
  errs(__wasi_fd_close(from), E_BADF);
  after = fdstat_of(to);
  holds(before.fs_filetype == after.fs_filetype && before.fs_flags == after.fs_flags);
  holds(before.fs_rights_base == after.fs_rights_base && before.fs_rights_inheriting == after.fs_rights_inheriting);
  errs(__wasi_fd_renumber(to, from), E_BADF);
  ok(__wasi_fd_close(to));
  gone("one");
  gone("two");
}

static void standard_streams_renumbered(void) {
  for (int from = 0; from < 3; from++) {
    __wasi_fdstat_t stat;
    int to;
    ok(open_at(dir, "file", CREAT, 0, &to)); // not `file`: it gets the lowest number, which is that of stdin later
    ok(__wasi_fd_renumber(from, to));
    fdstat_of(to);
    holds(__wasi_fd_fdstat_get(from, &stat) != E_SUCCESS);
    gone("file");
  }
}

// --- streams, clocks, randomness

static void polling(void) {
  const uint64_t clock = 12345678, input = 87654321, timeout = 200000000;
  __wasi_subscription_t in[3] = {
      {.userdata = clock, .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {__WASI_CLOCKID_MONOTONIC, timeout, 0, 0}}},
      {.userdata = input, .u = {.tag = __WASI_EVENTTYPE_FD_READ, .u.fd_read = {0}}},
  };
  __wasi_event_t out[3];
  size_t count;
  ok(__wasi_poll_oneoff(in, out, 2, &count));
  holds(count >= 1 && count <= 2);
  for (size_t i = 0; i < count; i++) {
    holds(out[i].error == E_SUCCESS);
    holds(out[i].userdata == (out[i].type == __WASI_EVENTTYPE_CLOCK ? clock : input));
  }
  for (uint32_t fd = 1; fd < 3; fd++) {
    in[fd].userdata = fd;
    in[fd].u.tag = __WASI_EVENTTYPE_FD_WRITE;
    in[fd].u.u.fd_write.file_descriptor = (__wasi_fd_t)fd;
  }
  ok(__wasi_poll_oneoff(in, out, 3, &count));
  holds(count == 2); // both can be written to at once, so the time has not passed
  for (size_t i = 0; i < count; i++) {
    holds(out[i].error == E_SUCCESS && out[i].type == __WASI_EVENTTYPE_FD_WRITE);
    holds(out[i].userdata == i + 1);
  }
}

static void clocks_and_randomness(void) {
  __wasi_timestamp_t first, second;
  ok(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &first));
  ok(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &first));
  ok(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &second));
  holds(first < second);
  ok(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 0, &first));
  holds(first > 1600000000ull * 1000000000);
  ok(__wasi_clock_res_get(__WASI_CLOCKID_MONOTONIC, &first));
  ok(__wasi_clock_res_get(__WASI_CLOCKID_REALTIME, &second));
  holds(first > 0 && second > 0);
  ok(__wasi_sched_yield());
  static uint8_t noise[1024], none[1024];
  ok(__wasi_random_get(noise, 0));
  holds(memcmp(noise, none, sizeof noise) == 0);
  ok(__wasi_random_get(noise, sizeof noise));
  holds(memcmp(noise, none, sizeof noise) != 0);
}

static void standard_streams(void) {
  for (int fd = 0; fd < 3; fd++) {
    __wasi_filestat_t stat = stat_of(fd);
    holds(stat.size == 0 && stat.atim == 0 && stat.mtim == 0 && stat.ctim == 0);
  }
  size_t done;
  errs(__wasi_fd_write(-31337, NULL, 0, &done), E_BADF);
  holds(shutdown(1, SHUT_RD) == -1 && errno == ENOTSOCK);
  holds(shutdown(100, SHUT_RD) == -1 && errno == EBADF);
  holds(isatty(file("file", 0)) == 0);
  gone("file");
}

static void c_library(void) {
  char buffer[16];
  struct stat one, other;
  FILE *stream = fopen("/own/file", "w");
  holds(stream && fputs("01234567", stream) >= 0 && fclose(stream) == 0);
  stream = fopen("/own/file", "r");
  holds(fread(buffer, 1, 4, stream) == 4 && fflush(stream) == 0 && lseek(fileno(stream), 0, SEEK_CUR) == 4);
  holds(fread(buffer, 1, 1, stream) == 1 && buffer[0] == '4' && fflush(stream) == 0);
  holds(lseek(fileno(stream), 0, SEEK_CUR) == 5 && lseek(fileno(stream), 0, SEEK_END) == 8);
  fclose(stream);
  int fd = open("/own/file", O_RDONLY);
  holds(pread(fd, buffer, 3, 4) == 3 && memcmp(buffer, "456", 3) == 0 && fstat(fd, &one) == 0);
  close(fd);
  holds(access("/own/other", F_OK) != 0 && errno == ENOENT);
  fd = open("/own/other", O_CREAT | O_TRUNC | O_WRONLY | O_APPEND);
  holds(write(fd, buffer, 2) == 2 && lseek(fd, 0, SEEK_SET) == 0 && write(fd, buffer, 2) == 2);
  holds(lseek(fd, 0, SEEK_CUR) == 4 && pwrite(fd, buffer, 3, 0) == 3 && lseek(fd, 0, SEEK_CUR) == 4);
  off_t end = lseek(fd, 0, SEEK_END); // Linux appends what pwrite() writes, POSIX does not
  holds((end == 4 || end == 7) && fstat(fd, &other) == 0 && close(fd) == 0);
  holds(one.st_dev == other.st_dev && one.st_ino != other.st_ino);
  fd = open("/own", O_RDONLY | O_DIRECTORY);
  DIR *listing = fdopendir(fd);
  int seen = 0;
  for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
    struct stat found;
    holds(fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 || strcmp(entry->d_name, "..") == 0);
    seen += found.st_ino == entry->d_ino && entry->d_name[0] != '.';
  }
  holds(seen == 2 && closedir(listing) == 0);
  holds(remove("/own/file") == 0 && remove("/own/other") == 0);
}

// Without the directory there is no descriptor 3, and a path leads nowhere.
static int without(void) {
  holds(preopened("/") == -1 && shutdown(3, SHUT_RD) == -1 && errno == EBADF);
  holds(fopen("any/file", "r") == NULL && errno == ENOTCAPABLE);
  return 0;
}

static const struct check checks[] = {
    CHECK(positions), CHECK(reading_and_writing_at_offsets), CHECK(sizes), CHECK(two_descriptors_of_one_file),
    CHECK(append), CHECK(timestamps), CHECK(a_file_without_a_name), CHECK(rights), CHECK(truncation_takes_a_right),
    CHECK(renumbering), CHECK(standard_streams_renumbered), CHECK(polling), CHECK(clocks_and_randomness),
    CHECK(standard_streams), CHECK(c_library),
};

int main(int count, char **arguments) {
  return count == 1 ? without() : run(checks, sizeof checks / sizeof checks[0], count, arguments);
}
