use crate::world::{ALICE, Mail, NOW, World, flags, flat, name, uids};
use pure_index::MessageIndex;
use rustix::fs::{OFlags, fcntl_getfl};
use std::os::fd::AsFd;
use wire::{
    List, MessageWriter,
    edge::{
        mail::QueueId,
        store_deliver::{self, Delivery, DeliveryId},
        store_session::{Append, FlagChange, Flags, MAX_ROWS, MailboxId, ModSeq, Refusal, Request, Response, SystemFlags, Want},
    },
};

fn set(mailbox: MailboxId, ranges: &[(u32, u32)], change: FlagChange, flags: Flags) -> Request {
    Request::SetFlags { mailbox, uids: uids(ranges), change, flags, unchanged_since: None }
}

fn none() -> Flags {
    Flags::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_change_and_count() {
    let world = World::new();
    for n in 0..4 {
        world.deliver(n, &Mail::new("x", "x")).await;
    }
    let mut front = world.session().await;
    let before = front.mailbox("INBOX").await;
    let id = before.id;
    let seen = flags(&[SystemFlags::SEEN], &["$Junk"]);
    let rows = front.rows(&set(id, &[(1, 2), (4, 9)], FlagChange::Add, seen.clone())).await;
    assert_eq!(rows.iter().map(|r| r.uid).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(rows.iter().all(|r| r.flags.as_ref() == Some(&seen) && r.modseq > before.highest_modseq));
    assert_eq!(front.mailbox("INBOX").await.unseen, 1);
    // Nothing changes, nothing is told; keywords are equal whatever their case.
    assert!(front.rows(&set(id, &[(1, 2)], FlagChange::Add, flags(&[SystemFlags::SEEN], &["$JUNK"]))).await.is_empty());
    let rows = front.rows(&set(id, &[(1, 4)], FlagChange::Remove, flags(&[], &["$junk", "$unknown"]))).await;
    assert_eq!(rows.len(), 3);
    let rows = front.rows(&set(id, &[(1, 4)], FlagChange::Replace, flags(&[SystemFlags::DELETED], &["a", "b"]))).await;
    assert_eq!((rows.len(), rows[0].flags.as_ref()), (4, Some(&flags(&[SystemFlags::DELETED], &["a", "b"]))));
    let after = front.mailbox("INBOX").await;
    assert_eq!((after.unseen, after.deleted, after.highest_modseq), (4, 4, rows[0].modseq));
    assert_eq!(front.fetch(id, &[(2, 2)], Want::FLAGS).await[0].flags, rows[1].flags);
    front.refused(&set(id, &[(3, 2)], FlagChange::Add, none()), Refusal::Malformed).await;
    front.refused(&set(MailboxId(77), &[(1, 2)], FlagChange::Add, none()), Refusal::NoSuchMailbox).await;
}

/// RFC 7162 3.1.3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_since_keeps_back() {
    let world = World::new();
    for n in 0..3 {
        world.deliver(n, &Mail::new("x", "x")).await;
    }
    let mut front = world.session().await;
    let known = front.mailbox("INBOX").await;
    front.rows(&set(known.id, &[(2, 2)], FlagChange::Add, flags(&[SystemFlags::FLAGGED], &[]))).await;
    let request = Request::SetFlags {
        mailbox: known.id,
        uids: uids(&[(1, 9)]),
        change: FlagChange::Add,
        flags: flags(&[SystemFlags::SEEN], &[]),
        unchanged_since: Some(known.highest_modseq),
    };
    let parts = front.parts(&request).await;
    let [modified, rows, done] = &parts[..] else { panic!("{parts:?}") };
    assert!(matches!(&modified.body, Response::Modified(uids) if flat(uids) == [2]));
    assert!(matches!(&rows.body, Response::Rows(rows) if rows.iter().map(|r| r.uid).eq([1, 3])));
    assert_eq!(done.body, Response::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_tell_exactly_what_happened() {
    let world = World::new();
    for n in 0..10 {
        world.deliver(n, &Mail::new("x", "x")).await;
    }
    let mut front = world.session().await;
    let known = front.mailbox("INBOX").await;
    let (vanished, rows, same) = front.changes(known.id, known.highest_modseq.0).await;
    assert_eq!((vanished, rows.len(), same), (vec![], 0, known.clone()));
    front.rows(&set(known.id, &[(2, 3), (5, 5)], FlagChange::Add, flags(&[SystemFlags::DELETED], &[]))).await;
    front.rows(&set(known.id, &[(7, 7)], FlagChange::Add, flags(&[SystemFlags::SEEN], &[]))).await;
    let parts = front.parts(&Request::Expunge { mailbox: known.id, uids: Some(uids(&[(3, 5)])) }).await;
    assert!(matches!(&parts[0].body, Response::Vanished(uids) if flat(uids) == [3, 5]));
    world.deliver(10, &Mail::new("x", "x")).await;
    let (vanished, rows, now) = front.changes(known.id, known.highest_modseq.0).await;
    assert_eq!(vanished, [3, 5]);
    assert_eq!(rows.iter().map(|r| r.uid).collect::<Vec<_>>(), [2, 7, 11]);
    assert!(rows.iter().all(|r| r.flags.is_some() && r.modseq > known.highest_modseq));
    assert_eq!((now.messages, now.uid_next, now.deleted, now.unseen), (9, 12, 1, 8));
    // All of it, from the beginning.
    let (vanished, rows, _) = front.changes(known.id, 0).await;
    assert_eq!((vanished, rows.len()), (vec![3, 5], 9));
    let changed =
        Request::Fetch { mailbox: known.id, uids: uids(&[(1, 10)]), changed_since: Some(known.highest_modseq), want: Want::FLAGS };
    assert_eq!(front.rows(&changed).await.iter().map(|r| r.uid).collect::<Vec<_>>(), [2, 7]);
    let (left, _) = front.open("INBOX").await;
    assert_eq!(left, [1, 2, 4, 6, 7, 8, 9, 10, 11]);
    front.refused(&Request::Changes { mailbox: known.id, since: ModSeq(u64::MAX) }, Refusal::Malformed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vanished_too_long_ago_is_told_as_everything_missing() {
    let world = World::new();
    let mut front = world.session().await;
    let id = front.id("Drafts").await;
    let limit = postern_store::limits::MAX_VANISHED;
    // Every second message vanishes, so that each takes a row.
    let batch: Vec<_> = (0..16).map(|_| (Mail::new("x", "x"), none())).collect();
    front.append("Drafts", &batch).await;
    let mut total = 16;
    while total < limit * 2 + 1_000 {
        // Copies double what is there, which is quicker than appending.
        let copy = Request::Copy { mailbox: id, uids: uids(&[(1, u32::MAX)]), to: name("Drafts"), r#move: false };
        assert!(matches!(front.call(&copy).await, Response::Copied { .. }));
        total *= 2;
    }
    let known = front.mailbox("Drafts").await;
    assert_eq!(known.messages, total);
    let mut first = 2;
    let mut vanished = 0;
    while first < total {
        let last = (first + 5_000).min(total);
        let even: Vec<(u32, u32)> = (first..=last).filter(|uid| uid % 2 == 0).map(|uid| (uid, uid)).collect();
        front.rows(&set(id, &even, FlagChange::Add, flags(&[SystemFlags::DELETED], &[]))).await;
        front.parts(&Request::Expunge { mailbox: id, uids: None }).await;
        vanished += even.len();
        first = last + 1;
    }
    assert!(vanished > limit as usize);
    let (told, _, now) = front.changes(id, known.highest_modseq.0).await;
    assert_eq!(told.len(), vanished);
    assert!(told.iter().all(|uid| uid % 2 == 0));
    // The newest are still known in detail.
    front.rows(&set(id, &[(1, 1)], FlagChange::Add, flags(&[SystemFlags::DELETED], &[]))).await;
    front.parts(&Request::Expunge { mailbox: id, uids: None }).await;
    assert_eq!(front.changes(id, now.highest_modseq.0).await.0, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_messages_come_in_frames() {
    let world = World::new();
    let mut front = world.session().await;
    let id = front.id("Drafts").await;
    let text = "z".repeat(500);
    let subject = "m".repeat(900);
    let batch: Vec<_> = (0..16).map(|n| (Mail::new(&format!("{subject}{n}"), &text), flags(&[SystemFlags::DRAFT], &["k"]))).collect();
    for _ in 0..125 {
        assert!(matches!(front.append("Drafts", &batch).await, Response::Appended { .. }));
    }
    for (want, least) in
        [(Want::FLAGS, 5), (Want::FLAGS.union(Want::ENVELOPE).union(Want::STRUCTURE), 20), (Want::BODY.union(Want::SIZE), 5)]
    {
        let request = Request::Fetch { mailbox: id, uids: uids(&[(1, u32::MAX)]), changed_since: None, want };
        let parts = front.parts(&request).await;
        let mut next = 1;
        for part in &parts {
            let Response::Rows(rows) = &part.body else { continue };
            assert!(rows.len() <= MAX_ROWS && wire::encode(&part.body).unwrap().len() <= wire::frame::MAX_INLINE);
            assert_eq!(part.fds.len(), usize::from(want.contains(Want::BODY)), "one segment, one descriptor");
            for row in rows {
                assert_eq!(row.uid, next);
                next += 1;
            }
        }
        assert_eq!(next, 2_001);
        assert!(parts.len() >= least, "{}", parts.len());
    }
    let sparse: Vec<(u32, u32)> = (1..=400).map(|n| (n * 5, n * 5)).collect();
    assert_eq!(front.fetch(id, &sparse, Want::DATE).await.len(), 400);
    assert_eq!(front.bodies(id, &[(3, 3), (1999, 5000)]).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_are_read_only() {
    let world = World::new();
    world.deliver(1, &Mail::new("x", "x")).await;
    let mut front = world.session().await;
    let mailbox = front.id("INBOX").await;
    let parts = front.parts(&Request::Fetch { mailbox, uids: uids(&[(1, 1)]), changed_since: None, want: Want::BODY }).await;
    let fd = &parts[0].fds[0];
    assert_eq!(fcntl_getfl(fd).unwrap() & OFlags::ACCMODE, OFlags::RDONLY);
    assert!(rustix::io::write(fd, b"x").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_share_the_body_and_keep_flags() {
    let world = World::new();
    for n in 0..3 {
        world.deliver(n, &Mail::new("x", &n.to_string())).await;
    }
    let mut front = world.session().await;
    let inbox = front.id("INBOX").await;
    front.rows(&set(inbox, &[(2, 2)], FlagChange::Add, flags(&[SystemFlags::SEEN], &["k"]))).await;
    let copy = |ranges: &[(u32, u32)], to: &str, r#move| Request::Copy { mailbox: inbox, uids: uids(ranges), to: name(to), r#move };
    let archive = front.mailbox("Archive").await;
    let copied = front.call(&copy(&[(2, 99)], "Archive", false)).await;
    let expected = Response::Copied { uid_validity: archive.uid_validity, from: uids(&[(2, 3)]), to: uids(&[(1, 2)]) };
    assert_eq!(copied, expected);
    let rows = front.fetch(archive.id, &[(1, 2)], Want::FLAGS.union(Want::IDS).union(Want::DATE)).await;
    assert_eq!(
        (rows[0].email, rows[0].received_at, rows[0].flags.clone()),
        (Some(2), Some(NOW), Some(flags(&[SystemFlags::SEEN], &["k"])))
    );
    assert_eq!(front.mailbox("Archive").await.unseen, 1);

    // The original goes, the copy stays readable, also after housekeeping.
    front.rows(&set(inbox, &[(2, 2)], FlagChange::Add, flags(&[SystemFlags::DELETED], &[]))).await;
    front.parts(&Request::Expunge { mailbox: inbox, uids: None }).await;
    world.housekeep().await;
    assert!(front.bodies(archive.id, &[(1, 1)]).await[0].ends_with(b"1"));

    let moved = front.call(&copy(&[(1, 3)], "Archive", true)).await;
    let expected = Response::Copied { uid_validity: archive.uid_validity, from: uids(&[(1, 1), (3, 3)]), to: uids(&[(3, 4)]) };
    assert_eq!(moved, expected);
    let now = front.mailbox("INBOX").await;
    assert_eq!((now.messages, now.size, now.unseen), (0, 0, 0));
    let nothing = front.call(&copy(&[(1, 3)], "Archive", true)).await;
    assert_eq!(nothing, Response::Copied { uid_validity: archive.uid_validity, from: uids(&[]), to: uids(&[]) });
    front.refused(&copy(&[(1, 1)], "No", false), Refusal::NoSuchMailbox).await;
    front.refused(&copy(&[(0, 1)], "Archive", false), Refusal::Malformed).await;
    // Within one mailbox: new UIDs, not for ever.
    let same = Request::Copy { mailbox: archive.id, uids: uids(&[(1, u32::MAX)]), to: name("Archive"), r#move: false };
    let expected = Response::Copied { uid_validity: archive.uid_validity, from: uids(&[(1, 4)]), to: uids(&[(5, 8)]) };
    assert_eq!(front.call(&same).await, expected);
    let same = Request::Copy { mailbox: archive.id, uids: uids(&[(1, 2)]), to: name("Archive"), r#move: true };
    let expected = Response::Copied { uid_validity: archive.uid_validity, from: uids(&[(1, 2)]), to: uids(&[(9, 10)]) };
    assert_eq!(front.call(&same).await, expected);
    let (left, _) = front.open("Archive").await;
    assert_eq!(left, [3, 4, 5, 6, 7, 8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_all_or_none() {
    let world = World::new();
    let mut front = world.session().await;
    let drafts = front.mailbox("Drafts").await;
    let good = (Mail::new("fine", "text"), flags(&[SystemFlags::SEEN], &["$x"]));
    let appended = front.append("Drafts", &[good.clone(), good.clone()]).await;
    let range = wire::edge::store_session::UidRange { first: 1, last: 2 };
    assert_eq!(appended, Response::Appended { uid_validity: drafts.uid_validity, uids: range });
    let row = &front.fetch(drafts.id, &[(1, 1)], Want::FLAGS).await[0];
    assert_eq!(row.flags, Some(good.1.clone()));
    assert_eq!(front.bodies(drafts.id, &[(2, 2)]).await, [good.0.bytes()]);
    for (bad, why) in [("lie", Refusal::Unavailable), ("fail", Refusal::Unavailable)] {
        assert_eq!(front.append("Drafts", &[good.clone(), (Mail::new(bad, ""), none())]).await, Response::Refused(why));
    }
    assert_eq!(front.append("None", std::slice::from_ref(&good)).await, Response::Refused(Refusal::NoSuchMailbox));
    let huge = MessageWriter::sealed(&vec![b'x'; (32 << 20) + 1]).unwrap();
    let one = wire::edge::store_session::Append { flags: none(), received_at: None };
    let request = Request::Append { to: name("Drafts"), messages: List::new(vec![one.clone()]).unwrap() };
    assert_eq!(front.0.call(&request, &[huge.as_fd()]).await.unwrap().body, Response::Refused(Refusal::Limit));
    assert_eq!(front.mailbox("Drafts").await.messages, 2);
    // Without INTERNALDATE it is now.
    let sealed = MessageWriter::sealed(b"Subject: x\r\n\r\n").unwrap();
    front.0.call(&request, &[sealed.as_fd()]).await.unwrap();
    assert_eq!(front.fetch(drafts.id, &[(3, 3)], Want::DATE).await[0].received_at, Some(NOW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_front_end_ends_its_own_session() {
    let world = World::new();
    let sealed = MessageWriter::sealed(b"x").unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let one = wire::edge::store_session::Append { flags: none(), received_at: None };
    let append = |n| Request::Append { to: name("Drafts"), messages: List::new(vec![one.clone(); n]).unwrap() };
    for (request, fds) in
        [(Request::Quota, vec![sealed.as_fd()]), (append(2), vec![sealed.as_fd()]), (append(0), vec![]), (append(1), vec![null.as_fd()])]
    {
        let mut front = world.session().await;
        assert!(front.0.call(&request, &fds).await.is_err(), "{request:?}");
    }
    assert_eq!(world.session().await.mailbox("Drafts").await.messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expunged_bytes_are_released_when_nobody_can_read_them() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let text = "q".repeat(100_000);
    for n in 0..4 {
        world.deliver(n, &Mail::new("x", &text)).await;
    }
    let blocks = || std::fs::metadata(world.files(ALICE).join("seg-1")).unwrap().blocks();
    world.sync().await;
    let full = blocks();
    let mut front = world.session().await;
    let inbox = front.id("INBOX").await;
    front.rows(&set(inbox, &[(2, 3)], FlagChange::Add, flags(&[SystemFlags::DELETED], &[]))).await;
    front.parts(&Request::Expunge { mailbox: inbox, uids: None }).await;
    world.housekeep().await;
    assert_eq!(blocks(), full, "a session may still be reading");
    world.clock.fetch_add(postern_store::limits::GARBAGE_GRACE + 1, std::sync::atomic::Ordering::Relaxed);
    world.housekeep().await;
    assert!(blocks() < full * 6 / 10, "{} of {full}", blocks());
    let bodies = front.bodies(inbox, &[(1, 4)]).await;
    assert!(bodies.len() == 2 && bodies.iter().all(|b| b.ends_with(text.as_bytes())));
}

/// RFC 9051 2.3.1.1: what a session is sending stays what it was, however long that takes and however much is expunged meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_a_session_may_be_sending_stay() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let text = "q".repeat(100_000);
    world.deliver(1, &Mail::new("x", &text)).await;
    let blocks = || std::fs::metadata(world.files(ALICE).join("seg-1")).unwrap().blocks();
    world.sync().await;
    let full = blocks();
    let (mut slow, mut other) = (world.session().await, world.session().await);
    let inbox = slow.id("INBOX").await;
    assert_eq!(slow.fetch(inbox, &[(1, 1)], Want::BODY).await.len(), 1);
    other.rows(&set(inbox, &[(1, 1)], FlagChange::Add, flags(&[SystemFlags::DELETED], &[]))).await;
    other.parts(&Request::Expunge { mailbox: inbox, uids: None }).await;
    world.clock.fetch_add(postern_store::limits::GARBAGE_GRACE + 1, std::sync::atomic::Ordering::Relaxed);
    world.housekeep().await;
    assert_eq!(blocks(), full);
    // Whoever asks for something else has sent what it had.
    slow.call(&Request::Quota).await;
    world.housekeep().await;
    assert!(blocks() < full / 2, "{} of {full}", blocks());
}

/// RFC 7162 3.1.3: under UNCHANGEDSINCE all are told of, also those that had the flag; the modification sequence of before comes with each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_are_set_in_steps_and_told_with_what_was_before() {
    let world = World::new();
    let mut front = world.session().await;
    for n in 0..3 {
        world.deliver(n, &Mail::new("x", "y")).await;
    }
    let inbox = front.mailbox("INBOX").await;
    let seen = flags(&[SystemFlags::SEEN], &[]);
    let first = front.rows(&set(inbox.id, &[(2, 2)], FlagChange::Add, seen.clone())).await;
    assert!(first[0].before.unwrap() < first[0].modseq);
    let again = front.rows(&set(inbox.id, &[(1, 3)], FlagChange::Add, seen.clone())).await;
    assert_eq!(again.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 3]);
    let now = front.mailbox("INBOX").await.highest_modseq;
    let guarded =
        Request::SetFlags { mailbox: inbox.id, uids: uids(&[(1, 3)]), change: FlagChange::Add, flags: seen, unchanged_since: Some(now) };
    let told = front.rows(&guarded).await;
    assert_eq!(told.iter().map(|row| (row.uid, row.before == Some(row.modseq))).collect::<Vec<_>>(), [(1, true), (2, true), (3, true)]);
    assert_eq!(front.mailbox("INBOX").await.highest_modseq, now);
    // More than one step.
    let steps = postern_store::limits::CHANGE_STEP as u32 * 2 + 7;
    while front.mailbox("Drafts").await.messages < steps {
        let (from, count) = if front.mailbox("Drafts").await.messages == 0 { (inbox.id, 3) } else { (front.id("Drafts").await, u32::MAX) };
        front.call(&Request::Copy { mailbox: from, uids: uids(&[(1, count)]), to: name("Drafts"), r#move: false }).await;
    }
    let work = front.mailbox("Drafts").await;
    let flagged = front.rows(&set(work.id, &[(1, u32::MAX)], FlagChange::Add, flags(&[SystemFlags::FLAGGED], &[]))).await;
    assert_eq!(flagged.len(), work.messages as usize);
    assert!(flagged.is_sorted_by_key(|row| row.uid));
}

/// RFC 3502 2: nothing of an APPEND with an empty message goes in, and nothing is in the way of what comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_message_is_refused() {
    let world = World::new();
    let mut front = world.session().await;
    let (empty, whole) = (MessageWriter::sealed(b"").unwrap(), MessageWriter::sealed(b"Subject: a\r\n\r\nhello").unwrap());
    let append = Append { flags: flags(&[SystemFlags::DELETED], &[]), received_at: None };
    for bodies in [vec![&empty], vec![&whole, &empty], vec![&empty, &whole]] {
        let messages = List::new(vec![append.clone(); bodies.len()]).unwrap();
        let fds: Vec<_> = bodies.iter().map(|b| b.as_fd()).collect();
        let answer = front.0.call(&Request::Append { to: name("INBOX"), messages }, &fds).await.unwrap().body;
        assert_eq!(answer, Response::Refused(Refusal::Cannot));
    }
    assert_eq!(front.mailbox("INBOX").await.messages, 0);
}

/// Empty messages, as they could once be stored: several are at one place, and all of them can go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_messages_can_be_expunged() {
    let world = World::new();
    let empty = MessageWriter::sealed(b"").unwrap();
    for n in 0..3 {
        let delivery = Delivery {
            id: DeliveryId { message: QueueId(n), number: 0 },
            owner: world.owner(ALICE),
            mailbox: name("INBOX"),
            received_at: 0,
            index: MessageIndex::default(),
            prefix: serde_bytes::ByteBuf::new(),
        };
        world.queue.call(&store_deliver::Request::Deliver(Box::new(delivery)), &[empty.as_fd()]).await.unwrap();
    }
    world.deliver(3, &Mail::new("x", "text")).await;
    let mut front = world.session().await;
    let id = front.id("INBOX").await;
    front
        .rows(&Request::SetFlags {
            mailbox: id,
            uids: uids(&[(1, 4)]),
            change: FlagChange::Add,
            flags: flags(&[SystemFlags::DELETED], &[]),
            unchanged_since: None,
        })
        .await;
    front.parts(&Request::Expunge { mailbox: id, uids: None }).await;
    assert_eq!(front.mailbox("INBOX").await.messages, 0);
}

/// Bits that are no flag are not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_flags_are_not_stored() {
    let world = World::new();
    world.deliver(1, &Mail::new("x", "text")).await;
    let mut front = world.session().await;
    let id = front.id("INBOX").await;
    for change in [FlagChange::Replace, FlagChange::Add] {
        let all = Flags { system: SystemFlags(0xff), ..Flags::default() };
        front.rows(&set(id, &[(1, 1)], change, all)).await;
        let row = &front.fetch(id, &[(1, 1)], Want::FLAGS).await[0];
        assert_eq!(row.flags.as_ref().unwrap().system, SystemFlags(31));
    }
}

/// What a message refers to is forgotten with the last message that does, however long the conversation goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_go_with_their_last_message() {
    let world = World::new();
    let mail = |id: &str, references: Vec<String>| Mail { id: id.into(), references, ..Mail::new("x", "text") };
    world.deliver(1, &mail("1", vec![])).await;
    let mut front = world.session().await;
    let id = front.id("INBOX").await;
    for n in 2..8u64 {
        let references = std::iter::once("1".to_owned()).chain((0..50).map(|k| format!("{n}-{k}"))).collect();
        world.deliver(n, &mail(&n.to_string(), references)).await;
        let row = &front.fetch(id, &[(n as u32, n as u32)], Want::IDS).await[0];
        assert_eq!(row.thread, Some(1));
        front
            .rows(&Request::SetFlags {
                mailbox: id,
                uids: uids(&[(2, u32::MAX)]),
                change: FlagChange::Add,
                flags: flags(&[SystemFlags::DELETED], &[]),
                unchanged_since: None,
            })
            .await;
        front.parts(&Request::Expunge { mailbox: id, uids: None }).await;
    }
    let copy = world.killed();
    let db = rusqlite::Connection::open(copy.files(ALICE).join("index.db")).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM thread_ref", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
}
