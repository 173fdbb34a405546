//! What this server can do; nothing is named that does not work.

/// Before login, in clear text: nobody can log in here.
pub(crate) const PLAINTEXT: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED";
/// Before login, with TLS.
const LOGIN: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=SCRAM-SHA-256";
/// Where the connection has a channel binding (RFC 9266).
const PLUS: &str = " AUTH=SCRAM-SHA-256-PLUS";
/// After login.
const ACCOUNT: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE IDLE UIDPLUS MOVE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS \
    SPECIAL-USE CREATE-SPECIAL-USE ESEARCH SEARCHRES WITHIN SORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES CONDSTORE QRESYNC BINARY MULTIAPPEND \
    UTF8=ACCEPT STATUS=SIZE OBJECTID QUOTA QUOTA=RES-STORAGE";

/// Before login, with TLS.
pub(crate) fn before_login(channel_binding: bool) -> String {
    format!("{LOGIN}{}", if channel_binding { PLUS } else { "" })
}

/// After login; RFC 7889 for the largest message.
pub(crate) fn after_login(message_limit: u32) -> String {
    format!("{ACCOUNT} APPENDLIMIT={message_limit}")
}
