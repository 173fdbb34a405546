//! Whole sessions that say anything, before login, after it and with a mailbox selected: none panics, none lasts.
//!
//! `POSTERN_SESSIONS` is how many of each, `POSTERN_SESSIONS_SEED` what chance begins with, `POSTERN_SESSIONS_CORPUS` a directory with more of
//! what is said: what guided fuzzing of the target `imap-session` has learnt, say.

use super::{
    logins::house,
    world::{Client, World},
};
use fuzz::{corpus, mutate::Mutator};
use std::{env, fs, time::Duration};

/// Sessions of each state, if nothing else is said.
const COUNT: u64 = 250;
/// An input may hold literals up to the limits; more says nothing new.
const MAX_INPUT: usize = 16 * 1024;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

fn inputs(state: u64) -> impl Iterator<Item = Vec<u8>> {
    let target = fuzz::target("imap-session").unwrap();
    let learnt = env::var_os("POSTERN_SESSIONS_CORPUS").into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    let learnt = learnt.map(|entry| fs::read(entry.unwrap().path()).unwrap());
    // Without the two bytes that mean something to the target only.
    let seeds = corpus::seeds(target).into_iter().map(|(_, input)| input).chain(learnt);
    let seeds: Vec<Vec<u8>> = seeds.map(|input| input.into_iter().skip(2).collect()).collect();
    let mut mutator = Mutator::new(number("POSTERN_SESSIONS_SEED", 0) << 2 | state, target.words);
    let count = usize::try_from(number("POSTERN_SESSIONS", COUNT)).unwrap();
    std::iter::repeat_with(move || mutator.next(&seeds)).take(count).map(|mut input| {
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
    for input in inputs(1) {
        play(house.client().await, &input).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_login() {
    for input in inputs(2) {
        play(World::with_messages(3).client().await, &input).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn selected() {
    for (i, input) in inputs(3).enumerate() {
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
