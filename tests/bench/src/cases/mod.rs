//! Everything that is measured, one family of cases a file.

mod fetch;
mod growth;
mod hop;
mod idle;
mod inbound;
mod life;
mod logins;
mod mbsync;
mod memory;
mod mixed;
mod outbound;
mod search;
mod store;
mod visible;

pub(crate) use hop::{SERVER as SERVE_HOP, serve as serve_hop};

use crate::case::Case;

/// All cases, in the order in which they run: what needs a fresh server first.
pub(crate) fn all() -> Vec<Case> {
    let mut all = vec![memory::fresh()];
    all.extend(inbound::cases());
    all.extend(outbound::cases());
    all.extend(visible::cases());
    all.extend(logins::cases());
    all.extend(fetch::cases());
    all.extend(search::cases());
    all.extend(store::cases());
    all.extend(mixed::cases());
    all.extend(mbsync::cases());
    all.extend(idle::cases());
    all.push(memory::after());
    all.extend(hop::cases());
    all.extend(life::cases());
    all.extend(growth::cases());
    all
}
