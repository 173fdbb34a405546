//! A connection, in clear text or TLS.

use crate::secured::Secured;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use wire::edge::mail;

/// Bytes of the `tls-exporter` channel binding (RFC 9266 4.1).
const CHANNEL_BINDING: usize = 32;

/// See the module.
#[derive(Debug)]
pub enum Stream {
    /// Clear text.
    Plain(TcpStream),
    /// TLS; boxed, so that the session around it stays small.
    Tls(Box<Secured>),
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => secured.tls.get_ref().0,
        }
    }

    /// Whether what comes may be a password, as at first.
    pub fn expect_secrets(&mut self, expected: bool) {
        if let Self::Tls(secured) = self {
            secured.plain = !expected;
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Version and cipher suite, for trace headers.
    pub fn tls_info(&self) -> Option<mail::Tls> {
        let Self::Tls(secured) = self else { return None };
        let connection = secured.tls.get_ref().1;
        let version = match connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => "TLS1.3",
            rustls::ProtocolVersion::TLSv1_2 => "TLS1.2",
            _ => return None,
        };
        let cipher = format!("{:?}", connection.negotiated_cipher_suite()?.suite()).replace("TLS13_", "TLS_");
        Some(mail::Tls { version: pure_text(version), cipher: pure_text(&cipher) })
    }

    /// RFC 9266 `tls-exporter`; only TLS 1.3, where the exporter is bound to the whole handshake.
    pub fn channel_binding(&self) -> Option<[u8; CHANNEL_BINDING]> {
        let Self::Tls(secured) = self else { return None };
        let connection = secured.tls.get_ref().1;
        if connection.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
            return None;
        }
        connection.export_keying_material([0; CHANNEL_BINDING], b"EXPORTER-Channel-Binding", Some(&[])).ok()
    }
}

fn pure_text<const N: usize>(text: &str) -> pure_addr::Text<N> {
    pure_addr::Text::lossy(text.as_bytes())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => s.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(&mut s.tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(&mut s.tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(&mut s.tls).poll_shutdown(cx),
        }
    }
}
