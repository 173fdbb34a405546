//! Where mail to other domains ends: accepted at once, counted, and thrown away.

use crate::{Failure, smtp::MARKS};
use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// How often each message of each load came.
type Seen = Arc<Mutex<HashMap<u32, HashMap<u32, u32>>>>;

/// A mail server that knows no failure. Its threads end with the process.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    port: u16,
    seen: Seen,
}

impl Sink {
    pub(crate) fn open() -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self { port: listener.local_addr()?.port(), seen: Seen::default() };
        let seen = sink.seen.clone();
        thread::Builder::new().name("sink".to_owned()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = seen.clone();
                thread::spawn(move || serve(stream, &seen));
            }
        })?;
        Ok(sink)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Different messages of a load, and copies beyond the first.
    pub(crate) fn seen(&self, run: u32) -> (u64, u64) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(load) = seen.get(&run) else { return (0, 0) };
        let (different, copies) = (load.len() as u64, load.values().map(|n| u64::from(*n)).sum::<u64>());
        (different, copies - different)
    }
}

/// One connection, until its end.
fn serve(stream: TcpStream, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    reader.get_mut().write_all(b"220 sink\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n",
            b"DATA" => {
                reader.get_mut().write_all(b"354 go on\r\n")?;
                take(&mut reader, &mut line, seen)?;
                b"250 2.0.0 thrown away\r\n"
            }
            b"QUIT" => return reader.get_mut().write_all(b"221 2.0.0 bye\r\n"),
            _ => b"250 2.0.0 yes\r\n",
        };
        reader.get_mut().write_all(reply)?;
    }
}

/// Reads a message to its end, and notes its last line, which is in no other: what came is whole.
fn take(reader: &mut BufReader<TcpStream>, line: &mut Vec<u8>, seen: &Seen) -> io::Result<()> {
    loop {
        line.clear();
        if reader.read_until(b'\n', line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(());
        }
        let numbers = line.strip_prefix(MARKS[1].as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok());
        if let Some((Ok(run), Ok(number))) = numbers.and_then(|n| n.trim_end().split_once('-')).map(|(r, n)| (r.parse(), n.parse())) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.entry(run).or_default().entry(number).or_default() += 1;
        }
    }
}
