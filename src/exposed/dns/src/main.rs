//! postern-dns: see the library of the same name.

use jail::{Class, Kind, Process, Profile};
use postern_dns::{
    Network, Resolver, anchors,
    limits::{MIN_LIFE, WITHOUT_SEND},
    system,
};
use pure_config::{Config, RESOLV_CONF, Resolver as Declared};
use std::{error::Error, os::fd::OwnedFd, path::Path, path::PathBuf, process::ExitCode, sync::Arc};
use tokio::{sync::Notify, time::Instant};
use wire::{
    Edge, Error as WireError,
    edge::{dns_scan::DnsForScan, send_names::SendNames},
    serve, serve_given,
};

const PROFILE: Profile =
    Profile { name: "dns", kind: Kind::Exposed, class: Class::Resolver, state: false, read: files, connect: ports, workers: 2 };

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    jail::main(&PROFILE, start)
}

fn files(config: &Config) -> Vec<PathBuf> {
    let system = (config.dns.resolver == Declared::System).then(|| PathBuf::from(RESOLV_CONF));
    system.into_iter().chain(config.dns.trust_anchor.clone()).collect()
}

/// RFC 1035 4.2, and what the declared servers have instead.
fn ports(config: &Config) -> Vec<u16> {
    match &config.dns.resolver {
        Declared::Servers(servers) => servers.iter().map(|server| server.port()).collect(),
        Declared::System | Declared::Recursive => vec![53],
    }
}

fn start(mut process: Process) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let (send, for_scan) = (process.descriptor(SendNames::NAME), process.listener(DnsForScan::NAME)?);
    let dns = process.config.dns.clone();
    let anchors = anchors(dns.trust_anchor.as_deref()).map_err(|e| format!("dns.trust_anchor: {e}"))?;
    let resolver = match &dns.resolver {
        Declared::System => Resolver::forwarding(Network::default(), &system::servers(Path::new(RESOLV_CONF))?, anchors),
        Declared::Servers(servers) => Resolver::forwarding(Network::default(), servers, anchors),
        Declared::Recursive => Resolver::recursive(Network::default(), anchors)?,
    };
    let resolver = Arc::new(resolver);
    let (reload, mut shutdown) = (process.reload(), process.shutdown());
    let system = dns.resolver == Declared::System;
    // While nothing is sent, nobody needs to know whether we would be answered.
    let check = !process.config.send.paused;
    Ok(async move {
        tokio::select! {
            () = answer_send(send, resolver.clone()) => Ok(()),
            result = serve::<DnsForScan, _>(for_scan, resolver.clone()) => Ok(result?),
            never = reload_on_request(&resolver, system, check, &reload) => match never {},
            () = shutdown.requested() => Ok(()),
        }
    })
}

/// Answers send until it has gone. This process cannot connect to another: it makes no local socket. So it ends then, and is connected to the
/// next one when it is started again. Scan repeats once what was cut off.
async fn answer_send(socket: Option<OwnedFd>, resolver: Arc<Resolver<Network>>) {
    let started = Instant::now();
    let ended = match socket {
        Some(socket) => Some(serve_given::<SendNames, _>(socket, resolver).await),
        None => None,
    };
    match ended {
        Some(Ok(()) | Err(WireError::Closed | WireError::Io(_))) => {
            tracing::info!("send has gone: this process ends, and its next start is connected to the next one");
            tokio::time::sleep_until(started + MIN_LIFE).await;
        }
        Some(Err(error)) => {
            tracing::warn!(%error, "send cannot be answered: this process tries again with its next start");
            tokio::time::sleep(WITHOUT_SEND).await;
        }
        None => {
            tracing::warn!("there was no send to be connected to: this process tries again with its next start");
            tokio::time::sleep(WITHOUT_SEND).await;
        }
    }
}

/// Says once whether names can be validated, then reads the system's servers again whenever asked to. Other changes of the configuration
/// need a new process: the ports that may be connected to are fixed.
async fn reload_on_request(resolver: &Resolver<Network>, system: bool, check: bool, reload: &Notify) -> std::convert::Infallible {
    loop {
        let requested = reload.notified();
        tokio::pin!(requested);
        requested.as_mut().enable();
        if !check {
            tracing::info!("sending is paused: whether answers can be validated was not tried");
        } else if resolver.validates().await {
            tracing::info!("answers are validated down from the root");
        } else {
            tracing::error!(
                "the root cannot be validated, so mail to other domains will wait: the name servers do not answer, or they drop DNSSEC \
                 signatures; name others in dns.servers, or set dns.recursive = true"
            );
        }
        requested.await;
        if system {
            match system::servers(Path::new(RESOLV_CONF)) {
                Ok(servers) => resolver.replace_servers(&servers),
                // A file that was replaced is another file for the jail of this process.
                Err(error) => tracing::error!(%error, "resolv.conf cannot be read again: restart to use its servers; the old ones stay"),
            }
        }
    }
}
