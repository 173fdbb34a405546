//! A name server that answers at once, for Postern, which asks about every message that comes in. Its zones are signed, and what it says is proven.

use crate::Failure;
use std::{net::SocketAddr, thread};
use test_names::{Server, World};

/// A running name server; it ends with the process.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    /// Of its root, in zone-file form.
    pub(crate) trust_anchor: String,
}

impl Names {
    /// The stranger's domain says who may send for it, and that what fails is to be rejected: all that comes in is looked at to the end, and passes.
    pub(crate) fn open() -> Result<Self, Failure> {
        let mut world = World::new();
        world.zone("test.", true).zone("bench.test.", true).zone("elsewhere.test.", true);
        world.text("elsewhere.test.", &["v=spf1 ip4:127.0.0.0/8 -all"]).text("_dmarc.elsewhere.test.", &["v=DMARC1; p=reject"]);
        world.mx("elsewhere.test.", 10, "mx.elsewhere.test.").address("mx.elsewhere.test.", "127.0.0.1");
        let trust_anchor = world.anchor();
        let (tell, told) = std::sync::mpsc::channel();
        thread::Builder::new().name("names".to_owned()).spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                let server = Server::start(world).await;
                let _ = tell.send(server.address);
                std::future::pending::<()>().await;
            });
        })?;
        Ok(Self { address: told.recv()?, trust_anchor })
    }
}
