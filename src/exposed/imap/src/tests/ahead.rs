use super::world::{Client, World};
use std::sync::atomic::Ordering;

async fn reader(n: u32) -> (World, Client) {
    let world = World::with_messages(n);
    let mut client = world.client().await;
    client.ok("SELECT INBOX").await;
    (world, client)
}

async fn flags(client: &mut Client, uid: u32) -> String {
    client.ok(&format!("UID FETCH {uid} FLAGS")).await.swap_remove(0)
}

#[tokio::test]
async fn one_after_the_other_each_gets_its_own() {
    let (_world, mut client) = reader(40).await;
    let commands: Vec<String> = (1..=40).map(|uid| format!("x{uid} UID FETCH {uid} (FLAGS BODY.PEEK[TEXT])\r\n")).collect();
    client.send(commands.concat()).await;
    for uid in 1..=40 {
        let body = format!("body {uid}\r\n");
        let expected = format!("* {uid} FETCH (UID {uid} FLAGS () BODY[TEXT] {{{}}}|{body}|)", body.len());
        assert_eq!(client.answers(&format!("x{uid}")).await, [expected, "OK FETCH completed".into()]);
    }
}

#[tokio::test]
async fn who_goes_on_costs_the_store_few_turns_and_who_jumps_one_each() {
    let (world, mut client) = reader(9).await;
    for uid in 1..=9 {
        flags(&mut client, uid).await;
    }
    // 1; 2 and 3; 4 to 7; 8 and 9.
    assert_eq!(world.fetches.swap(0, Ordering::Relaxed), 4);
    for uid in [1, 5, 3, 9] {
        flags(&mut client, uid).await;
    }
    assert_eq!(world.fetches.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn own_changes_are_seen() {
    let (_world, mut client) = reader(9).await;
    for uid in 1..=4 {
        flags(&mut client, uid).await;
    }
    client.ok("UID STORE 5 +FLAGS.SILENT (\\Answered)").await;
    assert_eq!(flags(&mut client, 5).await, "* 5 FETCH (UID 5 FLAGS (\\Answered))");
    for uid in 1..=4 {
        flags(&mut client, uid).await;
    }
    client.ok("UID FETCH 5 BODY[TEXT]").await;
    assert_eq!(flags(&mut client, 5).await, "* 5 FETCH (UID 5 FLAGS (\\Answered \\Seen))");
}

#[tokio::test]
async fn news_end_it() {
    let (world, mut client) = reader(9).await;
    let mut other = world.client().await;
    other.ok("SELECT INBOX").await;
    for uid in 1..=4 {
        flags(&mut client, uid).await;
    }
    other.ok("STORE 5 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(client.ok("NOOP").await[0], "* 5 FETCH (FLAGS (\\Flagged))");
    assert_eq!(flags(&mut client, 5).await, "* 5 FETCH (UID 5 FLAGS (\\Flagged))");
}

/// Whatever tells news: what it told is not taken back.
#[tokio::test]
async fn nothing_older_is_told_than_what_idle_append_and_other_commands_told() {
    let (world, mut client) = reader(20).await;
    let mut other = world.client().await;
    other.ok("SELECT INBOX").await;
    for (first, told_by) in [(1, "IDLE"), (6, "APPEND"), (11, "UID FETCH")] {
        for uid in first..first + 4 {
            flags(&mut client, uid).await;
        }
        let uid = first + 4;
        other.ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Flagged)")).await;
        let told = match told_by {
            "IDLE" => {
                client.send("i IDLE\r\n").await;
                assert_eq!(client.line().await, "+ idling");
                let told = client.line().await;
                client.send("DONE\r\n").await;
                client.answers("i").await;
                vec![told]
            }
            "APPEND" => client.ok("APPEND INBOX {6+}\r\na: 1\r\n").await,
            _ => client.ok("UID FETCH 1 UID").await,
        };
        assert!(told.contains(&format!("* {uid} FETCH (FLAGS (\\Flagged))")), "{told_by}: {told:?}");
        assert_eq!(flags(&mut client, uid).await, format!("* {uid} FETCH (UID {uid} FLAGS (\\Flagged))"), "{told_by}");
    }
}
