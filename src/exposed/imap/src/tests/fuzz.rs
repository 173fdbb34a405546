//! Whole sessions that say anything, before login, after it and with a mailbox selected: none panics, none lasts.

use super::{
    logins::house,
    world::{Client, World},
};
use fuzz::{corpus, mutate::Mutator};
use std::time::Duration;

/// Sessions of each state.
const COUNT: usize = 250;
/// An input may hold literals up to the limits; more says nothing new.
const MAX_INPUT: usize = 16 * 1024;

fn inputs(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let target = fuzz::target("imap-session").unwrap();
    // Without the two bytes that mean something to the target only.
    let seeds: Vec<Vec<u8>> = corpus::seeds(target).into_iter().map(|(_, input)| input.into_iter().skip(2).collect()).collect();
    let mut mutator = Mutator::new(seed, target.words);
    std::iter::repeat_with(move || mutator.next(&seeds)).map(|mut input| {
        input.truncate(MAX_INPUT);
        input
    })
}

/// Says it all, reads what comes, and leaves.
async fn play(client: Client, input: &[u8]) {
    let ended = tokio::time::timeout(Duration::from_secs(60), client.say_and_leave(input)).await;
    // The session may end in any way but by a panic.
    let ended = ended.unwrap_or_else(|_| panic!("it goes on after {:?}", String::from_utf8_lossy(input)));
    assert!(ended.is_ok(), "a panic after {:?}", String::from_utf8_lossy(input));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_login() {
    let house = house().await;
    for input in inputs(1).take(COUNT) {
        play(house.client().await, &input).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_login() {
    for input in inputs(2).take(COUNT) {
        play(World::with_messages(3).client().await, &input).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn selected() {
    for (i, input) in inputs(3).take(COUNT).enumerate() {
        let world = World::with_messages(3);
        world.make("Archive");
        let mut client = world.client().await;
        if i % 2 == 0 {
            client.ok("ENABLE QRESYNC UTF8=ACCEPT").await;
        }
        client.ok("SELECT INBOX").await;
        world.remove("INBOX", 2);
        play(client, &input).await;
    }
}
