//! postern-send: see the library of the same name.

use jail::{Class, Kind, Process, Profile};
use postern_send::{Sender, Settings, files, ports};
use std::{error::Error, process::ExitCode, sync::Arc};
use tokio::sync::Notify;
use wire::{
    Client, Edge,
    edge::{send_deliver::SendDeliver, send_names::SendNames},
    serve,
};

const PROFILE: Profile =
    Profile { name: "send", kind: Kind::Exposed, class: Class::Client, state: false, read: files, connect: ports, workers: 2 };

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    jail::main(&PROFILE, start)
}

fn start(mut process: Process) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let listener = process.listener(SendDeliver::NAME)?;
    let settings = Settings::load(&process.config, |name| process.credential(name))?;
    // Each dns that starts is connected here. This process can connect to none: it makes no local socket.
    let names = Client::listening(process.listener(SendNames::NAME)?)?;
    let sender = Arc::new(Sender::new(settings, names));
    let (sources, reload, mut shutdown) = (process.sources(), process.reload(), process.shutdown());
    Ok(async move {
        let serving = serve::<SendDeliver, _>(listener, sender.clone());
        tokio::pin!(serving);
        tokio::select! {
            result = &mut serving => return Ok(result?),
            never = reload_on_request(&sender, &sources, &reload) => match never {},
            () = shutdown.requested() => {}
        }
        // What is under way is finished and reported; what has not begun is offered again.
        tokio::select! {
            result = serving => Ok(result?),
            () = sender.drain() => Ok(()),
        }
    })
}

/// Reads configuration, passwords and certificates again whenever asked to. A smarthost at a new port needs a new process: the ports that
/// may be connected to are fixed.
async fn reload_on_request(sender: &Sender, sources: &jail::Sources, reload: &Notify) -> std::convert::Infallible {
    loop {
        reload.notified().await;
        let settings = sources.config().map_err(Failure::from).and_then(|config| {
            let settings = Settings::load(&config, |name| sources.credential(name))?;
            Ok(settings)
        });
        match settings {
            Ok(settings) => sender.reload(settings),
            Err(error) => tracing::error!(%error, "the settings cannot be read again; the old ones stay"),
        }
    }
}
