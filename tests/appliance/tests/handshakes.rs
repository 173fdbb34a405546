//! Many clients come at the same moment. Every handshake waits for a signature of `keys`, from within a thread of the listener.

use std::{sync::Barrier, thread};
use test_support::{Appliance, Connection};

/// More than a listener has threads, less than one peer may hold connections.
const CLIENTS: usize = 45;

#[test]
fn as_many_handshakes_as_one_peer_may_begin_all_end() {
    let appliance = Appliance::demonstration();
    for port in ["imaps", "submissions"] {
        for _ in 0..3 {
            let together = Barrier::new(CLIENTS);
            thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    scope.spawn(|| {
                        together.wait();
                        let mut connection = Connection::tls(&appliance, port);
                        let greeting = connection.line().unwrap();
                        assert!(greeting.starts_with(b"* OK") || greeting.starts_with(b"220 "), "{greeting:?}");
                    });
                }
            });
        }
    }
}
