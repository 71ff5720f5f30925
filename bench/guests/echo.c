/* Echo server over descriptor 3: reads messages of SIZE bytes and sends each back whole.
 *
 * `echo SIZE one` blocks and serves one connection after another; `echo SIZE many` serves all at once with poll.
 * bench/tls_server.py is the same program in Python: keep them alike. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENER = 3, MAX_CONNECTIONS = 64, MAX_MESSAGE = 1 << 18 };

struct connection {
    size_t filled, sent; /* of the message that is being read, or once that is complete, written */
    unsigned char message[MAX_MESSAGE];
};

static struct connection connections[MAX_CONNECTIONS];
static size_t size;

static void serve_one(int fd) {
    unsigned char *message = connections[0].message;
    for (;;) {
        for (size_t filled = 0; filled < size;) {
            ssize_t count = read(fd, message + filled, size - filled);
            if (count <= 0) return;
            filled += count;
        }
        for (size_t sent = 0; sent < size;) {
            ssize_t count = write(fd, message + sent, size - sent);
            if (count < 0) return;
            sent += count;
        }
    }
}

static void one(void) {
    fcntl(LISTENER, F_SETFL, 0);
    for (;;) {
        int fd = accept(LISTENER, NULL, NULL);
        if (fd < 0) exit(1);
        serve_one(fd);
        close(fd);
    }
}

/* What the connection waits for next; 0 when it has ended. */
static short advance(int fd, struct connection *c) {
    while (c->filled < size) {
        ssize_t count = read(fd, c->message + c->filled, size - c->filled);
        if (count < 0 && errno == EAGAIN) return POLLIN;
        if (count <= 0) return 0;
        c->filled += count;
    }
    while (c->sent < size) {
        ssize_t count = write(fd, c->message + c->sent, size - c->sent);
        if (count < 0 && errno == EAGAIN) return POLLOUT;
        if (count < 0) return 0;
        c->sent += count;
    }
    c->filled = c->sent = 0;
    return POLLIN;
}

static void many(void) {
    struct pollfd polled[1 + MAX_CONNECTIONS] = {{.fd = LISTENER, .events = POLLIN}};
    struct connection *of[1 + MAX_CONNECTIONS] = {0};
    int count = 1, used[MAX_CONNECTIONS] = {0};
    fcntl(LISTENER, F_SETFL, O_NONBLOCK);
    for (;;) {
        if (poll(polled, count, -1) < 0) exit(1);
        /* In the order in which they came, as in the peer: the client takes its answers in that order. */
        for (int i = 1; i < count; i++) {
            if (!polled[i].revents) continue;
            polled[i].events = advance(polled[i].fd, of[i]);
            if (polled[i].events) continue;
            close(polled[i].fd);
            used[of[i] - connections] = 0;
            count--;
            polled[i] = polled[count];
            of[i--] = of[count];
        }
        if (polled[0].revents && count <= MAX_CONNECTIONS) {
            int fd = accept4(LISTENER, NULL, NULL, SOCK_NONBLOCK), slot = 0;
            if (fd < 0) continue;
            while (used[slot]) slot++;
            used[slot] = 1;
            of[count] = &connections[slot];
            of[count]->filled = of[count]->sent = 0;
            polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
            count++;
        }
    }
}

int main(int argc, char **argv) {
    size = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    if (!size || size > MAX_MESSAGE) return 2;
    if (strcmp(argv[2], "one") == 0) one();
    many();
    return 0;
}
