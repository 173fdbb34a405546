use super::world::{Client, World};

async fn both(n: u32) -> (World, Client, Client) {
    let world = World::with_messages(n);
    let (mut a, mut b) = (world.client().await, world.client().await);
    a.ok("SELECT INBOX").await;
    b.ok("SELECT INBOX").await;
    (world, a, b)
}

#[tokio::test]
async fn new_messages_are_told_at_noop() {
    let (world, mut a, _b) = both(1).await;
    world.deliver("INBOX", b"x: y\r\n\r\n");
    assert_eq!(a.ok("NOOP").await, ["* 2 EXISTS", "OK NOOP completed"]);
    assert_eq!(a.ok("NOOP").await, ["OK NOOP completed"]);
}

/// RFC 9051 7.5.1: numbers stay while they are in use.
#[tokio::test]
async fn no_expunge_while_numbers_are_in_use() {
    let (world, mut a, _b) = both(3).await;
    world.remove("INBOX", 1);
    assert_eq!(a.ok("FETCH 1:3 UID").await.len(), 3);
    assert_eq!(a.ok("SEARCH ALL").await[0], "* SEARCH 1 2 3");
    assert_eq!(a.ok("STORE 3 +FLAGS \\Seen").await[0], "* 3 FETCH (FLAGS (\\Seen))");
    assert_eq!(a.ok("NOOP").await, ["* 1 EXPUNGE", "OK NOOP completed"]);
    assert_eq!(a.ok("FETCH 1:* UID").await[..2], ["* 1 FETCH (UID 2)", "* 2 FETCH (UID 3)"]);
}

#[tokio::test]
async fn flags_of_others_are_told() {
    let (_world, mut a, mut b) = both(3).await;
    b.ok("STORE 2 +FLAGS (\\Answered)").await;
    assert_eq!(a.ok("NOOP").await[0], "* 2 FETCH (FLAGS (\\Answered))");
    a.ok("ENABLE QRESYNC").await;
    b.ok("STORE 2 FLAGS ()").await;
    assert_eq!(a.ok("CHECK").await[0], "* 2 FETCH (UID 2 FLAGS () MODSEQ (5))");
    b.ok("STORE 2 +FLAGS.SILENT \\Deleted").await;
    b.ok("EXPUNGE").await;
    assert_eq!(a.ok("NOOP").await[0], "* VANISHED 2");
}

/// RFC 9051 6.4.6: what somebody else changed is told, silent or not; RFC 7162 3.2: nothing is lost behind a modification sequence.
#[tokio::test]
async fn a_silent_store_hides_nothing_of_others() {
    let (_world, mut a, mut b) = both(3).await;
    b.ok("STORE 2 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(a.ok("STORE 2 +FLAGS.SILENT (\\Seen)").await, ["OK STORE completed"]);
    assert_eq!(a.ok("NOOP").await, ["* 2 FETCH (FLAGS (\\Flagged \\Seen))", "OK NOOP completed"]);
    // Its own changes alone are not told, one after the other.
    a.ok("STORE 3 +FLAGS.SILENT (\\Seen)").await;
    a.ok("STORE 3 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(a.ok("NOOP").await, ["OK NOOP completed"]);
    // Whoever says what all flags are knows them.
    b.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    a.ok("STORE 1 FLAGS.SILENT (\\Seen)").await;
    assert_eq!(a.ok("NOOP").await, ["OK NOOP completed"]);
}

/// RFC 7162 3.2: a client takes the highest modification sequence it was told for what it knows, unless it is told otherwise.
#[tokio::test]
async fn what_is_not_told_yet_is_below_what_is_said_to_be_known() {
    let (world, mut a, _b) = both(4).await;
    a.ok("ENABLE QRESYNC").await;
    world.remove("INBOX", 4);
    let known = |answer: &String| answer.split_once("[HIGHESTMODSEQ ").unwrap().1.split_once(']').unwrap().0.parse::<u64>().unwrap();
    let told = |line: &String| line.split_once("MODSEQ (").unwrap().1.split_once(')').unwrap().0.parse::<u64>().unwrap();
    let answers = a.ok("STORE 3 +FLAGS (\\Seen)").await;
    // The expunge lies between the two.
    assert!(known(&answers[1]) + 1 < told(&answers[0]), "{answers:?}");
    let highest = a.ok("NOOP").await;
    assert_eq!(highest[0], "* VANISHED 4");
    let answers = a.ok("UID FETCH 3 (MODSEQ)").await;
    assert!(known(&answers[1]) >= told(&answers[0]), "{answers:?}");
}

/// RFC 7162 3.1.4.1: CHANGEDSINCE chooses what is fetched, and so what is read.
#[tokio::test]
async fn only_what_changed_is_marked_as_read() {
    let (_world, mut a, _b) = both(3).await;
    assert_eq!(a.ok("UID FETCH 1:* (UID BODY[TEXT]) (CHANGEDSINCE 999999)").await, ["OK FETCH completed"]);
    assert_eq!(a.ok("SEARCH UNSEEN").await[0], "* SEARCH 1 2 3");
}

/// The newest messages are those that go most often.
#[tokio::test]
async fn the_last_messages_may_have_vanished() {
    let (world, mut a, _b) = both(3).await;
    a.ok("ENABLE QRESYNC").await;
    world.remove("INBOX", 3);
    a.ok("NOOP").await;
    assert_eq!(a.ok("UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)").await[0], "* VANISHED (EARLIER) 3");
}

#[tokio::test]
async fn idle_tells_at_once() {
    let (world, mut a, mut b) = both(2).await;
    a.send("i IDLE\r\n").await;
    assert_eq!(a.line().await, "+ idling");
    world.deliver("INBOX", b"x: y\r\n\r\n");
    assert_eq!(a.line().await, "* 3 EXISTS");
    b.ok("STORE 1 +FLAGS.SILENT \\Deleted").await;
    assert_eq!(a.line().await, "* 1 FETCH (FLAGS (\\Deleted))");
    b.ok("EXPUNGE").await;
    assert_eq!(a.line().await, "* 1 EXPUNGE");
    a.send("done\r\n").await;
    assert_eq!(a.line().await, "i OK IDLE completed");
    a.send("j IDLE\r\n").await;
    assert_eq!(a.line().await, "+ idling");
    a.send("k NOOP\r\n").await;
    assert_eq!(a.line().await, "j BAD Expected DONE");
}

#[tokio::test]
async fn a_deleted_mailbox_ends_the_session() {
    let world = World::with_messages(0);
    world.make("x");
    let (mut a, mut b) = (world.client().await, world.client().await);
    a.ok("SELECT x").await;
    b.ok("DELETE x").await;
    assert_eq!(a.line().await, "* BYE The selected mailbox was deleted");
}

#[tokio::test]
async fn quick_resynchronisation() {
    let (world, mut a, mut b) = both(5).await;
    assert_eq!(a.ask("SELECT INBOX (QRESYNC (7 1))").await, ["BAD Enable QRESYNC first"]);
    b.ok("STORE 2 +FLAGS.SILENT \\Flagged").await;
    world.remove("INBOX", 4);
    assert_eq!(a.ok("ENABLE QRESYNC").await[0], "* ENABLED QRESYNC");
    let answers = a.ok("SELECT INBOX (QRESYNC (7 5))").await;
    assert!(answers.contains(&"* VANISHED (EARLIER) 4".to_owned()), "{answers:?}");
    assert!(answers.contains(&"* 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (6))".to_owned()), "{answers:?}");
    // Another UIDVALIDITY: the client starts anew.
    let answers = a.ok("SELECT INBOX (QRESYNC (8 5))").await;
    assert!(!answers.iter().any(|line| line.contains("VANISHED") || line.contains("FETCH")), "{answers:?}");
    let answers = a.ok("SELECT INBOX (QRESYNC (7 5 1:3))").await;
    assert!(!answers.iter().any(|line| line.contains("VANISHED")), "{answers:?}");
    assert_eq!(
        a.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 5 VANISHED)").await,
        ["* VANISHED (EARLIER) 4", "* 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ (6))", "OK [HIGHESTMODSEQ 7] FETCH completed"]
    );
    b.ok("STORE 1 +FLAGS.SILENT \\Deleted").await;
    a.ok("NOOP").await;
    assert_eq!(a.ok("EXPUNGE").await, ["* VANISHED 1", "OK [HIGHESTMODSEQ 9] EXPUNGE completed"]);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let (_world, mut a, _b) = both(2).await;
    a.send("a NOOP\r\nb FETCH 1 UID\r\nc SEARCH ALL\r\nd LOGOUT\r\n").await;
    let mut seen = vec![];
    loop {
        match a.line().await.as_str() {
            "(closed)" => break,
            line => seen.push(line.to_owned()),
        }
    }
    assert_eq!(
        seen,
        [
            "a OK NOOP completed",
            "* 1 FETCH (UID 1)",
            "b OK FETCH completed",
            "* SEARCH 1 2",
            "c OK SEARCH completed",
            "* BYE Good-bye",
            "d OK LOGOUT completed"
        ]
    );
}

/// RFC 9051 5.4: a session without commands ends, and not a minute earlier than the standard wants.
#[tokio::test(start_paused = true)]
async fn a_silent_session_ends() {
    let world = World::with_messages(0);
    let mut client = world.client().await;
    client.ok("NOOP").await;
    let started = tokio::time::Instant::now();
    let ended = (&mut client.ended).await.unwrap();
    assert!(ended.is_ok());
    assert!(started.elapsed() >= std::time::Duration::from_secs(30 * 60));
}
