//! A throw-away mail host: a real systemd as PID 1 in namespaces of its own, and a second network namespace as the rest of the world.
//!
//! * Its root is a Debian tree, built once by mmdebstrap and never written: everything goes to a tmpfs that dies with the [`Host`].
//! * Nothing of the machine is reachable from it but the kernel: no network, no files, no settings.
//! * Names are unique, so that tests run in parallel. A host whose test was killed is taken down by the next test that boots one.
//!
//! It needs root, util-linux, iproute2 and mmdebstrap; [`Host::appliance`] also the released binaries. What is missing is a skip with
//! its reason, never a silent pass.

mod command;
mod failure;
mod host;
mod install;
mod process;
mod root;
mod sending;
mod stream;
mod units;

pub use command::{Outcome, eventually, run};
pub use failure::{Failure, Reason};
pub use host::Host;
pub use install::{ADDRESS, ALICE, Appliance, BOB, DOMAIN, HOSTNAME, ORDINARY, PASSWORD};
pub use process::{cgroup, children, inner, status};
pub use root::workspace;
pub use sending::World;
pub use stream::Stream;
pub use units::{CONTROL_EDGES, LISTENERS, Listener, OPTIONAL_LISTENERS, SERVICES, Service, unit_files};
