//! What every exposed server shares: the accept loop with its limits, the stream that may become TLS, and TLS without a key.
//!
//! The private key is in `keys`. Here is a [`rustls::sign::SigningKey`] that takes the message rustls wants signed apart into typed
//! fields and lets `keys` rebuild and sign it, so no process that faces the network ever maps a private key.

mod gate;
mod inbox;
mod listen;
mod oracle;
mod room;
mod secured;
mod signer;
mod stream;
mod tls;

pub use gate::{Gate, Slot, network};
pub use inbox::Inbox;
pub use listen::{Accepted, serve};
pub use room::{Room, Share};
pub use secured::Secured;
pub use stream::Stream;
pub use tls::{Tls, TlsError};
