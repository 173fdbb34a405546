//! Whether everything answers: each port is connected to as a client would, and one account logs in.

use crate::control::plain;
use data_encoding::BASE64;
use pure_addr::Address;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
    time::Duration,
};
use wire::edge::auth_control::Password;

/// For each step of a conversation.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one line; ours are far shorter.
const MAX_LINE: u64 = 8 * 1024;
/// Lines of one reply.
const MAX_LINES: usize = 100;

/// What is probed.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) mx: u16,
    pub(super) submission: u16,
    pub(super) submissions: u16,
    pub(super) imaps: u16,
    /// PEM.
    pub(super) authority: String,
    pub(super) account: Option<(Address, Password)>,
}

impl Probe {
    /// Returns what does not answer, and how.
    pub(super) fn run(&self) -> Result<(), String> {
        let tls = self.tls().map_err(|e| format!("certificate: {e}"))?;
        let say = |name: &str, result: io::Result<()>| result.map_err(|e| format!("{name}: {}", plain(&e)));
        say("mx", connect(self.mx).and_then(smtp))?;
        say("submission", connect(self.submission).and_then(smtp))?;
        say("submissions", secure(&tls, self.submissions).and_then(smtp))?;
        say("imaps", secure(&tls, self.imaps).and_then(|stream| self.imap(stream)))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Box<dyn std::error::Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes())?)?;
        Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
    }

    fn imap(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        expect(&mut stream, "* OK")?;
        if let Some((address, password)) = &self.account {
            // RFC 9051 6.2.2, RFC 4616. The continuation is asked for, so that no capability needs to be read.
            write(&mut stream, "a AUTHENTICATE PLAIN\r\n")?;
            expect(&mut stream, "+")?;
            let plain = BASE64.encode(format!("\0{address}\0{}", password.0).as_bytes());
            write(&mut stream, &format!("{plain}\r\n"))?;
            until(&mut stream, "a ", "a OK")?;
        }
        write(&mut stream, "b LOGOUT\r\n")?;
        until(&mut stream, "b ", "b OK")
    }
}

fn smtp(stream: impl Read + Write) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    until(&mut stream, "220 ", "220 ")?;
    write(&mut stream, "EHLO localhost\r\n")?;
    until(&mut stream, "250 ", "250 ")?;
    write(&mut stream, "QUIT\r\n")?;
    until(&mut stream, "221 ", "221 ")
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn secure(config: &Arc<ClientConfig>, port: u16) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, connect(port)?))
}

fn write<S: Read + Write>(stream: &mut BufReader<S>, text: &str) -> io::Result<()> {
    let stream = stream.get_mut();
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn expect(stream: &mut impl BufRead, start: &str) -> io::Result<()> {
    let line = line(stream)?;
    if line.starts_with(start) { Ok(()) } else { Err(io::Error::other(format!("answered {line:?}"))) }
}

/// Reads up to the line with this mark, or the end of an SMTP reply, which must begin so.
fn until(stream: &mut impl BufRead, mark: &str, start: &str) -> io::Result<()> {
    for _ in 0..MAX_LINES {
        let line = line(stream)?;
        // RFC 5321 4.2.1: the fourth character of all lines but the last is a hyphen.
        let last_of_smtp =
            line.as_bytes().get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit)) && line.as_bytes().get(3) != Some(&b'-');
        if line.starts_with(mark) || last_of_smtp {
            return if line.starts_with(start) { Ok(()) } else { Err(io::Error::other(format!("answered {line:?}"))) };
        }
    }
    Err(io::Error::other("the answer does not end"))
}
