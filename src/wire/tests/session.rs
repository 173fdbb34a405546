//! A session owned by one task: answers in parts, events in between, and peers that do not keep to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is its report")]

use std::time::Duration;
use wire::{Conn, Edge, Error, Reply, Served, Session};

#[derive(Debug)]
struct Counter;

impl Edge for Counter {
    const NAME: &'static str = "counter";
    const MAX_BODY: usize = 4096;
    const MAX_FDS: usize = 1;
    const PATIENCE: Duration = Duration::from_secs(10);
    type Request = u32;
    type Response = u32;
    type Event = String;
}

const PATIENCE: Duration = Duration::from_secs(10);

async fn pair() -> (Session<Counter>, Served<Counter>) {
    let (client, server) = Conn::pair().unwrap();
    let (client, server) = tokio::join!(Session::new(client), Served::new(server, PATIENCE));
    (client.unwrap(), server.unwrap())
}

/// Answers n with the parts 1..n and the last answer n, and an event before each part.
async fn count(served: Served<Counter>) {
    while let Ok((id, n, _)) = served.request().await {
        if n == 0 {
            served.refuse(id).await.unwrap();
            continue;
        }
        for part in 1..n {
            served.event(&format!("before {part}")).await.unwrap();
            served.part(id, &Reply::new(part)).await.unwrap();
        }
        served.answer(id, &Reply::new(n)).await.unwrap();
    }
}

#[tokio::test]
async fn parts_and_events() {
    let (mut session, served) = pair().await;
    tokio::spawn(count(served));
    session.start(&3, &[]).await.unwrap();
    let mut parts = Vec::new();
    while let Some(reply) = session.next().await.unwrap() {
        parts.push(reply.body);
    }
    assert_eq!(parts, [1, 2, 3]);
    assert_eq!(session.pending_event().as_deref(), Some("before 1"));
    assert_eq!(session.event().await.unwrap(), "before 2");
    assert_eq!(session.pending_event(), None);
    assert_eq!(session.call(&1, &[]).await.unwrap().body, 1);
    assert!(matches!(session.call(&0, &[]).await, Err(Error::Refused)));
    assert_eq!(session.call(&1, &[]).await.unwrap().body, 1);
}

#[tokio::test]
async fn an_answer_left_unread_is_read_before_the_next_request() {
    let (mut session, served) = pair().await;
    tokio::spawn(count(served));
    session.start(&3, &[]).await.unwrap();
    assert_eq!(session.next().await.unwrap().unwrap().body, 1);
    assert_eq!(session.call(&1, &[]).await.unwrap().body, 1);
}

#[tokio::test]
async fn waiting_for_an_event_can_be_given_up() {
    let (mut session, served) = pair().await;
    assert!(tokio::time::timeout(Duration::ZERO, session.event()).await.is_err());
    served.event(&"later".to_owned()).await.unwrap();
    assert_eq!(session.event().await.unwrap(), "later");
}

#[tokio::test]
async fn an_answer_to_another_request_ends_the_session() {
    let (mut session, served) = pair().await;
    let server = async {
        let (id, n, _) = served.request().await.unwrap();
        served.answer(id + 1, &Reply::new(n)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(session.call(&5, &[]), server);
    assert!(matches!(answer, Err(Error::Malformed(_))));
}

#[tokio::test]
async fn a_server_of_another_edge_is_not_greeted() {
    #[derive(Debug)]
    struct Other;
    impl Edge for Other {
        const NAME: &'static str = "other";
        const MAX_BODY: usize = 4096;
        const MAX_FDS: usize = 0;
        const PATIENCE: Duration = Duration::from_secs(10);
        type Request = u32;
        type Response = u32;
        type Event = String;
    }
    let (client, server) = Conn::pair().unwrap();
    let (client, server) = tokio::join!(Session::<Counter>::new(client), Served::<Other>::new(server, PATIENCE));
    assert!(matches!(client.map(|_| ()), Err(Error::Malformed(_))));
    assert!(matches!(server.map(|_| ()), Err(Error::Malformed(_))));
}
