//! From the root on: what the recursor brings is validated as what a server says.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use hickory_resolver::{
    net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime},
    proto::rr::RecordType,
};
use postern_dns::{Anchors, Resolver};
use pure_addr::Domain;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use test_names::{Server, Spoiled, World};
use tokio::net::UdpSocket;
use wire::edge::send_names::{Records, Request, Response};

/// The network, in which port 53 of every host is the port of one server.
#[derive(Clone)]
struct Redirected {
    network: TokioRuntimeProvider,
    server: SocketAddr,
}

struct Socket {
    socket: UdpSocket,
    server: SocketAddr,
}

/// Replies come from where the query was meant to go.
const MEANT: &str = "127.0.0.1:53";

impl DnsUdpSocket for Socket {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.socket, cx, buf).map_ok(|(length, _)| (length, MEANT.parse().unwrap()))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], _target: SocketAddr) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.socket, cx, buf, self.server)
    }
}

impl RuntimeProvider for Redirected {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Socket;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.network.create_handle()
    }

    fn connect_tcp(
        &self,
        _server: SocketAddr,
        bind: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Tcp, io::Error>>>> {
        self.network.connect_tcp(self.server, bind, timeout)
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Pin<Box<dyn Send + Future<Output = Result<Self::Udp, io::Error>>>> {
        let server = self.server;
        Box::pin(async move { Ok(Socket { socket: UdpSocket::bind(local).await?, server }) })
    }
}

#[tokio::test]
async fn answers_from_the_root_on_are_validated() {
    let mut world = World::new();
    world.zone("test.", true).zone("secure.test.", true).zone("insecure.test.", false);
    world
        .address("ns.test.", "127.0.0.1")
        .mx("secure.test.", 10, "mx.secure.test.")
        .address("mx.secure.test.", "192.0.2.1")
        .address("bad.secure.test.", "192.0.2.2")
        .spoil("bad.secure.test.", RecordType::A, Spoiled::Forged)
        .alias("alias.secure.test.", "mx.insecure.test.")
        .mx("insecure.test.", 10, "mx.insecure.test.")
        .address("mx.insecure.test.", "192.0.2.3");
    let anchors = Anchors::parse(&world.anchor()).unwrap();
    let server = Server::start(world).await;
    let provider = Redirected { network: TokioRuntimeProvider::default(), server: server.address };
    let dns = Resolver::recursive_from(provider, anchors, &["127.0.0.1".parse().unwrap()]).unwrap();

    let domain = |text: &str| Domain::parse(text).unwrap();
    assert!(dns.validates().await);
    let found = async |request: Request| match dns.answer(request).await {
        Response::Found { secure, records: Records::Mx(list), .. } => (secure, list.len()),
        Response::Found { secure, records: Records::Addresses(list), .. } => (secure, list.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(found(Request::Mx(domain("secure.test"))).await, (true, 1));
    assert_eq!(found(Request::Addresses(domain("mx.secure.test"))).await, (true, 1));
    assert_eq!(found(Request::Mx(domain("insecure.test"))).await, (false, 1));
    assert_eq!(found(Request::Addresses(domain("alias.secure.test"))).await, (false, 1));
    assert_eq!(dns.answer(Request::Addresses(domain("bad.secure.test"))).await, Response::Bogus);
    let tlsa = |host| Request::Tlsa { port: 25, host: domain(host) };
    assert_eq!(dns.answer(tlsa("mx.secure.test")).await, Response::None { secure: true, no_name: true });
    assert_eq!(dns.answer(Request::Mx(domain("mx.secure.test"))).await, Response::None { secure: true, no_name: false });
    assert_eq!(dns.answer(tlsa("mx.insecure.test")).await, Response::None { secure: false, no_name: true });
}
