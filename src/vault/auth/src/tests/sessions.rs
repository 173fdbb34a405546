//! Sessions end with the password that opened them.

use super::*;
use std::collections::HashSet;

impl World {
    /// Carol, who was added at run time, and alice have logged in for IMAP and for submission.
    async fn with_sessions() -> Self {
        let world = Self::new().await;
        let request = auth_control::Request::AddAccount { address: address("carol@mta.test"), password: password("old word"), quota: None };
        assert_eq!(world.change(request).await, auth_control::Response::Done);
        for (name, password) in [("carol@mta.test", "old word"), ("alice@mta.test", PASSWORD)] {
            let initial = format!("\0{name}\0{password}");
            assert!(is_success(&world.start(PEER, Mechanism::Plain, initial.as_bytes(), None).await.body));
            let request = Request::Start {
                session: SessionId(8),
                peer: PEER.parse().unwrap(),
                mechanism: Mechanism::Plain,
                initial: initial.into_bytes().into(),
                channel_binding: None,
            };
            assert!(is_success(&world.submission.call(&request, &[]).await.unwrap().body));
        }
        assert_eq!(world.open(), ["carol@mta.test", "alice@mta.test", "carol@mta.test", "alice@mta.test"]);
        world
    }

    fn id(&self, name: &str) -> AccountId {
        self.auth.directory().by_login(&address(name)).unwrap().id
    }

    /// Another process, with what is on disk now.
    fn next(&self, credentials: &Credentials) -> Auth {
        let files = tempfile::tempdir_in(self.files.path()).unwrap().keep();
        for name in ["auth.db", "auth.db-wal"] {
            std::fs::copy(self.files.path().join(name), files.join(name)).unwrap();
        }
        let grants = (Client::new(self.files.path().join(StoreGrant::NAME)), Client::new(self.files.path().join(QueueGrant::NAME)));
        let config = Config::parse(CONFIG).unwrap();
        Auth::open(&files.join("auth.db"), &config, credentials, grants, Hasher::new(2), Arc::new(Instant::now)).unwrap()
    }

    /// Whose sessions the store and the queue hold.
    fn open(&self) -> Vec<String> {
        let owners =
            |granter: &Granter| granter.granted.lock().unwrap().iter().map(|(owner, _)| owner.address.to_string()).collect::<Vec<_>>();
        [owners(&self.store), owners(&self.queue)].concat()
    }
}

fn password(text: &str) -> Option<Password> {
    Some(Password(text.into()))
}

#[tokio::test]
async fn a_new_password_ends_the_account_s_sessions_and_no_others() {
    let world = World::with_sessions().await;
    let request = auth_control::Request::SetPassword { address: address("carol@mta.test"), password: Password("new word".into()) };
    assert_eq!(world.change(request).await, auth_control::Response::Done);
    assert_eq!(world.open(), ["alice@mta.test", "alice@mta.test"]);
    assert!(is_success(&world.plain(PEER, "carol@mta.test", "new word").await));
}

#[tokio::test]
async fn the_end_of_an_account_ends_its_sessions() {
    let world = World::with_sessions().await;
    assert_eq!(world.change(auth_control::Request::RemoveAccount(address("carol@mta.test"))).await, auth_control::Response::Done);
    assert_eq!(world.open(), ["alice@mta.test", "alice@mta.test"]);
}

#[tokio::test]
async fn a_reload_ends_sessions_of_changed_verifiers_and_of_accounts_that_are_gone() {
    let world = World::with_sessions().await;
    let set = auth_control::Request::SetPassword { address: address("locked@mta.test"), password: Password("locked's own".into()) };
    assert_eq!(world.change(set).await, auth_control::Response::Done);
    let (alice, locked) = (world.id("alice@mta.test"), world.id("locked@mta.test"));
    let same = world.auth.reload(&Config::parse(CONFIG).unwrap(), &credentials()).unwrap();
    assert_eq!(same, []);
    let config = Config::parse(&CONFIG.replace("locked@mta.test", "dave@mta.test")).unwrap();
    let changed = secrets(&[("alice@mta.test", cheap_phc("new")), ("bob@mta.test", cheap_phc("bob's own"))]);
    let gone: HashSet<AccountId> = world.auth.reload(&config, &changed).unwrap().into_iter().collect();
    assert_eq!(gone, HashSet::from([alice, locked]));
    let gone: Vec<AccountId> = gone.into_iter().collect();
    assert!(world.auth.end_sessions(&gone).await);
    assert_eq!(world.open(), ["carol@mta.test", "carol@mta.test"]);
    assert_eq!(world.auth.owed(), []);
}

/// The process ends before the queue has heard of the change, or the configuration changes while it does not run.
#[tokio::test]
async fn what_a_process_owed_the_next_one_does() {
    let world = World::with_sessions().await;
    let (alice, carol) = (world.id("alice@mta.test"), world.id("carol@mta.test"));
    assert_eq!(world.next(&credentials()).owed(), []);
    world.queue.is_deaf.store(true, Ordering::Relaxed);
    let request = auth_control::Request::SetPassword { address: address("carol@mta.test"), password: Password("new word".into()) };
    assert_eq!(world.change(request).await, auth_control::Response::SessionsLeft);
    assert_eq!((world.auth.owed(), world.next(&credentials()).owed()), (vec![carol], vec![carol]));
    // What nobody can find any more by its name.
    let gone = auth_control::Request::RemoveAccount(address("carol@mta.test"));
    assert_eq!(world.change(gone).await, auth_control::Response::SessionsLeft);
    let next = Arc::new(world.next(&secrets(&[("bob@mta.test", cheap_phc("bob's own"))])));
    let owed: HashSet<AccountId> = next.owed().into_iter().collect();
    assert_eq!(owed, HashSet::from([alice, carol]));
    world.queue.is_deaf.store(false, Ordering::Relaxed);
    tokio::select! {
        () = next.clone().end_what_is_owed() => {}
        () = async { while !world.open().is_empty() || !next.owed().is_empty() { tokio::task::yield_now().await } } => {}
    }
}

#[tokio::test]
async fn a_login_that_overlaps_a_change_of_the_password_gets_nothing() {
    let world = World::with_sessions().await;
    // Left by the logins before.
    world.store.asked.notified().await;
    let held = world.store.turn.lock().await;
    let login = world.plain(PEER, "carol@mta.test", "old word");
    let change = async {
        world.store.asked.notified().await;
        let request = auth_control::Request::SetPassword { address: address("carol@mta.test"), password: Password("new word".into()) };
        assert_eq!(world.change(request).await, auth_control::Response::Done);
        drop(held);
    };
    let (login, ()) = tokio::join!(login, change);
    assert_eq!(failure(&login), Some(Failure::Credentials));
}

#[tokio::test]
async fn who_changes_a_password_hears_of_sessions_that_were_not_ended() {
    let world = World::with_sessions().await;
    world.queue.is_deaf.store(true, Ordering::Relaxed);
    let request = auth_control::Request::SetPassword { address: address("carol@mta.test"), password: Password("new word".into()) };
    assert_eq!(world.change(request).await, auth_control::Response::SessionsLeft);
    // The password is the new one all the same.
    assert_eq!(failure(&world.plain(PEER, "carol@mta.test", "old word").await), Some(Failure::Credentials));
}
