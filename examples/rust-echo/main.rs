//! An echo server in Rust's standard library alone: a line comes in, the same line goes out.
//!
//! The listening socket is descriptor 3, because it is the fourth `[[files]]` entry of Enarx.toml. WebAssembly has no
//! threads here, so clients are served one after another; `examples/echo` shows how to serve many at once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::wasi::io::FromRawFd;

const LISTENER: i32 = 3;
const LINE_BYTES: u64 = 64 * 1024;

fn main() -> io::Result<()> {
    // SAFETY: Enarx.toml opens descriptor 3 as a listening socket, and nothing else in this program owns it.
    let listener = unsafe { TcpListener::from_raw_fd(LISTENER) };
    listener.set_nonblocking(false)?;
    loop {
        let (client, _) = listener.accept()?;
        if let Err(error) = echo(&client) {
            eprintln!("rust-echo: a client went away: {error}");
        }
    }
}

fn echo(client: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut writer = client;
    let mut line = Vec::new();
    while reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)? > 0 {
        writer.write_all(&line)?;
        line.clear();
    }
    Ok(())
}
