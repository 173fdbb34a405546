//! Whoever has taken over a front end can disconnect the port that it was handed: that lasts until its next start and no longer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use rustix::{
    net::{connect_unspec, getsockname, sockopt::socket_acceptconn},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal},
};
use std::{net::SocketAddr, os::fd::OwnedFd};
use system::{ALICE, Appliance, SERVICES, children, eventually, inner};

const MESSAGE: &[u8] = b"From: stranger@example.net\r\nTo: alice@example.test\r\nSubject: the port is open\r\n\r\nAgain.\r\n";

/// The socket of a process that listens at this port, shared with it.
fn listening(process: &OwnedFd, pid: u32, port: u16) -> Option<OwnedFd> {
    let numbers = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap().file_name());
    numbers.filter_map(|number| pidfd_getfd(process, number.to_str()?.parse().ok()?, PidfdGetfdFlags::empty()).ok()).find(|socket| {
        let own = getsockname(socket).ok().and_then(|own| SocketAddr::try_from(own).ok());
        own.is_some_and(|own| own.port() == port) && socket_acceptconn(socket) == Ok(true)
    })
}

#[test]
fn a_port_that_was_shut_from_within_listens_again_after_the_next_start() {
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let mx = SERVICES.iter().find(|service| service.name == "mx").unwrap();
    let number = appliance.main_pid(mx).unwrap();
    let all = children(appliance.pid());
    let pid = all.into_iter().find(|pid| inner(*pid).is_ok_and(|own| own.cast_unsigned() == number)).unwrap();
    let process = pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty()).unwrap();
    let socket = listening(&process, pid, 25).unwrap();
    connect_unspec(&socket).unwrap();
    assert_eq!(socket_acceptconn(&socket), Ok(false));
    assert!(appliance.deliver("stranger@example.net", ALICE, MESSAGE).is_err(), "nobody listens");
    pidfd_send_signal(&process, Signal::KILL).unwrap();
    let again = || appliance.deliver("stranger@example.net", ALICE, MESSAGE).ok();
    eventually("mail is taken", std::time::Duration::from_secs(60), again).unwrap_or_else(|e| panic!("{e}\n{}", appliance.journal_text()));
    assert_eq!(appliance.fetch(ALICE, "the port is open").unwrap().len(), 1);
}
