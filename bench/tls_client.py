"""The client of the TLS bench: ``python -m bench.tls_client PORT SIZE CONNECTIONS SECONDS SERVER_PID``.

Sends a message on every connection, then takes every answer, and so on. Prints one JSON object.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time

from bench.measure import cpu_seconds

WARM_UP_ROUNDS = 20


def connect(port: int) -> ssl.SSLSocket:
    """A TLS 1.3 connection to the server, whose certificate is self-signed and not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = context.wrap_socket(sock)
    tls.settimeout(None)  # a timeout would cost a poll before each call
    return tls


def exchange(connections: list[ssl.SSLSocket], message: bytes, answer: memoryview) -> None:
    """One message and its answer on every connection."""
    size = len(message)
    for sock in connections:
        sock.sendall(message)
    for sock in connections:
        filled = 0
        while filled < size:
            count = sock.recv_into(answer[filled:])
            if not count:
                raise ConnectionError("the server ended the connection")
            filled += count


def main() -> None:
    """Measure for the given time."""
    port, size, count = map(int, sys.argv[1:4])
    seconds, server = float(sys.argv[4]), int(sys.argv[5])
    connections = [connect(port) for _ in range(count)]
    message = bytes(number * 31 & 0xFF for number in range(size))
    answer = memoryview(bytearray(size))
    for _ in range(WARM_UP_ROUNDS):
        exchange(connections, message, answer)
    rounds, own, servers = 0, time.process_time(), cpu_seconds(server)
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        exchange(connections, message, answer)
        rounds += 1
    own, servers = time.process_time() - own, cpu_seconds(server) - servers
    if answer != message:
        raise ValueError("the answer is not the message")
    result = {
        "requests": rounds * count, "seconds": elapsed, "client_cpu": own, "server_cpu": servers,
        "cipher": connections[0].cipher(),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
