//! Whether the queue still waits for what becomes of a lease.
//!
//! A queue that dies leases the same again when it is back. What was delivered for the one before is known to this process alone until
//! then, and is delivered twice if this process dies too. So no message is completed for a queue that is gone: until its final dot, or
//! the end of its last chunk, the remote has nothing (RFC 5321 4.1.1.4, RFC 3030 2).

use std::sync::{Arc, Weak};
use wire::Caller;

/// Held by the request, and dropped with it: answered, taken back, or with the connection that it came by.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Arc<()>);

impl Waiting {
    pub(crate) fn asker(&self) -> Asker {
        Asker { request: Arc::downgrade(&self.0), caller: Caller::current() }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    request: Weak<()>,
    caller: Option<Caller>,
}

impl Asker {
    /// Whether somebody can take the result.
    pub(crate) fn waits(&self) -> bool {
        self.request.strong_count() > 0 && self.caller.as_ref().is_some_and(|caller| !caller.is_gone())
    }
}
