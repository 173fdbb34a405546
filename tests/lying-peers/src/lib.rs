//! Peers that do not keep to an edge, and what is needed to make them up.
//!
//! [`shapes`] is the table: everything that can be in a frame of every edge. [`Source`] makes valid values of any of these types, from
//! nothing but their `Deserialize`, so that a new variant is covered from its first day; [`mutate`] makes frames of them that are nearly
//! right; a [`Peer`] sends them, and a [`Middle`] stands in the place of a server and answers with them. Everything comes from a seed: a failure names it, and happens again.

mod answers;
mod middle;
mod mutate;
mod peer;
mod shapes;
mod source;

pub use answers::answers;
pub use middle::{Asked, Middle, Say, Seen};
pub use mutate::mutate;
pub use peer::{CANCEL, EVENT, HELLO, IN_MEMFD, PARTIAL, Packet, Peer, REFUSED, REQUEST, RESPONSE, frame, hello, memfd, with_fds};
pub use shapes::{Shape, shapes};
pub use source::{Impossible, Source};
