//! Conversations made of pieces in any order, cut anywhere: whatever is sent, the invariants of the crate hold.

use super::*;

/// Pieces of conversations, whole and broken.
const PIECES: &[&[u8]] = &[
    b"EHLO a\r\n",
    b"HELO a\r\n",
    b"MAIL FROM:<x@evil.test>\r\n",
    b"MAIL FROM:<x@evil.test> BODY=8BITMIME SIZE=10\r\n",
    b"RCPT TO:<alice@mta.test>\r\n",
    b"RCPT TO:<nosuch@mta.test>\r\n",
    b"RCPT TO:<v@remote.test>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nbody\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r\r\n.\r\r\n",
    b"..dots\r\n",
    b"BDAT 4\r\nab\r\n",
    b"BDAT 5\r\na\nb\r\n",
    b"BDAT 2 LAST\r\n\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 40 LAST\r\n",
    b"BDAT x\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AGFsaWNlAHg=\r\n",
    b"AUTH LOGIN\r\n",
    b"AUTH SCRAM-SHA-256 biws\r\n",
    b"AGFsaWNlAHg=\r\n",
    b"*\r\n",
    b"\0",
    b"\xff\xfe\r\n",
    b"\r",
    b"\n",
];

/// xorshift64: the same conversations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

fn clean(content: &[u8]) -> bool {
    let without = String::from_utf8_lossy(content).replace("\r\n", "");
    !without.contains(['\r', '\n', '\0'])
}

#[test]
fn invariants_hold_whatever_is_sent() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut stored, mut closed) = (0, 0);
    for round in 0..4000 {
        let submission = round % 3 == 0;
        let mut peer = if submission {
            Peer::with(settings(Role::Submission), Some(Tls { channel_binding: round % 2 == 0 }))
        } else if round % 3 == 1 {
            Peer::ready()
        } else {
            Peer::in_data()
        };
        for _ in 0..40 {
            if peer.closed {
                closed += 1;
                break;
            }
            peer.auth
                .push_back([AuthVerdict::Refused, AuthVerdict::Success(None), AuthVerdict::Challenge(vec![1])][random.below(3)].clone());
            let piece = PIECES[random.below(PIECES.len())];
            let cut = random.below(piece.len() + 1);
            for part in [&piece[..cut], &piece[cut..]] {
                if !peer.closed {
                    let replies = peer.send(part);
                    assert!(replies.is_empty() || replies.ends_with("\r\n"));
                    assert!(replies.bytes().all(|b| matches!(b, b' '..=b'~' | b'\r' | b'\n')), "{replies:?}");
                }
            }
            assert!(peer.buffer.len() <= Limits::DEFAULT.auth_line);
            assert!(!submission || peer.stored.is_empty() || peer.session.logged_in);
        }
        for (_, to, content) in &peer.stored {
            assert!(clean(content), "{content:?}");
            assert!(submission || to.iter().all(|to| to.ends_with("@mta.test")));
        }
        stored += peer.stored.len();
    }
    // The test would show nothing if everything were refused.
    assert!(stored > 100 && closed > 100, "{stored} {closed}");
}

/// Where the input is cut decides nothing, as long as the client waits where it must (RFC 2920 3.1).
#[test]
fn replies_do_not_depend_on_packets() {
    let script: &[&[u8]] = &[
        b"EHLO a\r\n",
        b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<alice@mta.test>\r\nRCPT TO:<nosuch@mta.test>\r\nDATA\r\n",
        b"Subject: x\r\n\r\n..a\r\n.b\r\n\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<bob@mta.test>\r\nBDAT 5\r\na\r\nb\rBDAT 1 LAST\r\n\nRSET\r\n",
        b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<alice@mta.test>\r\nBDAT 5\r\na\r\nb\rBDAT 1 LAST\r\nxRSET\r\nFOO\r\nQUIT\r\n",
    ];
    let run = |size: usize| {
        let mut peer = Peer::with(settings(Role::Mx), None);
        let replies: String = script.iter().flat_map(|part| part.chunks(size)).map(|piece| peer.send(piece)).collect();
        (replies, peer.stored)
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.1.len(), 2);
    for size in 1..40 {
        assert_eq!(run(size), whole, "in pieces of {size}");
    }
}
