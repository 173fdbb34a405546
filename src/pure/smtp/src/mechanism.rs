/// The mechanisms on offer, as the authentication service knows them: LOGIN becomes PLAIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// RFC 7677 with channel binding (RFC 9266).
    ScramSha256Plus,
}
