// A small HTTP/1.1 server for one page. TLS is not its business: Enarx.toml gives it a listening socket, and TLS ends
// in the Keep outside of it.
//
// One thread, one poll() over every connection, nothing that blocks. Each client has a deadline for each step and a
// bounded buffer, so a slow, silent or broken one costs a slot for a while and delays nobody.

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#define MAX_CONNECTIONS 128
#define REQUEST_BYTES 8192      // request line and headers of one request
#define MAX_HEADERS 64          // of one request
#define RESPONSE_BYTES 40960    // header and page with everything filled in
#define FACT_BYTES 300          // of one fact on the page, before escaping
#define REQUEST_SECONDS 10      // for a request, from the first moment that it could have come
#define IDLE_SECONDS 15         // for the next request on a connection that stays open
#define RESPONSE_SECONDS 20     // for the client to take a response
#define LINGER_SECONDS 2        // for the client to close after the last response
#define LINGER_BYTES 262144     // that a client may still send by then
#define MAX_DESCRIPTORS 64      // that are looked at for the page

static const char page[] = {
#include "page.html.inc"
};

_Static_assert(sizeof page + 8 * FACT_BYTES * 6 < RESPONSE_BYTES, "the page has outgrown its buffer");

typedef struct {
  const char *data;
  size_t size;
} text;

typedef enum { READING, WRITING, LINGERING } phase;

typedef struct {
  int fd;
  phase phase;
  int keep_alive;
  int64_t deadline;  // milliseconds of the monotonic clock
  uint64_t number;
  unsigned requests;
  size_t received, lingered;
  char *response;
  size_t response_size, sent;
  char request[REQUEST_BYTES];
} connection;

typedef struct {
  text method, target, path, host, agent;
  int minor;  // of HTTP/1.x
  int hosts, has_length, has_coding, has_body, close, keep_alive;
} request;

static connection *connections[MAX_CONNECTIONS];
static int connection_count;
static uint64_t accepted;
static char **arguments;

static int64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void set_deadline(connection *c, int seconds) { c->deadline = milliseconds() + seconds * 1000; }

static text text_of(const char *string) { return (text){string, strlen(string)}; }

static int is(text value, const char *word) {
  return value.size == strlen(word) && strncasecmp(value.data, word, value.size) == 0;
}

static int same(text value, const char *word) {
  return value.size == strlen(word) && memcmp(value.data, word, value.size) == 0;
}

// --- reading a request (RFC 9112, strictly: CRLF line ends, no folded lines, no white space before the colon)

static int is_token(unsigned char c) {
  return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

static int is_printable(unsigned char c) { return c > 32 && c < 127; }

static text until(text *rest, char stop, int (*allowed)(unsigned char)) {
  text found = {rest->data, 0};
  while (found.size < rest->size && rest->data[found.size] != stop && allowed((unsigned char)rest->data[found.size])) {
    found.size++;
  }
  if (found.size == rest->size || rest->data[found.size] != stop) {
    found.size = 0;  // something else stands there
  } else {
    rest->data += found.size + 1;
    rest->size -= found.size + 1;
  }
  return found;
}

static text trimmed(text value) {
  while (value.size > 0 && (value.data[0] == ' ' || value.data[0] == '\t')) {
    value.data++;
    value.size--;
  }
  while (value.size > 0 && (value.data[value.size - 1] == ' ' || value.data[value.size - 1] == '\t')) {
    value.size--;
  }
  return value;
}

// Whether a comma-separated list has a word.
static int lists(text value, const char *word) {
  while (value.size > 0) {
    const char *comma = memchr(value.data, ',', value.size);
    size_t size = comma == NULL ? value.size : (size_t)(comma - value.data);
    if (is(trimmed((text){value.data, size}), word)) {
      return 1;
    }
    size += comma != NULL;
    value.data += size;
    value.size -= size;
  }
  return 0;
}

// The status to refuse the request with, or 0.
static int read_header(request *r, text line) {
  text name = until(&line, ':', is_token);
  if (name.size == 0) {
    return 400;
  }
  for (size_t i = 0; i < line.size; i++) {
    unsigned char c = (unsigned char)line.data[i];
    if ((c < 32 && c != '\t') || c == 127) {
      return 400;
    }
  }
  text value = trimmed(line);
  if (is(name, "host")) {
    for (size_t i = 0; i < value.size; i++) {
      if (!is_printable((unsigned char)value.data[i]) || strchr("/?#@\\", value.data[i]) != NULL) {
        return 400;
      }
    }
    r->host = value;
    return r->hosts++ ? 400 : 0;
  }
  if (is(name, "user-agent")) {
    r->agent = value;
  } else if (is(name, "connection")) {
    r->close |= lists(value, "close");
    r->keep_alive |= lists(value, "keep-alive");
  } else if (is(name, "transfer-encoding")) {
    r->has_coding = r->has_body = 1;
  } else if (is(name, "content-length")) {
    if (r->has_length++ || value.size == 0 || value.size > 18) {
      return 400;
    }
    for (size_t i = 0; i < value.size; i++) {
      if (value.data[i] < '0' || value.data[i] > '9') {
        return 400;
      }
      r->has_body |= value.data[i] != '0';
    }
  }
  return 0;
}

static int read_request_line(request *r, text line) {
  r->method = until(&line, ' ', is_token);
  r->target = until(&line, ' ', is_printable);
  if (r->method.size == 0 || r->target.size == 0 || line.size != 8 || memcmp(line.data, "HTTP/", 5) != 0) {
    return 400;
  }
  if (same(line, "HTTP/1.0") || same(line, "HTTP/1.1")) {
    r->minor = line.data[7] - '0';
    return 0;
  }
  int version = line.data[5] >= '0' && line.data[5] <= '9' && line.data[6] == '.' && line.data[7] >= '0' && line.data[7] <= '9';
  return version ? 505 : 400;
}

// The path of the target, which may be a whole URL.
static text path_of(text target) {
  static const char *const schemes[] = {"https://", "http://"};
  for (size_t i = 0; i < 2; i++) {
    size_t size = strlen(schemes[i]);
    if (target.size > size && strncasecmp(target.data, schemes[i], size) == 0) {
      target.data += size;
      target.size -= size;
      const char *slash = memchr(target.data, '/', target.size);
      if (slash == NULL) {
        return text_of("/");
      }
      target.size -= (size_t)(slash - target.data);
      target.data = slash;
    }
  }
  const char *query = memchr(target.data, '?', target.size);
  if (query != NULL) {
    target.size = (size_t)(query - target.data);
  }
  return target;
}

// Reads a complete request. The status to answer with.
static int read_request(request *r, text all) {
  *r = (request){0};
  int status = 0;
  for (int count = 0; all.size > 0; count++) {
    const char *end = memchr(all.data, '\r', all.size);
    if (end == NULL || (size_t)(end - all.data) + 1 >= all.size || end[1] != '\n') {
      return 400;
    }
    text line = {all.data, (size_t)(end - all.data)};
    all.size -= line.size + 2;
    all.data += line.size + 2;
    if (count > MAX_HEADERS) {
      return 431;
    }
    status = count == 0 ? read_request_line(r, line) : read_header(r, line);
    if (status != 0) {
      return status;
    }
  }
  r->path = path_of(r->target);
  if ((r->minor == 1 && r->hosts == 0) || (r->has_length && r->has_coding)) {
    return 400;
  }
  if (!same(r->method, "GET") && !same(r->method, "HEAD")) {
    return 405;
  }
  if (r->has_body || r->path.data[0] != '/') {
    return 400;
  }
  return same(r->path, "/") ? 200 : 404;
}

// --- writing a response

typedef struct {
  char *data;
  size_t size;
  int overflow;
} buffer;

static void append(buffer *out, const char *data, size_t size) {
  if (out->overflow || size > RESPONSE_BYTES - out->size) {
    out->overflow = 1;
    return;
  }
  memcpy(out->data + out->size, data, size);
  out->size += size;
}

__attribute__((format(printf, 2, 3))) static void print(buffer *out, const char *format, ...) {
  va_list values;
  va_start(values, format);
  size_t room = RESPONSE_BYTES - out->size;
  int size = vsnprintf(out->data + out->size, room, format, values);
  va_end(values);
  if (out->overflow || size < 0 || (size_t)size >= room) {
    out->overflow = 1;
  } else {
    out->size += (size_t)size;
  }
}

// Text from outside, as HTML: at most FACT_BYTES of it.
static void append_escaped(buffer *out, text value) {
  size_t size = value.size < FACT_BYTES ? value.size : FACT_BYTES;
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)value.data[i];
    if (c < 32 || c > 126) {
      append(out, "?", 1);
    } else if (strchr("<>&\"'", c) != NULL) {
      print(out, "&#%d;", c);
    } else {
      append(out, value.data + i, 1);
    }
  }
  if (size < value.size) {
    append(out, " ...", 4);
  }
}

static void append_or(buffer *out, text value, const char *otherwise) {
  append_escaped(out, value.size > 0 ? value : text_of(otherwise));
}

static text name_of_descriptor(int fd) {
  const char *names = getenv("FD_NAMES");
  for (int i = 0; names != NULL; i++) {
    const char *colon = strchr(names, ':');
    size_t size = colon == NULL ? strlen(names) : (size_t)(colon - names);
    if (i == fd) {
      return (text){names, size};
    }
    names = colon == NULL ? NULL : colon + 1;
  }
  return (text){NULL, 0};
}

// Every descriptor that is open and is not one of our connections, by asking for each.
static void append_descriptors(buffer *out) {
  int count = 0;
  for (int fd = 0; fd < MAX_DESCRIPTORS; fd++) {
    __wasi_fdstat_t stat;
    int ours = 0;
    for (int i = 0; i < connection_count; i++) {
      ours |= connections[i]->fd == fd;
    }
    if (!ours && __wasi_fd_fdstat_get(fd, &stat) == 0) {
      print(out, "%s%d&nbsp;", count++ > 0 ? ", " : "", fd);
      append_or(out, name_of_descriptor(fd), "?");
    }
  }
  append(out, "none", count > 0 ? 0 : 4);
}

static void append_directories(buffer *out) {
  int count = 0;
  for (int fd = 0; fd < MAX_DESCRIPTORS; fd++) {
    __wasi_prestat_t prestat;
    count += __wasi_fd_prestat_get(fd, &prestat) == 0 && prestat.tag == 0;
  }
  append(out, "none", count > 0 ? 0 : 4);
  if (count > 0) {
    print(out, "%d", count);
  }
}

extern char **environ;

static void append_environment(buffer *out) {
  int count = 0;
  for (char **entry = environ; entry != NULL && *entry != NULL && count < MAX_DESCRIPTORS; entry++) {
    append(out, ", ", count++ > 0 ? 2 : 0);
    append_escaped(out, (text){*entry, strcspn(*entry, "=")});
  }
  append(out, "none", count > 0 ? 0 : 4);
}

static void append_arguments(buffer *out) {
  for (int i = 0; arguments[i] != NULL && i < MAX_DESCRIPTORS; i++) {
    append(out, " ", i > 0);
    append_escaped(out, text_of(arguments[i]));
  }
}

static void append_date(buffer *out) {
  char date[64];
  time_t now = time(NULL);
  struct tm parts;
  size_t size = gmtime_r(&now, &parts) == NULL ? 0 : strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  append(out, date, size);
}

static void append_fact(buffer *out, text name, const request *r, const connection *c) {
  if (same(name, "request")) {
    append_escaped(out, r->method);
    append(out, " ", 1);
    append_escaped(out, r->target);
    print(out, " HTTP/1.%d", r->minor);
  } else if (same(name, "host")) {
    append_or(out, r->host, "not named");
  } else if (same(name, "agent")) {
    append_or(out, r->agent, "not named");
  } else if (same(name, "connection")) {
    print(out, "%llu", (unsigned long long)c->number);
  } else if (same(name, "number")) {
    print(out, "%u", c->requests);
  } else if (same(name, "served")) {
    append_date(out);
  } else if (same(name, "descriptors")) {
    append_descriptors(out);
  } else if (same(name, "directories")) {
    append_directories(out);
  } else if (same(name, "environment")) {
    append_environment(out);
  } else if (same(name, "arguments")) {
    append_arguments(out);
  } else if (same(name, "memory")) {
    print(out, "%zu", __builtin_wasm_memory_size(0) * 64);
  } else {
    out->overflow = 1;  // the page asks for something that there is not
  }
}

static void append_page(buffer *out, const request *r, const connection *c) {
  const char *rest = page, *end = page + sizeof page;
  for (;;) {
    const char *open = memmem(rest, (size_t)(end - rest), "{{", 2);
    const char *close = open == NULL ? NULL : memmem(open, (size_t)(end - open), "}}", 2);
    if (close == NULL) {
      append(out, rest, (size_t)(end - rest));
      return;
    }
    append(out, rest, (size_t)(open - rest));
    append_fact(out, (text){open + 2, (size_t)(close - open - 2)}, r, c);
    rest = close + 2;
  }
}

static const char *reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 431: return "Request Header Fields Too Large";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
  }
}

static void append_head(buffer *out, int status, size_t length, int keep_alive) {
  print(out, "HTTP/1.1 %d %s\r\nDate: ", status, reason(status));
  append_date(out);
  print(out, "\r\nContent-Type: %s; charset=utf-8\r\nContent-Length: %zu\r\nConnection: %s\r\n",
        status == 200 ? "text/html" : "text/plain", length, keep_alive ? "keep-alive" : "close");
  print(out, "%sCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'\r\n\r\n", status == 405 ? "Allow: GET, HEAD\r\n" : "");
}

// Prepares the response. Returns whether the connection lives on, which it does not when memory has run out.
static int respond(connection *c, const request *r, int status) {
  static char body_data[RESPONSE_BYTES];
  buffer body = {.data = body_data};
  if (status == 200) {
    append_page(&body, r, c);
  }
  if (body.overflow) {
    body = (buffer){.data = body_data};
    status = 500;
  }
  if (status != 200) {
    print(&body, "%d %s. There is one page here, at /.\n", status, reason(status));
  }
  // After a request that could not be read, nobody knows where the next one begins.
  int readable = status == 200 || status == 404 || (status == 405 && !r->has_body);
  c->keep_alive = readable && !r->close && (r->minor == 1 || r->keep_alive);
  buffer out = {.data = malloc(RESPONSE_BYTES + 1024)};
  if (out.data == NULL) {
    return 0;
  }
  append_head(&out, status, body.size, c->keep_alive);
  if (r->method.data == NULL || !same(r->method, "HEAD")) {
    append(&out, body.data, body.size);
  }
  if (out.overflow) {
    free(out.data);
    return 0;
  }
  c->response = out.data;
  c->response_size = out.size;
  c->sent = 0;
  c->phase = WRITING;
  set_deadline(c, RESPONSE_SECONDS);
  return 1;
}

// --- connections; each of these returns whether the connection stays open

static int would_block(void) { return errno == EAGAIN || errno == EINTR; }

// Looks for a whole request in what has come, and answers it.
static int take_request(connection *c) {
  size_t blank = 0;
  while (blank + 1 < c->received && memcmp(c->request + blank, "\r\n", 2) == 0) {
    blank += 2;  // some clients end a request with an empty line too many
  }
  c->received -= blank;
  memmove(c->request, c->request + blank, c->received);
  request r = {0};
  const char *end = memmem(c->request, c->received, "\r\n\r\n", 4);
  if (end == NULL) {
    // A first line that cannot become one of HTTP is refused at once.
    for (size_t i = 0; i < c->received && c->request[i] != '\r'; i++) {
      if ((unsigned char)c->request[i] < 32 || (unsigned char)c->request[i] > 126) {
        return respond(c, &r, 400);
      }
    }
    return c->received < REQUEST_BYTES || respond(c, &r, 431);
  }
  size_t size = (size_t)(end - c->request) + 2;
  int status = read_request(&r, (text){c->request, size});
  c->requests++;
  int alive = respond(c, &r, status);
  c->received -= size + 2;
  memmove(c->request, c->request + size + 2, c->received);
  return alive;
}

static int receive(connection *c) {
  ssize_t count = recv(c->fd, c->request + c->received, REQUEST_BYTES - c->received, 0);
  if (count <= 0) {
    return count < 0 && would_block();
  }
  if (c->received == 0 && c->requests > 0) {
    set_deadline(c, REQUEST_SECONDS);
  }
  c->received += (size_t)count;
  return take_request(c);
}

// After the last response: say that there is no more, and wait a little for the client to have read it.
static int linger(connection *c) {
  static char waste[16384];
  ssize_t count = recv(c->fd, waste, sizeof waste, 0);
  if (count <= 0) {
    return count < 0 && would_block();
  }
  c->lingered += (size_t)count;
  return c->lingered < LINGER_BYTES;
}

static int transmit(connection *c) {
  ssize_t count = send(c->fd, c->response + c->sent, c->response_size - c->sent, 0);
  if (count < 0) {
    return would_block();
  }
  c->sent += (size_t)count;
  if (c->sent < c->response_size) {
    return 1;
  }
  free(c->response);
  c->response = NULL;
  if (!c->keep_alive) {
    c->phase = LINGERING;
    set_deadline(c, LINGER_SECONDS);
    return shutdown(c->fd, SHUT_WR) == 0;
  }
  c->phase = READING;
  set_deadline(c, c->received > 0 ? REQUEST_SECONDS : IDLE_SECONDS);
  return take_request(c);  // it may have come already
}

static int serve(connection *c) {
  switch (c->phase) {
    case READING: return receive(c);
    case WRITING: return transmit(c);
    default: return linger(c);
  }
}

// Who is late while a request is under way hears of it; everybody else is just let go.
static int expire(connection *c) {
  request r = {0};
  return c->phase == READING && c->received > 0 && respond(c, &r, 408) && transmit(c);
}

static void drop(int index) {
  connection *c = connections[index];
  close(c->fd);
  free(c->response);
  free(c);
  connections[index] = connections[--connection_count];
}

// When all slots are taken, the connection that is closest to its deadline makes room.
static void make_room(void) {
  int first = 0;
  for (int i = 1; i < connection_count; i++) {
    first = connections[i]->deadline < connections[first]->deadline ? i : first;
  }
  drop(first);
}

static void accept_all(int listener) {
  int fd;
  for (int i = 0; i < MAX_CONNECTIONS && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0; i++) {
    if (connection_count == MAX_CONNECTIONS) {
      make_room();
    }
    connection *c = malloc(sizeof *c);
    if (c == NULL) {
      close(fd);
      return;
    }
    memset(c, 0, offsetof(connection, request));
    c->fd = fd;
    c->number = ++accepted;
    set_deadline(c, REQUEST_SECONDS);
    connections[connection_count++] = c;
  }
}

static int find_listener(void) {
  for (int fd = 0; fd < MAX_DESCRIPTORS; fd++) {
    if (same(name_of_descriptor(fd), "web")) {
      return fd;
    }
  }
  return -1;
}

static void run(int listener) {
  static struct pollfd fds[MAX_CONNECTIONS + 1];
  for (;;) {
    int64_t next = INT64_MAX;
    for (int i = 0; i < connection_count; i++) {
      fds[i] = (struct pollfd){.fd = connections[i]->fd, .events = connections[i]->phase == WRITING ? POLLOUT : POLLIN};
      next = connections[i]->deadline < next ? connections[i]->deadline : next;
    }
    fds[connection_count] = (struct pollfd){.fd = listener, .events = POLLIN};
    int64_t wait = next - milliseconds();
    int timeout = connection_count == 0 ? -1 : wait < 0 ? 0 : (int)wait + 1;
    if (poll(fds, (nfds_t)connection_count + 1, timeout) < 0 && errno != EINTR) {
      perror("https-page: poll");
      return;
    }
    int incoming = fds[connection_count].revents != 0;
    int64_t now = milliseconds();
    for (int i = connection_count - 1; i >= 0; i--) {  // downwards: drop() moves the last one into the gap
      connection *c = connections[i];
      int alive = fds[i].revents == 0 || serve(c);
      if (alive && c->deadline <= now) {
        alive = expire(c);
      }
      if (!alive) {
        drop(i);
      }
    }
    if (incoming) {
      accept_all(listener);
    }
  }
}

int main(int argc, char **argv) {
  (void)argc;
  arguments = argv;
  int listener = find_listener();
  if (listener < 0) {
    fprintf(stderr, "https-page: Enarx.toml gives no socket named \"web\"\n");
    return 1;
  }
  if (fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
    perror("https-page: fcntl");
    return 1;
  }
  run(listener);
  return 1;
}
