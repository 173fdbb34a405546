//! A client's connection, in the clear or with TLS, read through one buffer.

use crate::Failure;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Longer than anything may take; what it bounds is a failure.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes read at a time, and the buffer's size while nothing longer is in it.
const PIECE: usize = 64 * 1024;

/// What every TLS connection to one server shares. Every handshake is a full one.
pub(crate) fn tls_config(authority: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    buffer: Vec<u8>,
    /// What of the buffer is taken.
    start: usize,
    /// What of it was read.
    end: usize,
}

#[derive(Debug)]
enum Socket {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects from an address of loopback; the TLS handshake is over when it returns.
    pub(crate) fn open(to: SocketAddr, from: Ipv4Addr, tls: Option<Arc<ClientConfig>>) -> Result<Self, Failure> {
        let fd = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&fd, &SocketAddr::from((from, 0)))?;
        connect(&fd, &to)?;
        let tcp = TcpStream::from(fd);
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let socket = match tls {
            None => Socket::Clear(tcp),
            Some(config) => {
                let connection = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
                let mut stream = StreamOwned::new(connection, tcp);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                Socket::Tls(Box::new(stream))
            }
        };
        Ok(Self { socket, buffer: Vec::new(), start: 0, end: 0 })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Clear(s) => s.write_all(bytes),
            Socket::Tls(s) => {
                s.write_all(bytes)?;
                s.flush()
            }
        }
    }

    /// The next line with its end, appended to `line`.
    pub(crate) fn line(&mut self, line: &mut Vec<u8>) -> Result<(), Failure> {
        let mut searched = 0;
        loop {
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            let fresh = unread.get(searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|b| *b == b'\n') {
                let end = searched + at + 1;
                line.extend_from_slice(unread.get(..end).unwrap_or_default());
                self.start += end;
                return Ok(());
            }
            searched = unread.len();
            self.fill()?;
        }
    }

    /// Reads this many bytes and gives them away.
    pub(crate) fn skip(&mut self, mut count: usize) -> Result<(), Failure> {
        loop {
            let here = count.min(self.end - self.start);
            self.start += here;
            count -= here;
            if count == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Gives the buffer back, for a connection that is only held.
    pub(crate) fn rest(&mut self) {
        if self.start == self.end {
            self.buffer = Vec::new();
            (self.start, self.end) = (0, 0);
        }
    }

    fn fill(&mut self) -> Result<(), Failure> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + PIECE {
            self.buffer.resize(self.end + PIECE, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = match &mut self.socket {
            Socket::Clear(s) => s.read(room),
            Socket::Tls(s) => s.read(room),
        };
        match read {
            Ok(0) => Err("the server closed the connection".into()),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
