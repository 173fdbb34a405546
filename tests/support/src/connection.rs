use crate::{Appliance, PATIENCE};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    sync::Arc,
    time::Duration,
};

/// A client's connection, plain or TLS. Everything it reads goes through one buffer, which STARTTLS must find empty.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    tls: Arc<ClientConfig>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// While it changes from one to the other.
    Neither,
}

impl Connection {
    /// Connects to a port by name, in the clear.
    ///
    /// # Panics
    /// When it cannot.
    pub fn plain(appliance: &Appliance, port: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let authority = fs::read(appliance.authority()).expect("the authority is readable");
        roots.add(CertificateDer::from_pem_slice(&authority).expect("it is PEM")).expect("it is a certificate");
        let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, appliance.port(port))).expect("the port accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write time limit");
        Self { stream: Stream::Plain(stream), buffer: Vec::new(), tls }
    }

    /// Connects to a port by name; the TLS handshake is over when it returns.
    ///
    /// # Panics
    /// When it cannot.
    pub fn tls(appliance: &Appliance, port: &str) -> Self {
        let mut this = Self::plain(appliance, port);
        this.start_tls().expect("the TLS handshake succeeds");
        this
    }

    /// The handshake of STARTTLS.
    ///
    /// # Panics
    /// When something was received that is not read yet: a server must not say anything before the handshake.
    pub fn start_tls(&mut self) -> io::Result<()> {
        assert!(self.buffer.is_empty(), "plain text waits at the switch to TLS: {:?}", String::from_utf8_lossy(&self.buffer));
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Neither) else { panic!("TLS within TLS") };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(self.tls.clone(), name).expect("a client");
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(s) => s.write_all(bytes),
            Stream::Tls(s) => {
                s.write_all(bytes)?;
                s.flush()
            }
            Stream::Neither => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// One line with its CRLF; empty at the end of the connection.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                return Ok(self.buffer.drain(..=at).collect());
            }
            if self.fill()? == 0 {
                return Ok(std::mem::take(&mut self.buffer));
            }
        }
    }

    /// Exactly this many bytes.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Whether the server ends the connection, without another byte, within [`PATIENCE`].
    pub fn closed(&mut self) -> bool {
        self.buffer.is_empty() && (matches!(self.fill(), Ok(0)) || self.reset())
    }

    fn reset(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.fill(), Ok(0) | Err(_))
    }

    /// Whether nothing comes for this long, and the connection stays open.
    pub fn quiet(&mut self, time: Duration) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        let _ = self.tcp().set_read_timeout(Some(time));
        let result = self.fill();
        let _ = self.tcp().set_read_timeout(Some(PATIENCE));
        matches!(result, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Ends our half of the TCP connection, without TLS's close_notify.
    pub fn shut(&mut self) {
        let _ = self.tcp().shutdown(Shutdown::Write);
    }

    /// Sends bytes below TLS.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tcp().write_all(bytes)
    }

    /// Sends TLS's close_notify and leaves TCP open.
    pub fn close_notify(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tls(s) => {
                s.conn.send_close_notify();
                while s.conn.wants_write() {
                    s.conn.write_tls(&mut s.sock)?;
                }
                Ok(())
            }
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn tcp(&mut self) -> &mut TcpStream {
        match &mut self.stream {
            Stream::Plain(s) => s,
            Stream::Tls(s) => &mut s.sock,
            Stream::Neither => panic!("there is no connection"),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut part = [0; 16 * 1024];
        let read = loop {
            let read = match &mut self.stream {
                Stream::Plain(s) => s.read(&mut part),
                Stream::Tls(s) => s.read(&mut part),
                Stream::Neither => Err(ErrorKind::NotConnected.into()),
            };
            // signal(7): a read with a time limit is not begun again when the machine or the process stood still.
            if !read.as_ref().is_err_and(|e| e.kind() == ErrorKind::Interrupted) {
                break read;
            }
        };
        let count = match read {
            Ok(count) => count,
            // The peer ended TCP without TLS's farewell, or reset it: for most of what is tested here, an end.
            Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => 0,
            Err(e) => return Err(e),
        };
        self.buffer.extend_from_slice(&part[..count]);
        Ok(count)
    }
}
