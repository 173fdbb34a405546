//! Attack case SMUG-08: what a session holds in memory does not grow with the number of its chunks.
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use test_support::{Appliance, Smtp, peak};

/// As many as the case has.
const CHUNKS: usize = 200_000;
/// Sent before any of them is answered.
const AT_ONCE: usize = 1_000;
/// KiB by which a process may grow meanwhile: some five bytes for each. The case has eight times as much.
const MAY_GROW: u64 = 1 << 10;

#[test]
fn a_session_does_not_grow_with_its_chunks() {
    let appliance = Appliance::mta_test();
    let mut smtp = Smtp::connect(&appliance, "mx");
    let send = |smtp: &mut Smtp, bytes: &[u8], replies: usize| {
        smtp.connection.send(bytes).unwrap();
        for _ in 0..replies {
            let reply = smtp.reply().unwrap();
            assert_eq!(reply.code, 250, "{reply:?}");
        }
    };
    send(&mut smtp, b"MAIL FROM:<x@evil.test>\r\n", 1);
    send(&mut smtp, b"RCPT TO:<alice@mta.test>\r\n", 1);
    send(&mut smtp, b"BDAT 21\r\nFrom: x@evil.test\r\n\r\n", 1);
    // Empty lines, byte by byte.
    let some = b"BDAT 1\r\n\rBDAT 1\r\n\n".repeat(AT_ONCE / 2);
    send(&mut smtp, &some, AT_ONCE);
    let pids = ["mx", "queue", "scan"].map(|daemon| (daemon, appliance.pid(daemon)));
    let before = pids.map(|(_, pid)| peak(pid));
    for _ in 1..CHUNKS / AT_ONCE {
        send(&mut smtp, &some, AT_ONCE);
    }
    send(&mut smtp, b"BDAT 0 LAST\r\n", 1);
    for ((daemon, pid), before) in pids.into_iter().zip(before) {
        let grown = peak(pid) - before;
        assert!(grown < MAY_GROW, "{daemon} grew by {grown} KiB");
    }
}
