"""The link over bytes: everything that a link between host and Keep carries, over one port that knows only bytes.

A process Keep has a Unix socket to its host, which passes descriptors. A VM Keep has a virtio-serial port. Here are the
two ends of a link over such a port; both run the same code, and each treats the other as hostile::

    Host <- Unix socket -> Mux <------------- port -------------> Mux <- Unix socket -> Keep
    client <- socket ----> Mux   DATA, CREDIT, FINISH, CLOSED     Mux <- socket pair --> workload

What goes through is what `enarx.wire` defines. A frame with a descriptor becomes a frame with the number of a stream;
the far end makes a socket pair and passes one end on. So neither `Host` nor the Keep's `Link` can tell.

- `transit`   bytes that arrive once and in order, also when the port loses its connection and gets another (`port`)
- `incoming`  takes those bytes apart into frames
- `stream`    one stream: its socket, what may come from the other end and what may be sent there; `table` has them all
- `control`   the Unix socket with the frames of the link itself, which have a window like any stream
- `leaving`   how EXIT comes last
- `pump`      moves everything, in one thread that waits for `events`

**Back-pressure.** Each stream, and the link's own frames, has a window: as many bytes may be on their way as the far
end has room for. Room is given back (CREDIT) when bytes have been passed on to the socket, so a reader that stops stops
its writer and nobody else. Windows begin small; those whose readers keep up grow, out of a common supply. So streams
can make an end hold ``MAX_STREAMS * WINDOW_BYTES + SUPPLY_BYTES`` and no more, besides what is in their sockets.

**Fairness.** Streams that have something take turns, one frame each.

**Ends.** FINISH ends one direction behind its last byte, and behind that byte the far end's socket is shut down for
writing. CLOSED says that the socket at this end is closed; without FINISH before it, the connection broke. Each end
says it once, as its last word of the stream, and when both have, the stream is no more. EXIT comes last of all: it is
sent after everything that had been written, and passed on after everything that had come.
"""
