//! auth/login.

use super::*;
use crate::limits::MAX_WAITING;
use std::{
    future::Future,
    task::{Context, Waker},
};

#[tokio::test]
async fn a_right_password_brings_the_account_s_own_socket() {
    let world = World::new().await;
    let reply = world.start(PEER, Mechanism::Plain, format!("\0Alice@MTA.test\0{PASSWORD}").as_bytes(), None).await;
    let Response::Success { owner, data } = reply.body else { panic!("{:?}", reply.body) };
    assert_eq!((owner.address.clone(), owner.quota, data), (address("alice@mta.test"), Some(1 << 30), None));
    // What came is the other end of the very socket that the store keeps for this owner.
    let granted = world.store.granted.lock().unwrap();
    let [(granted_to, ours)] = granted.as_slice() else { panic!() };
    assert_eq!(*granted_to, owner);
    rustix::net::send(ours.as_fd(), b"x", rustix::net::SendFlags::empty()).unwrap();
    let mut byte = [0];
    rustix::net::recv(reply.fds[0].as_fd(), &mut byte, rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!((byte, reply.fds.len(), world.queue.granted.lock().unwrap().len()), (*b"x", 1, 0));
}

#[tokio::test]
async fn submission_gets_a_socket_of_the_queue() {
    let world = World::new().await;
    let request = Request::Start {
        session: SessionId(1),
        peer: PEER.parse().unwrap(),
        mechanism: Mechanism::Plain,
        initial: b"\0bob@mta.test\0bob's own".to_vec().into(),
        channel_binding: None,
    };
    let reply = world.submission.call(&request, &[]).await.unwrap();
    let Response::Success { owner, .. } = &reply.body else { panic!("{:?}", reply.body) };
    assert_eq!((owner.quota, reply.fds.len()), (Some(2 << 30), 1));
    assert_eq!((world.queue.granted.lock().unwrap().len(), world.store.granted.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn an_exchange_cannot_be_taken_to_the_edge_of_another_service() {
    let world = World::new().await;
    let begun = world.start(PEER, Mechanism::ScramSha256, b"n,,n=alice@mta.test,r=abcdefgh", None).await;
    let Response::Challenge { exchange, .. } = begun.body else { panic!("{:?}", begun.body) };
    let request = Request::Continue { exchange, response: b"c=biws,r=abcdefgh,p=AAAA".to_vec().into() };
    let answer = world.submission.call(&request, &[]).await.unwrap().body;
    assert_eq!(failure(&answer), Some(Failure::Malformed));
    assert_eq!((world.queue.granted.lock().unwrap().len(), world.store.granted.lock().unwrap().len()), (0, 0));
}

/// Of an account, of none, of one without a password, of aliases and of nothing that could be an address.
const NAMES: [&str; 8] =
    ["alice@mta.test", "nosuch@mta.test", "locked@mta.test", "info@mta.test", "a.liddell@mta.test", "x@elsewhere.test", "alice", "\u{1}"];

/// Attack case AUTH-01: the same answer, and the same work, for whoever cannot log in.
#[tokio::test]
async fn names_are_not_told_apart() {
    let world = World::new().await;
    for (at, name) in NAMES.iter().enumerate() {
        let peer = format!("192.0.2.{at}");
        assert_eq!(failure(&world.plain(&peer, name, "wrong").await), Some(Failure::Credentials), "{name}");
        assert_eq!(failure(&world.scram(&peer, name, "wrong", None).await), Some(Failure::Credentials), "{name}");
    }
    // Nobody's verifier costs what somebody's does: all that exist are cheap here.
    let directory = world.auth.directory();
    let real = directory.by_login(&address("alice@mta.test")).unwrap().verifiers.argon2.as_ref().unwrap().cost();
    assert!((0..100).all(|number| directory.decoy_cost(number) == real));
}

/// Attack case AUTH-01: whoever's password is checked, or nobody's, waits for a core like everybody.
#[tokio::test]
async fn no_name_is_answered_without_a_check() {
    let world = World::new().await;
    let hasher = &world.auth.hasher;
    let cores = [hasher.turn(None, 1).await.unwrap(), hasher.turn(None, 1).await.unwrap()];
    let mut queue = Vec::new();
    for _ in cores.len()..MAX_WAITING {
        let mut next = Box::pin(hasher.turn(None, 1));
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        queue.push(next);
    }
    for (at, name) in NAMES.iter().enumerate() {
        // There is no place in the queue either: whoever would be checked is told so, and nobody is answered without that.
        assert_eq!(failure(&world.plain(&format!("192.0.2.{at}"), name, "wrong").await), Some(Failure::Unavailable), "{name}");
    }
    drop((cores, queue));
    for (at, name) in NAMES.iter().enumerate() {
        assert_eq!(failure(&world.plain(&format!("192.0.2.{at}"), name, "wrong").await), Some(Failure::Credentials), "{name}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_always_has_the_same_scram_salt() {
    let world = World::new().await;
    let challenge = async |name: &str| {
        let begun = world.start(PEER, Mechanism::ScramSha256, format!("n,,n={name},r=x").as_bytes(), None).await.body;
        let Response::Challenge { data, .. } = begun else { panic!("{begun:?}") };
        let text = String::from_utf8(data.into_vec()).unwrap();
        let (_, salt) = text.split_once(",s=").unwrap();
        salt.to_owned()
    };
    let nobody = challenge("nosuch@mta.test").await;
    assert_eq!(challenge("NoSuch@mta.test").await, nobody);
    assert_ne!(challenge("nosuch2@mta.test").await, nobody);
    // Without SCRAM keys of its own, an account looks like all others.
    let real = challenge("alice@mta.test").await;
    assert_eq!((real.len(), real.split_once(",i=").unwrap().1), (nobody.len(), nobody.split_once(",i=").unwrap().1));
    assert_eq!(real.len(), challenge("bob@mta.test").await.len());
}

#[tokio::test]
async fn scram_logs_in_and_proves_the_server() {
    let world = World::new().await;
    let Response::Success { owner, data } = world.scram(PEER, "alice@mta.test", PASSWORD, None).await else { panic!() };
    assert_eq!(owner.address, address("alice@mta.test"));
    assert!(data.unwrap().starts_with(b"v="));
    assert!(is_success(&world.scram(PEER, "alice@mta.test", PASSWORD, Some([9; 32])).await));
    assert_eq!(failure(&world.scram(PEER, "alice@mta.test", "wrong", Some([9; 32])).await), Some(Failure::Credentials));
}

/// Attack case AUTH-09, through the edge.
#[tokio::test]
async fn scram_fails_closed() {
    let world = World::new().await;
    let bound = Some([9; 32]);
    let downgrade = world.start("192.0.2.1", Mechanism::ScramSha256, b"y,,n=alice@mta.test,r=x", bound).await.body;
    assert_eq!(failure(&downgrade), Some(Failure::Credentials));
    let extension = world.start("192.0.2.2", Mechanism::ScramSha256, b"n,,m=x,n=alice@mta.test,r=x", None).await.body;
    assert_eq!(failure(&extension), Some(Failure::Credentials));
    let unbound = world.start("192.0.2.3", Mechanism::ScramSha256Plus, b"p=tls-exporter,,n=alice@mta.test,r=x", None).await.body;
    assert_eq!(failure(&unbound), Some(Failure::Credentials));
    let foreign = world.start("192.0.2.4", Mechanism::ScramSha256, b"n,a=bob@mta.test,n=alice@mta.test,r=x", None).await.body;
    assert_eq!(failure(&foreign), Some(Failure::Credentials));
    // A proof for bob does not open alice.
    let begun = world.start("192.0.2.5", Mechanism::ScramSha256, b"n,,n=alice@mta.test,r=x", None).await.body;
    let Response::Challenge { exchange, data } = begun else { panic!() };
    let challenge = String::from_utf8(data.into_vec()).unwrap();
    let proof = client_final(PASSWORD, "n,,", "n=bob@mta.test,r=x", b"", &challenge);
    assert_eq!(failure(&world.proceed(exchange, proof.as_bytes()).await), Some(Failure::Credentials));
}

/// Attack case AUTH-08: an exchange is consumed by its next step, whatever that was.
#[tokio::test]
async fn an_exchange_serves_one_answer() {
    let world = World::new().await;
    let begin = async || {
        let begun = world.start(PEER, Mechanism::ScramSha256, b"n,,n=alice@mta.test,r=nonce", None).await.body;
        let Response::Challenge { exchange, data } = begun else { panic!() };
        let last = client_final(PASSWORD, "n,,", "n=alice@mta.test,r=nonce", b"", std::str::from_utf8(&data).unwrap());
        (exchange, last)
    };
    let (exchange, last) = begin().await;
    assert_eq!(failure(&world.proceed(exchange, b"AGFsaWNlAHg=").await), Some(Failure::Malformed));
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    let (exchange, last) = begin().await;
    assert!(is_success(&world.proceed(exchange, last.as_bytes()).await));
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    let (exchange, last) = begin().await;
    assert_eq!(world.login.call(&Request::Abort { exchange }, &[]).await.unwrap().body, Response::Aborted);
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    let (exchange, last) = begin().await;
    world.pass(120);
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Malformed));
    // A removed account does not come back through an exchange that was begun before; nor does a changed world confuse it.
    let (exchange, last) = begin().await;
    let id = world.auth.directory().by_login(&address("alice@mta.test")).unwrap().id;
    world.auth.directory_mut().remove_account(id);
    assert_eq!(failure(&world.proceed(exchange, last.as_bytes()).await), Some(Failure::Credentials));
}

#[tokio::test]
async fn plain_messages_are_read_strictly() {
    let world = World::new().await;
    for bad in [&b""[..], b"alice", b"\0alice@mta.test", b"\0\0x", b"\0alice@mta.test\0", b"\0a\0b\0c", b"\0\xff\0x"] {
        let reply = world.start(PEER, Mechanism::Plain, bad, None).await;
        assert_eq!(failure(&reply.body), Some(Failure::Malformed), "{bad:?}");
    }
    let same = format!("Alice@mta.test\0alice@mta.test\0{PASSWORD}");
    assert!(is_success(&world.start(PEER, Mechanism::Plain, same.as_bytes(), None).await.body));
    let other = format!("bob@mta.test\0alice@mta.test\0{PASSWORD}");
    assert_eq!(failure(&world.start(PEER, Mechanism::Plain, other.as_bytes(), None).await.body), Some(Failure::Credentials));
}

/// Attack case AUTH-03: one past the limit is refused before any work.
#[tokio::test]
async fn long_passwords_are_not_hashed() {
    let world = World::new().await;
    let turns = [world.auth.hasher.turn(None, 1).await.unwrap(), world.auth.hasher.turn(None, 1).await.unwrap()];
    // No core is free, so an answer means that none was needed.
    let long = "x".repeat(MAX_PASSWORD + 1);
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", &long).await), Some(Failure::Credentials));
    drop(turns);
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", &"x".repeat(MAX_PASSWORD)).await), Some(Failure::Credentials));
}

/// Many connections of one mail program cost one check; a changed password ends that at once.
#[tokio::test]
async fn a_right_password_is_remembered_until_it_changes() {
    let world = World::new().await;
    let set = async |password: &str| {
        let request = auth_control::Request::SetPassword { address: address("locked@mta.test"), password: Password(password.into()) };
        assert_eq!(world.change(request).await, auth_control::Response::Done);
    };
    set("first word").await;
    assert!(is_success(&world.plain(PEER, "locked@mta.test", "first word").await));
    {
        // No core is free, so an answer means that none was needed.
        let _turns = [world.auth.hasher.turn(None, 1).await.unwrap(), world.auth.hasher.turn(None, 1).await.unwrap()];
        assert!(is_success(&world.plain(OTHER_PEER, "locked@mta.test", "first word").await));
    }
    set("second word").await;
    assert_eq!(failure(&world.plain(PEER, "locked@mta.test", "first word").await), Some(Failure::Credentials));
    assert!(is_success(&world.plain(PEER, "locked@mta.test", "second word").await));
}

#[tokio::test]
async fn who_fails_too_often_waits_and_others_do_not() {
    let world = World::new().await;
    for _ in 0..4 {
        assert_eq!(failure(&world.plain(PEER, "bob@mta.test", "wrong").await), Some(Failure::Credentials));
    }
    assert_eq!(failure(&world.plain(PEER, "bob@mta.test", "bob's own").await), Some(Failure::TooMany));
    assert_eq!(failure(&world.scram(PEER, "alice@mta.test", PASSWORD, None).await), Some(Failure::TooMany));
    assert_eq!(failure(&world.plain(PEER, "nosuch@mta.test", "x").await), Some(Failure::TooMany));
    assert!(is_success(&world.plain(OTHER_PEER, "bob@mta.test", "bob's own").await));
    assert!(is_success(&world.scram(OTHER_PEER, "alice@mta.test", PASSWORD, None).await));
    world.pass(10);
    assert!(is_success(&world.plain(PEER, "bob@mta.test", "bob's own").await));
}

/// A hundred guesses sent at once are counted like a hundred guesses sent one by one.
#[tokio::test]
async fn parallel_guesses_are_counted() {
    let world = Arc::new(World::new().await);
    let guesses: Vec<_> = (0..100)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { failure(&world.plain(PEER, "alice@mta.test", "wrong").await) })
        })
        .collect();
    let mut tried = 0;
    for guess in guesses {
        match guess.await.unwrap() {
            Some(Failure::Credentials) => tried += 1,
            other => assert_eq!(other, Some(Failure::TooMany)),
        }
    }
    // Three are free, the fourth shuts the door, and the second core may have begun another.
    assert!((4..=6).contains(&tried), "{tried}");
}

#[tokio::test]
async fn no_socket_is_a_temporary_failure() {
    let world = World::new().await;
    world.store.is_busy.store(true, Ordering::Relaxed);
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", PASSWORD).await), Some(Failure::Unavailable));
    world.store.is_busy.store(false, Ordering::Relaxed);
    assert!(is_success(&world.plain(PEER, "alice@mta.test", PASSWORD).await));
}

#[tokio::test]
async fn impossible_requests_end_the_connection_and_the_next_one_works() {
    let world = World::new().await;
    let request = Request::Start {
        session: SessionId(1),
        peer: PEER.parse().unwrap(),
        mechanism: Mechanism::ScramSha256Plus,
        initial: b"p=tls-exporter,,n=a,r=x".to_vec().into(),
        channel_binding: Some(vec![0; 31].into()),
    };
    assert!(world.login.call(&request, &[]).await.is_err());
    assert!(is_success(&world.plain(PEER, "alice@mta.test", PASSWORD).await));
}
