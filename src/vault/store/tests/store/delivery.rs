use crate::world::{ALICE, DELIVERED, Mail, NOW, World, name};
use std::{
    fs,
    os::{fd::AsFd, unix::fs::PermissionsExt},
};
use wire::{
    Error, MessageWriter,
    edge::{
        mail::QueueId,
        store_deliver::{Request, Response},
        store_session::{Request as Ask, Response as Answer, SortKeys, Want},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_readable_byte_for_byte() {
    let world = World::new();
    let mail = Mail { id: "1@x".into(), sent_at: Some(5), ..Mail::new("Hello", "wörld\r\n") };
    assert_eq!(world.deliver(1, &mail).await, DELIVERED);
    let mut front = world.session().await;
    let (uids, inbox) = front.open("INBOX").await;
    assert_eq!((uids, inbox.messages, inbox.unseen, inbox.uid_next), (vec![1], 1, 1, 2));
    let mut expected = b"Return-Path: <>\r\n".to_vec();
    expected.extend(mail.bytes());
    assert_eq!(inbox.size, expected.len() as u64);
    assert_eq!(front.bodies(inbox.id, &[(1, u32::MAX)]).await, [expected]);

    let want = [Want::FLAGS, Want::DATE, Want::ENVELOPE, Want::STRUCTURE, Want::IDS, Want::SORT, Want::SENT, Want::PREVIEW];
    let row = &front.fetch(inbox.id, &[(1, 1)], want.into_iter().fold(Want::default(), Want::union)).await[0];
    assert_eq!((row.received_at, row.size, row.body, row.email, row.thread), (Some(NOW), None, None, Some(1), Some(1)));
    let envelope: pure_index::Envelope = wire::decode(row.envelope.as_ref().unwrap()).unwrap();
    assert_eq!(envelope.subject.unwrap().as_slice(), b"Hello");
    let structure: pure_index::Structure = wire::decode(row.structure.as_ref().unwrap()).unwrap();
    assert_eq!(u64::from(structure.root().unwrap().body.end), inbox.size);
    let sort: SortKeys = wire::decode(row.sort.as_ref().unwrap()).unwrap();
    assert_eq!((row.sent_at.unwrap(), sort.subject.as_str(), sort.from.as_str(), sort.message_id.as_str()), (5, "hello", "bob", "1@x"));
    assert_eq!(row.preview.as_deref(), Some("wörld\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_delivery_changes_nothing() {
    let world = World::new();
    let mail = Mail::new("once", "x");
    for _ in 0..3 {
        assert_eq!(world.deliver(7, &mail).await, DELIVERED);
    }
    assert_eq!(world.session().await.mailbox("INBOX").await.messages, 1);
    // Nor at the same time, nor after the message was removed and the process was killed.
    let world = world.killed();
    let (a, b, c) = tokio::join!(world.deliver(7, &mail), world.deliver(8, &mail), world.deliver(8, &mail));
    assert_eq!([a, b, c], [DELIVERED; 3]);
    assert_eq!(world.session().await.mailbox("INBOX").await.messages, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_deliveries_all_arrive_once() {
    let world = std::sync::Arc::new(World::new());
    let tasks: Vec<_> = (0..300u64)
        .map(|n| {
            let world = world.clone();
            // Three accounts, each id twice in each.
            tokio::spawn(async move { world.deliver_to(ALICE + n % 3, n / 6, &Mail::new("x", &n.to_string()), "INBOX").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), DELIVERED);
    }
    world.sync().await;
    let mut total = 0;
    for account in 0..3 {
        let mut front = world.session_of(ALICE + account).await;
        let (uids, inbox) = front.open("INBOX").await;
        assert_eq!(uids, (1..=inbox.messages).collect::<Vec<_>>());
        assert_eq!(front.bodies(inbox.id, &[(1, u32::MAX)]).await.len(), uids.len());
        total += inbox.messages;
    }
    assert_eq!(total, 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settled_ids_are_forgotten_and_others_kept() {
    let world = World::new();
    let mail = Mail::new("x", "x");
    world.deliver(1_000, &mail).await;
    let reply = world.queue.call(&Request::Settled(QueueId(1_000)), &[]).await.unwrap();
    assert_eq!(reply.body, Response::Settled);
    for n in 1..=300 {
        world.deliver(n, &mail).await;
    }
    world.deliver(1_000, &mail).await;
    assert_eq!(world.session().await.mailbox("INBOX").await.messages, 301);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_mailbox_means_inbox() {
    let world = World::new();
    world.deliver_to(ALICE, 1, &Mail::new("x", "x"), "Junk").await;
    world.deliver_to(ALICE, 2, &Mail::new("x", "x"), "No/Such").await;
    let mut front = world.session().await;
    assert_eq!(front.mailbox("Junk").await.messages, 1);
    assert_eq!(front.mailbox("INBOX").await.messages, 1);
    assert_eq!(front.call(&Ask::Mailbox(name("No/Such"))).await, Answer::Refused(wire::edge::store_session::Refusal::NoSuchMailbox));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_in_pieces() {
    let world = World::new();
    let text: String = (0..1_500_000u32).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    let mail = Mail::new("large", &text);
    assert_eq!(world.deliver(1, &mail).await, DELIVERED);
    let mut front = world.session().await;
    let id = front.id("INBOX").await;
    let bodies = front.bodies(id, &[(1, 1)]).await;
    assert!(bodies[0].ends_with(&mail.bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_share_a_thread() {
    let world = World::new();
    let mail = |id: &str, refs: &[&str], subject: &str| Mail {
        id: id.into(),
        references: refs.iter().map(|r| (*r).to_owned()).collect(),
        ..Mail::new(subject, "x")
    };
    for (n, mail) in [
        mail("a", &[], "Plan"),
        mail("b", &["a"], "Re: Plan"),
        // Another subject is another thread (RFC 8621 3).
        mail("c", &["a"], "Lunch"),
        // Both answer a message that comes last.
        mail("e", &["d"], "Re: Late"),
        mail("d", &[], "Late"),
        mail("", &[], "Plan"),
    ]
    .iter()
    .enumerate()
    {
        world.deliver(n as u64, mail).await;
    }
    let mut front = world.session().await;
    let id = front.id("INBOX").await;
    let threads: Vec<u64> = front.fetch(id, &[(1, 6)], Want::IDS).await.iter().map(|r| r.thread.unwrap()).collect();
    assert_eq!(threads, [1, 1, 3, 4, 4, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_accounts_than_may_be_open() {
    let world = World::with(std::sync::Arc::new(tempfile::tempdir().unwrap()), 4);
    for round in 0..3u64 {
        for account in 1..=20u64 {
            assert_eq!(world.deliver_to(account, round, &Mail::new("x", "x"), "INBOX").await, DELIVERED);
        }
    }
    world.sync().await;
    for account in 1..=20 {
        assert_eq!(world.session_of(account).await.mailbox("INBOX").await.messages, 3);
    }
}

/// What the queue may not send ends its connection, and the next one works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_deliveries_are_refused() {
    let world = World::new();
    let sealed = MessageWriter::sealed(b"x").unwrap();
    assert!(matches!(world.queue.call(&Request::Sync, &[sealed.as_fd()]).await, Err(Error::Closed | Error::Io(_))));
    let null = fs::File::open("/dev/null").unwrap();
    assert!(world.queue.call(&Request::Settled(QueueId(1)), &[null.as_fd()]).await.is_err());
    assert_eq!(world.deliver(1, &Mail::new("x", "x")).await, DELIVERED);
}

/// Attack case SBX-08: nothing of an account can be read by others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_private() {
    let world = World::new();
    world.deliver(1, &Mail::new("x", "x")).await;
    let mut seen = 0;
    for dir in [world.dir.path().join("accounts"), world.files(ALICE)] {
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o77, 0);
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o77, 0, "{entry:?}");
            seen += 1;
        }
    }
    assert!(seen >= 4);
}
