//! Auth ends the sessions of an account.

use crate::world::{ALICE, Front, Mail, World, name, uids};
use pure_addr::AccountId;
use wire::edge::{
    store_grant,
    store_session::{Request, Response, Want},
};

const BOB: u64 = 0xb0b;

async fn end(world: &World, account: u64) {
    let request = store_grant::Request::End(AccountId::new(account).unwrap());
    assert_eq!(world.auth.call(&request, &[]).await.unwrap().body, store_grant::Response::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_the_account_end_and_no_others() {
    let world = World::new();
    let (mut waiting, mut busy, mut other) = (world.session().await, world.session().await, world.session_of(BOB).await);
    busy.mailbox("INBOX").await;
    end(&world, ALICE).await;
    assert!(waiting.0.event().await.is_err());
    assert!(busy.0.call(&Request::Quota, &[]).await.is_err());
    other.mailbox("INBOX").await;
    // What is granted afterwards is another matter.
    world.session().await.mailbox("INBOX").await;
    end(&world, 0xcafe).await;
}

/// A client that reads slowly cannot keep its session by what it has asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_in_the_middle_of_an_answer() {
    let world = World::new();
    let long = "x".repeat(900);
    const MESSAGES: u64 = 1500;
    for n in 1..=MESSAGES {
        world.deliver(n, &Mail::new(&long, "x")).await;
    }
    let Front(mut session) = world.session().await;
    let Response::Mailbox(inbox) = session.call(&Request::Mailbox(name("INBOX")), &[]).await.unwrap().body else { panic!() };
    let fetch = Request::Fetch { mailbox: inbox.id, uids: uids(&[(1, u32::MAX)]), changed_since: None, want: Want::ENVELOPE };
    session.start(&fetch, &[]).await.unwrap();
    let mut rows = 0;
    let mut ended = false;
    loop {
        match session.next().await {
            Ok(Some(part)) => {
                let Response::Rows(some) = part.body else { panic!("the whole answer came: {:?}, {rows}, {ended}", part.body) };
                rows += some.len();
            }
            Ok(None) => panic!("the whole answer came"),
            Err(_) => break,
        }
        if !ended {
            end(&world, ALICE).await;
            ended = true;
        }
    }
    assert!(rows > 0 && rows < MESSAGES as usize, "{rows}");
}
