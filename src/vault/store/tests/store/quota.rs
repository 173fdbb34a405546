use crate::world::{DELIVERED, Mail, World, flags, name, uids};
use std::sync::Arc;
use wire::edge::{
    store_deliver,
    store_session::{Refusal, Request, Response, SystemFlags},
};

fn kib(n: usize) -> Mail {
    Mail::new("x", &"y".repeat(n * 1024))
}

/// Attack case QUOTA-01: parallel APPEND, MULTIAPPEND, COPY and delivery never exceed the quota together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mix_of_parallel_requests_exceeds_the_quota() {
    let mut world = World::new();
    world.quota = Some(100 * 1024);
    let world = Arc::new(world);
    assert_eq!(world.deliver(0, &kib(9)).await, DELIVERED);
    let inbox = world.session().await.id("INBOX").await;
    let tasks: Vec<_> = (1..=50u64)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut front = world.session().await;
                match n % 4 {
                    0 => world.deliver(n, &kib(9)).await == DELIVERED,
                    1 => matches!(front.append("Drafts", &[(kib(9), flags(&[], &[]))]).await, Response::Appended { .. }),
                    2 => {
                        let two = [(kib(4), flags(&[], &[])), (kib(4), flags(&[], &[]))];
                        matches!(front.append("Drafts", &two).await, Response::Appended { .. })
                    }
                    _ => {
                        let copy = Request::Copy { mailbox: inbox, uids: uids(&[(1, 1)]), to: name("Archive"), r#move: false };
                        matches!(front.call(&copy).await, Response::Copied { .. })
                    }
                }
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += u32::from(task.await.unwrap());
    }
    let mut front = world.session().await;
    let Response::Quota { used, limit, messages } = front.call(&Request::Quota).await else { panic!() };
    assert!(used <= 100 * 1024 && used > 85 * 1024, "{used}");
    assert_eq!(limit, Some(100 * 1024));
    assert!((9..=12).contains(&done), "{done}");
    let mut sum = (0, 0);
    for path in ["INBOX", "Drafts", "Archive"] {
        let mailbox = front.mailbox(path).await;
        sum = (sum.0 + mailbox.size, sum.1 + u64::from(mailbox.messages));
    }
    assert_eq!(sum, (used, messages));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_comes_back_and_a_repetition_needs_none() {
    let mut world = World::new();
    world.quota = Some(20 * 1024);
    assert_eq!(world.deliver(1, &kib(15)).await, DELIVERED);
    let store_deliver::Response::OverQuota { room } = world.deliver(2, &kib(15)).await else { panic!() };
    assert!((4 * 1024..5 * 1024).contains(&room), "{room}");
    assert_eq!(world.deliver(1, &kib(15)).await, DELIVERED);
    let mut front = world.session().await;
    let mailbox = front.id("INBOX").await;
    assert_eq!(front.append("Sent", &[(kib(10), flags(&[], &[]))]).await, Response::Refused(Refusal::OverQuota));
    // A move needs no room.
    let moved = front.call(&Request::Copy { mailbox, uids: uids(&[(1, 1)]), to: name("Trash"), r#move: true }).await;
    assert!(matches!(moved, Response::Copied { .. }));
    let trash = front.id("Trash").await;
    let change = Request::SetFlags {
        mailbox: trash,
        uids: uids(&[(1, 1)]),
        change: wire::edge::store_session::FlagChange::Add,
        flags: flags(&[SystemFlags::DELETED], &[]),
        unchanged_since: None,
    };
    front.rows(&change).await;
    front.parts(&Request::Expunge { mailbox: trash, uids: None }).await;
    // The refused delivery had left nothing that would make it a repetition.
    assert_eq!(world.deliver(2, &kib(15)).await, DELIVERED);
    assert_eq!(front.mailbox("INBOX").await.messages, 1);
}

/// Attack case QUOTA-01: counts of mailboxes and keywords are limited too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_counted() {
    use wire::edge::store_session::{FlagChange, MAX_MAILBOXES};
    let world = World::new();
    let mut front = world.session().await;
    // Sixteen levels at a time.
    let mut made = front.names().await.len();
    let mut n = 0;
    while made + 16 <= MAX_MAILBOXES {
        let path = format!("{n}{}", "/x".repeat(15));
        assert!(matches!(front.call(&Request::Create { name: name(&path), role: None }).await, Response::Mailbox(_)));
        (made, n) = (made + 16, n + 1);
    }
    front.refused(&Request::Create { name: name(&format!("last{}", "/x".repeat(15))), role: None }, Refusal::Limit).await;
    assert_eq!(front.names().await.len(), made);

    world.deliver(1, &Mail::new("x", "x")).await;
    let mailbox = front.id("INBOX").await;
    let set = |n: usize, change| {
        let keywords: Vec<String> = (0..50).map(|k| format!("k{n}-{k}")).collect();
        let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        Request::SetFlags { mailbox, uids: uids(&[(1, 1)]), change, flags: flags(&[], &keywords), unchanged_since: None }
    };
    for n in 0..20 {
        assert_eq!(front.rows(&set(n, FlagChange::Replace)).await.len(), 1);
    }
    // 1,000 keywords of the account; 64 of a message.
    front.refused(&set(20, FlagChange::Replace), Refusal::Limit).await;
    front.refused(&set(0, FlagChange::Add), Refusal::Limit).await;
}
