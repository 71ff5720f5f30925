// An echo server: sends back what each client sends, until the client has finished, to many clients at once.
//
// The same program serves TCP and TLS: Enarx.toml decides, and TLS ends outside of it. One thread and one poll() over
// every listener and connection. A client that reads slowly is not read from any further, so it can neither fill
// memory nor delay the others.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_LISTENERS 8
#define MAX_CONNECTIONS 256
#define BUFFER_BYTES 65536
#define ROUNDS 16  // buffers that one connection may move before the others have their turn

typedef struct {
  int fd;
  size_t start, end;  // of the bytes in `buffer` that are still to be sent back
  int finished;       // the client will send no more
  char *buffer;
} connection;

static int listeners[MAX_LISTENERS];
static int listener_count;
static connection connections[MAX_CONNECTIONS];
static int connection_count;

// Descriptors by name: FD_NAMES has them in order, joined by colons. Every name that begins with "listen" is ours.
static void find_listeners(void) {
  const char *names = getenv("FD_NAMES");
  for (int fd = 0; names != NULL && listener_count < MAX_LISTENERS; fd++) {
    if (strncmp(names, "listen", 6) == 0) {
      listeners[listener_count++] = fd;
    }
    names = strchr(names, ':');
    names = names == NULL ? NULL : names + 1;
  }
}

static int would_block(void) { return errno == EAGAIN || errno == EINTR; }

static void accept_from(int listener) {
  while (connection_count < MAX_CONNECTIONS) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) {
      return;
    }
    char *buffer = malloc(BUFFER_BYTES);
    if (buffer == NULL) {
      close(fd);
      return;
    }
    connections[connection_count++] = (connection){.fd = fd, .buffer = buffer};
  }
}

// Move what can be moved without waiting. Returns whether the connection stays open.
static int serve(connection *c) {
  for (int round = 0; round < ROUNDS; round++) {
    while (c->start < c->end) {
      ssize_t sent = send(c->fd, c->buffer + c->start, c->end - c->start, 0);
      if (sent < 0) {
        return would_block();
      }
      c->start += (size_t)sent;
    }
    if (c->finished) {
      return 0;
    }
    ssize_t received = recv(c->fd, c->buffer, BUFFER_BYTES, 0);
    if (received < 0) {
      return would_block();
    }
    c->start = 0;
    c->end = (size_t)received;
    c->finished = received == 0;
  }
  return 1;
}

static void drop(int index) {
  close(connections[index].fd);
  free(connections[index].buffer);
  connections[index] = connections[--connection_count];
}

int main(void) {
  find_listeners();
  if (listener_count == 0) {
    fprintf(stderr, "echo: Enarx.toml gives no socket whose name begins with \"listen\"\n");
    return 1;
  }
  for (int i = 0; i < listener_count; i++) {
    if (fcntl(listeners[i], F_SETFL, O_NONBLOCK) != 0) {
      perror("echo: fcntl");
      return 1;
    }
  }
  static struct pollfd fds[MAX_CONNECTIONS + MAX_LISTENERS];
  for (;;) {
    // Connections first, so that entry i belongs to connection i; listeners only while there is room for more.
    nfds_t count = 0;
    for (int i = 0; i < connection_count; i++) {
      short events = connections[i].start < connections[i].end ? POLLOUT : POLLIN;
      fds[count++] = (struct pollfd){.fd = connections[i].fd, .events = events};
    }
    for (int i = 0; i < listener_count && connection_count < MAX_CONNECTIONS; i++) {
      fds[count++] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
    }
    if (poll(fds, count, -1) < 0 && errno != EINTR) {
      perror("echo: poll");
      return 1;
    }
    for (int i = connection_count - 1; i >= 0; i--) {  // downwards: drop() moves the last one into the gap
      if (fds[i].revents != 0 && !serve(&connections[i])) {
        drop(i);
      }
    }
    for (int i = 0; i < listener_count; i++) {
      accept_from(listeners[i]);
    }
  }
}
