use crate::world::{ALICE, DELIVERED, Front, Mail, World, flags, name, uids};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};
use wire::edge::{
    store_deliver,
    store_session::{FlagChange, Request, Response, SystemFlags},
};

async fn texts(front: &mut Front) -> Vec<String> {
    let id = front.id("INBOX").await;
    let bodies = front.bodies(id, &[(1, u32::MAX)]).await;
    bodies.iter().map(|b| String::from_utf8_lossy(b).rsplit_once("\r\n\r\n").unwrap().1.to_owned()).collect()
}

fn mail(n: u64) -> Mail {
    Mail { id: n.to_string(), ..Mail::new("x", &format!("text {n}")) }
}

/// `kill -9` after every step: what was answered is there, and everything goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_when_the_process_is_killed() {
    let mut world = World::new();
    let mut expected = Vec::new();
    for n in 0..8 {
        assert_eq!(world.deliver(n, &mail(n)).await, DELIVERED);
        expected.push(format!("text {n}"));
        world = world.killed();
        let mut front = world.session().await;
        assert_eq!(texts(&mut front).await, expected);
        // The queue tries again what was not settled.
        assert_eq!(world.deliver(n, &mail(n)).await, DELIVERED);
        let inbox = front.id("INBOX").await;
        let set = Request::SetFlags {
            mailbox: inbox,
            uids: uids(&[(1, 1)]),
            change: FlagChange::Replace,
            flags: flags(&[SystemFlags::SEEN], &[&format!("k{n}")]),
            unchanged_since: None,
        };
        front.rows(&set).await;
        front.append("Sent", &[(mail(n), flags(&[], &[]))]).await;
        if n == 4 {
            // An account that is tidied and closed is the same as one that is not.
            world.housekeep().await;
        }
        world = world.killed();
        let mut front = world.session().await;
        let (_, inbox) = front.open("INBOX").await;
        assert_eq!((inbox.messages, inbox.unseen, u64::from(front.mailbox("Sent").await.messages)), (n as u32 + 1, n as u32, n + 1));
    }
}

/// A transaction that was written and not committed leaves bytes behind the tail, or a segment of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_the_tail_are_overwritten() {
    let world = World::new();
    world.deliver(1, &mail(1)).await;
    let world = world.cut(|files| {
        let segment = OpenOptions::new().append(true).open(files.join("seg-1")).unwrap();
        let end = segment.metadata().unwrap().len();
        segment.set_len(end + 5_000).unwrap();
        fs::write(files.join("seg-2"), b"left over").unwrap();
        fs::write(files.join("seg-x"), b"not ours").unwrap();
    });
    world.deliver(2, &mail(2)).await;
    let mut front = world.session().await;
    assert_eq!(texts(&mut front).await, ["text 1", "text 2"]);
    assert!(!world.files(ALICE).join("seg-2").exists() && world.files(ALICE).join("seg-x").exists());
}

/// After a power cut the log may be on the disk and a body not: the message goes, and the queue's next try brings it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_did_not_reach_the_disk_is_delivered_again() {
    let world = World::new();
    for n in 0..5 {
        world.deliver(n, &mail(n)).await;
    }
    let known = world.session().await.mailbox("INBOX").await;
    type Damage = fn(&Path);
    let cases: [(Damage, &[u64]); 4] = [
        // The file is shorter.
        (|files| cut_tail(&files.join("seg-1"), 10), &[4]),
        // A page was never written.
        (|files| zero(&files.join("seg-1"), 0, 150), &[0, 1]),
        // The file is not there.
        (|files| fs::remove_file(files.join("seg-1")).unwrap(), &[0, 1, 2, 3, 4]),
        (|_| {}, &[]),
    ];
    for (damage, lost) in cases {
        let world = world.cut(damage);
        let mut front = world.session().await;
        let left: Vec<String> = (0..5).filter(|n| !lost.contains(n)).map(|n| format!("text {n}")).collect();
        assert_eq!(texts(&mut front).await, left);
        let (vanished, _, _) = front.changes(known.id, known.highest_modseq.0).await;
        assert_eq!(vanished, lost.iter().map(|n| *n as u32 + 1).collect::<Vec<_>>());
        for n in 0..5 {
            assert_eq!(world.deliver(n, &mail(n)).await, DELIVERED);
        }
        let mut all = texts(&mut front).await;
        all.sort();
        assert_eq!(all, ["text 0", "text 1", "text 2", "text 3", "text 4"]);
        // UIDs are not used again.
        let (uids, now) = front.open("INBOX").await;
        assert_eq!((uids.len(), now.uid_next, now.uid_validity), (5, 6 + lost.len() as u32, known.uid_validity));
    }
}

/// What was synced is not read again at every start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synced_messages_are_not_checked_again() {
    let world = World::new();
    world.deliver(0, &mail(0)).await;
    world.sync().await;
    world.deliver(1, &mail(1)).await;
    let world = world.cut(|files| zero(&files.join("seg-1"), 0, 10));
    // The damage is to a message that was on disk: not a power cut's doing, so nothing is thrown away.
    assert_eq!(world.session().await.mailbox("INBOX").await.messages, 2);
}

/// A power cut that takes the whole log since the last checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_is_delivered_again() {
    let world = World::new();
    for n in 0..4 {
        world.deliver(n, &mail(n)).await;
    }
    for keep in [0u64, 40_000, 100_000] {
        let world = world.cut(|files| {
            let log = OpenOptions::new().write(true).open(files.join("index.db-wal")).unwrap();
            let len = log.metadata().unwrap().len();
            log.set_len(len.min(keep)).unwrap();
        });
        for n in 0..4 {
            assert_eq!(world.deliver(n, &mail(n)).await, DELIVERED, "{keep}");
        }
        let mut front = world.session().await;
        let mut all = texts(&mut front).await;
        all.sort();
        assert_eq!(all, ["text 0", "text 1", "text 2", "text 3"], "{keep}");
    }
}

/// The bytes of a message whose removal was not yet safe are still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expunged_bytes_outlive_the_removal() {
    let world = World::new();
    for n in 0..3 {
        world.deliver(n, &mail(n)).await;
    }
    world.housekeep().await;
    let before = world.killed();
    let mut front = world.session().await;
    let inbox = front.id("INBOX").await;
    let set = Request::SetFlags {
        mailbox: inbox,
        uids: uids(&[(1, 3)]),
        change: FlagChange::Add,
        flags: flags(&[SystemFlags::DELETED], &[]),
        unchanged_since: None,
    };
    front.rows(&set).await;
    front.parts(&Request::Expunge { mailbox: inbox, uids: None }).await;
    // The database of before with the segment of now: as if the removal had not reached the disk.
    let segment = fs::read(world.files(ALICE).join("seg-1")).unwrap();
    let mixed = before.cut(|files| fs::write(files.join("seg-1"), segment).unwrap());
    assert_eq!(texts(&mut mixed.session().await).await, ["text 0", "text 1", "text 2"]);
    // Then the segment is emptied and the account lives on.
    drop(front);
    world.housekeep().await;
    world.deliver(9, &mail(9)).await;
    let world = world.killed();
    assert_eq!(texts(&mut world.session().await).await, ["text 9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_or_damaged_database_is_unavailable_and_left_alone() {
    let world = World::new();
    world.deliver(1, &mail(1)).await;
    world.housekeep().await;
    let damaged = world.cut(|files| {
        let _ = fs::remove_file(files.join("index.db-wal"));
        fs::write(files.join("index.db"), b"not a database at all, but long enough to be looked at as one").unwrap();
    });
    assert_eq!(damaged.deliver(2, &mail(2)).await, store_deliver::Response::Unavailable);
    let mut front = damaged.session().await;
    let answer = front.call(&Request::Mailbox(name("INBOX"))).await;
    assert_eq!(answer, Response::Refused(wire::edge::store_session::Refusal::Unavailable));
    assert!(fs::read(damaged.files(ALICE).join("index.db")).unwrap().starts_with(b"not a database"));
    // Other accounts are not concerned.
    assert_eq!(damaged.deliver_to(2, 2, &mail(2), "INBOX").await, DELIVERED);
}

/// A power cut may take back UIDs and modification sequences that clients have seen: none is given to another message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_is_given_twice_across_a_power_cut() {
    let world = World::new();
    world.deliver(0, &mail(0)).await;
    world.housekeep().await;
    let disk = world.killed();
    for n in 1..5 {
        world.deliver(n, &mail(n)).await;
    }
    let seen = world.session().await.mailbox("INBOX").await;
    // None of the four had reached the disk.
    let world = disk.rebooted();
    // Who saw them is told that they are gone, and everything else again.
    let mut front = world.session().await;
    let (vanished, rows, known) = front.changes(seen.id, seen.highest_modseq.0).await;
    assert!((2..=5).all(|uid| vanished.contains(&uid)) && !vanished.contains(&1), "{vanished:?}");
    assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [1]);
    let (vanished, rows, _) = front.changes(seen.id, known.highest_modseq.0).await;
    assert!(vanished.is_empty() && rows.is_empty());
    world.deliver(9, &mail(9)).await;
    let (uids, now) = front.open("INBOX").await;
    assert_eq!((uids.len(), uids[0], now.uid_validity), (2, 1, seen.uid_validity));
    assert!(uids[1] >= seen.uid_next && now.highest_modseq > seen.highest_modseq);
    let world = world.killed();
    world.deliver(10, &mail(10)).await;
    assert_eq!(world.session().await.open("INBOX").await.0[2], uids[1] + 1);
}

fn cut_tail(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

fn zero(path: &Path, from: u64, bytes: usize) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&vec![0; bytes], from).unwrap();
}

/// What an earlier process delivered and did not sync is not what this one says it has synced, until it is delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_covers_only_deliveries_of_its_own_life() {
    let before = World::new();
    let delivered = store_deliver::Response::Delivered;
    assert_eq!(before.try_deliver(ALICE, 1, &mail(1), "INBOX").await, delivered(before.life));
    let after = before.killed();
    assert!(after.life != before.life);
    assert_eq!(after.synced().await, after.life);
    assert_eq!(after.try_deliver(ALICE, 1, &mail(1), "INBOX").await, delivered(after.life));
    assert_eq!(texts(&mut after.session().await).await, ["text 1"]);
}

/// Where no start of the machine can be told from another, every process may be the first after a power cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_number_of_the_start_numbers_are_left_out_each_time() {
    let world = World::new();
    world.deliver(1, &mail(1)).await;
    let same = world.killed();
    same.deliver(2, &mail(2)).await;
    assert_eq!(same.session().await.open("INBOX").await.0, [1, 2]);
    let unknown = world.booting(None);
    unknown.deliver(2, &mail(2)).await;
    assert!(unknown.session().await.open("INBOX").await.0[1] > 60_000);
}
