//! What a server offers in its answer to EHLO (RFC 5321 4.1.1.1). Unknown and malformed lines mean nothing.

use super::{reply::ServerReply, sasl::Mechanism};

/// Recipients of a transaction that every server takes (RFC 5321 4.5.3.1.8); a smaller limit is not believed.
const MIN_RECIPIENTS: usize = 100;

/// Extensions on offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The limit that SIZE gave, in bytes; none when it gave none or 0.
    pub max_size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// RCPTMAX of LIMITS (RFC 9422), at least 100.
    pub recipients: Option<usize>,
    /// The mechanisms of AUTH (RFC 4954) that are known here.
    pub(crate) auth: Vec<Mechanism>,
}

impl Capabilities {
    /// Reads the answer to EHLO; its first line is a greeting.
    pub fn parse(reply: &ServerReply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().iter().skip(1) {
            found.take(line);
        }
        found
    }

    fn take(&mut self, line: &str) {
        // Some old servers write AUTH=LOGIN.
        let (keyword, parameters) = line.split_once([' ', '=']).unwrap_or((line, ""));
        match keyword.to_ascii_uppercase().as_str() {
            "STARTTLS" => self.starttls = true,
            "PIPELINING" => self.pipelining = true,
            "SIZE" => {
                self.size = true;
                let digits = !parameters.is_empty() && parameters.bytes().all(|b| b.is_ascii_digit());
                // RFC 1870 4: 0 is no fixed limit.
                self.max_size = if digits { parameters.parse().ok().filter(|limit| *limit > 0) } else { None };
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.require_tls = true,
            "LIMITS" => {
                let limit = parameters.split(' ').find_map(|p| p.strip_prefix("RCPTMAX=")).and_then(|n| n.parse::<usize>().ok());
                self.recipients = limit.map(|limit| limit.max(MIN_RECIPIENTS));
            }
            "AUTH" => {
                for name in parameters.split(' ') {
                    if let Some(mechanism) = Mechanism::parse(name).filter(|m| !self.auth.contains(m)) {
                        self.auth.push(mechanism);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::reply::ReplyReader;

    fn offered(text: &str) -> Capabilities {
        let mut reader = ReplyReader::default();
        reader.receive(text.as_bytes());
        Capabilities::parse(&reader.next().unwrap().unwrap())
    }

    #[test]
    fn extensions_are_found() {
        let all = offered(
            "250-STARTTLS\r\n250-size 1000\r\n250-PIPELINING\r\n250-8bitmime\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-BINARYMIME\r\n\
             250-DSN\r\n250-REQUIRETLS\r\n250-LIMITS MAILMAX=5 RCPTMAX=200\r\n250-AUTH CRAM-MD5 login PLAIN PLAIN\r\n250 SCRAM-SHA-256\r\n",
        );
        // The first line is the server's name, whatever it looks like.
        assert!(!all.starttls && all.pipelining && all.eight_bit_mime && all.smtputf8 && all.chunking && all.binary_mime && all.dsn);
        assert_eq!((all.size, all.max_size, all.require_tls, all.recipients), (true, Some(1000), true, Some(200)));
        assert_eq!(all.auth, [Mechanism::Login, Mechanism::Plain]);
        assert_eq!(offered("250-x\r\n250-SIZE\r\n250 AUTH=PLAIN\r\n").auth, [Mechanism::Plain]);
    }

    #[test]
    fn nonsense_means_nothing() {
        for (line, limit) in
            [("SIZE 0", None), ("SIZE -1", None), ("SIZE 99999999999999999999999", None), ("SIZE +7", None), ("SIZE 7", Some(7))]
        {
            let found = offered(&format!("250-x\r\n250 {line}\r\n"));
            assert_eq!((found.size, found.max_size), (true, limit), "{line}");
        }
        assert_eq!(offered("250-x\r\n250-XSTARTTLS\r\n250 START TLS\r\n"), Capabilities::default());
        assert_eq!(offered("250-x\r\n250 LIMITS RCPTMAX=1\r\n").recipients, Some(100));
    }
}
