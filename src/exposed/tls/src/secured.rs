//! TLS of one connection, and what becomes of the copies of a password that rustls makes.
//!
//! rustls decrypts a record where it was read, and copies the text of it once into a block of its own. It overwrites neither. As long as
//! passwords may come, which is at first, [`Secured`] does so after each read:
//!
//! * the buffer of records: rustls has its free part filled by whoever reads for it, here with zeroes. Where the peer has said good-bye,
//!   or where the beginning of another record made it grow at once, there is nothing left to be filled, and what was there stays until the
//!   memory is used again;
//! * the block: it is free when it was read. The allocator gives what a thread has just freed to one of the next of that size that the
//!   thread asks for; so they are asked for until it comes, and overwritten. One that was joined with others meanwhile does not come;
//! * the stack: the cipher leaves the end of a record there, less than a block of it. What lies below is overwritten.

use std::{
    io::{self, BufRead, Read},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncBufRead, AsyncRead, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize;

/// Blocks that are asked for at most; the first is the one, but where seven others of its size are free (glibc.malloc.tcache_count).
const FREED: usize = 64;

/// Bytes of the frames that reading and decrypting a record need, and more.
const FRAMES: usize = 32 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Secured {
    pub(crate) tls: TlsStream<TcpStream>,
    /// No password comes any more.
    pub(crate) plain: bool,
    /// Bytes of rustls' present block that were read.
    taken: usize,
}

impl Secured {
    pub(crate) fn new(tls: TlsStream<TcpStream>) -> Self {
        Self { tls, plain: false, taken: 0 }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A block that was begun is overwritten to its end.
        if self.plain && self.taken == 0 {
            return Pin::new(&mut self.tls).poll_read(cx, buf);
        }
        let read = match ready!(Pin::new(&mut self.tls).poll_fill_buf(cx)) {
            Ok(text) => {
                let part = text.get(..buf.remaining()).unwrap_or(text);
                buf.put_slice(part);
                Ok((part.len(), text.len(), text.as_ptr().addr()))
            }
            Err(error) => Err(error),
        };
        overwrite_stack();
        let read = read.map(|(bytes, of, at)| self.consume(bytes, of, at));
        self.overwrite_records();
        Poll::Ready(read)
    }

    /// Takes some of the bytes that are left of a block, which are at this address.
    fn consume(&mut self, bytes: usize, of: usize, at: usize) {
        self.tls.get_mut().1.reader().consume(bytes);
        if bytes < of {
            self.taken = self.taken.saturating_add(bytes);
        } else {
            let taken = std::mem::take(&mut self.taken);
            overwrite_freed(at.saturating_sub(taken), taken.saturating_add(bytes));
        }
    }

    fn overwrite_records(&mut self) {
        // It always fails, as an empty socket does.
        let _ = self.tls.get_mut().1.read_tls(&mut Zeroes);
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        if self.plain && self.taken == 0 {
            return;
        }
        // What nobody has read.
        loop {
            let (left, at) = self.tls.get_mut().1.reader().fill_buf().map_or((0, 0), |text| (text.len(), text.as_ptr().addr()));
            if left == 0 {
                break;
            }
            self.consume(left, left, at);
        }
        self.overwrite_records();
    }
}

/// Overwrites where it should read to, and has read nothing.
struct Zeroes;

impl Read for Zeroes {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        buf.zeroize();
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Overwrites what the functions called before have left of their frames.
#[inline(never)]
fn overwrite_stack() {
    let mut frames = [0_u8; FRAMES];
    frames.zeroize();
}

/// Overwrites the block of this size that was freed at this address just now, on this thread.
fn overwrite_freed(at: usize, bytes: usize) {
    if bytes == 0 {
        return;
    }
    let mut blocks = [const { Vec::<u8>::new() }; FREED];
    for block in &mut blocks {
        *block = Vec::with_capacity(bytes);
        if block.as_ptr().addr() == at {
            break;
        }
    }
    blocks.iter_mut().for_each(Zeroize::zeroize);
}
