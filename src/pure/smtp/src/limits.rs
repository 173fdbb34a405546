use std::time::Duration;

/// Every limit of the protocol, in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, as stored.
    pub message_size: u64,
    /// Recipients of one transaction; RFC 5321 4.5.3.1.8 wants at least 100.
    pub recipients: usize,
    /// Bytes of a command line with its CRLF; RFC 5321 4.5.3.1.4 wants 512, the extensions offered here add less than 1200.
    pub command_line: usize,
    /// Bytes of an AUTH command or SASL response with its CRLF (RFC 4954 4).
    pub auth_line: usize,
    /// Bytes of a line of content with its CRLF. RFC 5321 4.5.3.1.6 wants 1000; real mail goes beyond and RFC 5321 4.5.3 asks to bear it.
    pub content_line: usize,
    /// Bytes read and thrown away after a line has become too long; then the connection ends. A message that has become too long is
    /// read on up to twice its limit.
    pub discard: u64,
    /// Replies of class 5 to syntax and sequence; then 421.
    pub errors: u32,
    /// Commands that do not exist; then 421.
    pub unknown_commands: u32,
    /// Recipients refused, by the directory or by their form; then 421. Spares the directory from being searched by guessing.
    pub refused_recipients: u32,
    /// Commands that do no work (NOOP, RSET, VRFY, EHLO ...) since the last accepted message; then 421.
    pub idle_commands: u32,
    /// Failed or cancelled logins; then 421.
    pub failed_logins: u32,
    /// How long one command may take to arrive, whole (RFC 5321 4.5.3.2.7: at least 5 minutes).
    pub command_time: Duration,
    /// How long the next bytes of content may take to arrive (RFC 5321 4.5.3.2.5: at least 3 minutes).
    pub block_time: Duration,
    /// How long the whole content of a message may take to arrive.
    pub content_time: Duration,
    /// How long the client may take to read our replies.
    pub write_time: Duration,
    /// How long a connection may last.
    pub session_time: Duration,
    /// Connections that one IPv4 address or IPv6 /64 may hold.
    pub connections_per_peer: u32,
}

impl Limits {
    /// What holds when nothing is configured.
    pub const DEFAULT: Self = Self {
        message_size: 50 * 1024 * 1024,
        recipients: 1000,
        command_line: 2048,
        auth_line: 12_288,
        content_line: 64 * 1024,
        discard: 64 * 1024,
        errors: 20,
        unknown_commands: 10,
        refused_recipients: 100,
        idle_commands: 100,
        failed_logins: 3,
        command_time: Duration::from_secs(5 * 60),
        block_time: Duration::from_secs(3 * 60),
        content_time: Duration::from_secs(60 * 60),
        write_time: Duration::from_secs(5 * 60),
        session_time: Duration::from_secs(6 * 60 * 60),
        connections_per_peer: 50,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
