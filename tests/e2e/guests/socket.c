// Sockets in every mode: socket MODE ACTION COUNT
//
// MODE    default      descriptors as they were given; what would block is waited for with poll()
//         blocking     O_NONBLOCK taken off; nothing may report EAGAIN
//         nonblocking  O_NONBLOCK set on everything
// ACTION  echo         accept COUNT connections on descriptor 3, one after another, and echo each to its end
//         collect      the same, but read each to its end and then answer with the number of bytes and their FNV-1a
//         produce      accept one, send COUNT bytes (byte i is i * 2654435761 >> 24), close without reading
//         ask          send "question N" over each of the COUNT connections from descriptor 3 on, print the answers
//         exchange     over descriptor 3, send COUNT bytes as in produce while reading as many; print their FNV-1a

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST 3
#define FNV_START 0xcbf29ce484222325u

static enum { AS_GIVEN, BLOCKING, NONBLOCKING } mode;
static char buffer[65536];
static unsigned long long waits;

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void set_mode(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) {
    fail("F_GETFL");
  }
  fprintf(stderr, "descriptor %d nonblocking %d\n", fd, (flags & O_NONBLOCK) != 0);
  if (mode != AS_GIVEN && fcntl(fd, F_SETFL, mode == NONBLOCKING ? O_NONBLOCK : 0) != 0) {
    fail("F_SETFL");
  }
}

// After a call that failed: wait if it would have blocked, and give up for any other reason.
static void wait_for(int fd, short events, const char *what) {
  if (errno != EAGAIN || mode == BLOCKING) {
    fail(what);
  }
  waits++;
  struct pollfd entry = {.fd = fd, .events = events};
  if (poll(&entry, 1, -1) < 0) {
    fail("poll");
  }
}

static int next_connection(void) {
  for (;;) {
    int fd = accept4(FIRST, NULL, NULL, mode == NONBLOCKING ? SOCK_NONBLOCK : 0);
    if (fd >= 0) {
      return fd;
    }
    wait_for(FIRST, POLLIN, "accept");
  }
}

static size_t receive(int fd) {
  for (;;) {
    ssize_t count = recv(fd, buffer, sizeof buffer, 0);
    if (count >= 0) {
      return (size_t)count;
    }
    wait_for(fd, POLLIN, "recv");
  }
}

static void send_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t count = send(fd, data, size, 0);
    if (count < 0) {
      wait_for(fd, POLLOUT, "send");
      continue;
    }
    data += count;
    size -= (size_t)count;
  }
}

static uint64_t fnv(uint64_t hash, const char *data, size_t size) {
  for (size_t i = 0; i < size; i++) {
    hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
  }
  return hash;
}

static void echo(int fd) {
  size_t count;
  while ((count = receive(fd)) > 0) {
    send_all(fd, buffer, count);
  }
}

static void collect(int fd) {
  uint64_t hash = FNV_START;
  unsigned long long total = 0;
  size_t count;
  while ((count = receive(fd)) > 0) {
    hash = fnv(hash, buffer, count);
    total += count;
  }
  char answer[64];
  int size = snprintf(answer, sizeof answer, "%llu %016llx\n", total, (unsigned long long)hash);
  send_all(fd, answer, (size_t)size);
  if (shutdown(fd, SHUT_WR) != 0) {
    fail("shutdown");
  }
}

static size_t fill(char *data, size_t room, unsigned long start, unsigned long end) {
  size_t size = 0;
  for (; size < room && start < end; size++, start++) {
    data[size] = (char)((uint32_t)(start * 2654435761u) >> 24);
  }
  return size;
}

static void produce(int fd, unsigned long size) {
  for (unsigned long done = 0; done < size;) {
    size_t count = fill(buffer, sizeof buffer, done, size);
    send_all(fd, buffer, count);
    done += count;
  }
}

static void ask(int count) {
  for (int fd = FIRST; fd < FIRST + count; fd++) {
    set_mode(fd);
    char question[64];
    int size = snprintf(question, sizeof question, "question %d\n", fd);
    send_all(fd, question, (size_t)size);
    size_t got;
    while ((got = receive(fd)) > 0) {
      fwrite(buffer, 1, got, stdout);
    }
    close(fd);
  }
}

// Both directions at once, which takes poll().
static void exchange(int fd, unsigned long size) {
  static char out[65536];
  unsigned long sent = 0, received = 0;
  size_t start = 0, end = 0;
  uint64_t hash = FNV_START;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  while (sent < size || received < size) {
    if (start == end) {
      start = 0;
      end = fill(out, sizeof out, sent, size);
    }
    struct pollfd entry = {.fd = fd, .events = (short)((start < end ? POLLOUT : 0) | (received < size ? POLLIN : 0))};
    if (poll(&entry, 1, -1) < 0) {
      fail("poll");
    }
    if (start < end) {
      ssize_t count = send(fd, out + start, end - start, 0);
      if (count < 0 && errno != EAGAIN) {
        fail("send");
      }
      start += count > 0 ? (size_t)count : 0;
      sent += count > 0 ? (unsigned long)count : 0;
    }
    ssize_t count = recv(fd, buffer, sizeof buffer, 0);
    if (count == 0 && received < size) {
      fprintf(stderr, "the peer closed after %lu bytes\n", received);
      exit(1);
    }
    if (count < 0 && errno != EAGAIN) {
      fail("recv");
    }
    if (count > 0) {
      hash = fnv(hash, buffer, (size_t)count);
      received += (unsigned long)count;
    }
  }
  printf("%lu %016llx\n", received, (unsigned long long)hash);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    return 2;
  }
  mode = strcmp(argv[1], "blocking") == 0 ? BLOCKING : strcmp(argv[1], "nonblocking") == 0 ? NONBLOCKING : AS_GIVEN;
  const char *action = argv[2];
  unsigned long count = strtoul(argv[3], NULL, 10);
  if (strcmp(action, "ask") == 0) {
    ask((int)count);
  } else if (strcmp(action, "exchange") == 0) {
    exchange(FIRST, count);
  } else {
    set_mode(FIRST);
    if (strcmp(action, "produce") == 0) {
      int fd = next_connection();
      produce(fd, count);
      close(fd);
    } else {
      for (unsigned long i = 0; i < count; i++) {
        int fd = next_connection();
        strcmp(action, "echo") == 0 ? echo(fd) : collect(fd);
        close(fd);
      }
    }
  }
  fprintf(stderr, "waits %llu\n", waits);
  return fflush(stdout) != 0;
}
