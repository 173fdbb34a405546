//! auth/control and auth/directory, and the configuration.

use super::*;

#[tokio::test]
async fn the_operator_adds_and_removes() {
    use auth_control::{Request::*, Response::*};
    let world = World::new().await;
    let refused = |refusal| Refused(refusal);
    let add = |text: &str| AddAccount { address: address(text), password: Some(Password("s3cret word".into())), quota: Some(5000) };
    assert_eq!(world.change(add("carol@new.test")).await, refused(Refusal::DomainNotHosted));
    assert_eq!(world.change(AddDomain(Domain::parse("new.test").unwrap())).await, Done);
    assert_eq!(world.change(AddDomain(Domain::parse("new.test").unwrap())).await, refused(Refusal::Taken));
    assert_eq!(world.change(add("carol@new.test")).await, Done);
    assert_eq!(world.change(add("Carol@new.test")).await, refused(Refusal::Taken));
    assert_eq!(world.change(add("a.liddell@mta.test")).await, refused(Refusal::Taken));
    assert!(is_success(&world.plain(PEER, "carol@new.test", "s3cret word").await));
    assert!(is_success(&world.scram(PEER, "carol@new.test", "s3cret word", None).await));

    let set = |text: &str, password: &str| SetPassword { address: address(text), password: Password(password.into()) };
    assert_eq!(world.change(set("carol@new.test", "other word")).await, Done);
    assert_eq!(failure(&world.plain(PEER, "carol@new.test", "s3cret word").await), Some(Failure::Credentials));
    assert!(is_success(&world.plain(PEER, "carol@new.test", "other word").await));
    assert_eq!(world.change(set("carol@new.test", "")).await, refused(Refusal::Password));
    assert_eq!(world.change(set("carol@new.test", &"x".repeat(1025))).await, refused(Refusal::Password));
    assert_eq!(world.change(set("carol@new.test", "a long\nword")).await, refused(Refusal::Password));
    assert_eq!(world.change(set("nosuch@new.test", "some word")).await, refused(Refusal::NotFound));
    // A declared account may have its password set here, one with a declared verifier may not.
    assert_eq!(world.change(set("locked@mta.test", "opened now")).await, Done);
    assert!(is_success(&world.plain(PEER, "locked@mta.test", "opened now").await));
    assert_eq!(world.change(set("alice@mta.test", "mine alone")).await, refused(Refusal::Declared));

    let alias = |text: &str, target: &str| AddAlias { address: address(text), targets: List::new(vec![address(target)]).unwrap() };
    assert_eq!(world.change(alias("team@new.test", "carol@new.test")).await, Done);
    assert_eq!(world.change(alias("team@new.test", "bob@mta.test")).await, refused(Refusal::Taken));
    assert_eq!(world.change(alias("x@elsewhere.test", "bob@mta.test")).await, refused(Refusal::DomainNotHosted));
    assert_eq!(world.change(alias("loop@new.test", "loop@new.test")).await, refused(Refusal::AliasLoop));
    assert_eq!(world.change(alias("loop@new.test", "loop+x@new.test")).await, refused(Refusal::AliasLoop));
    assert_eq!(world.change(alias("one@new.test", "two@new.test")).await, Done);
    assert_eq!(world.change(alias("two@new.test", "one@new.test")).await, refused(Refusal::AliasLoop));
    assert!(matches!(world.resolve("team@new.test").await, auth_directory::Response::Targets(_)));

    assert_eq!(world.change(RemoveDomain(Domain::parse("new.test").unwrap())).await, refused(Refusal::InUse));
    assert_eq!(world.change(RemoveDomain(Domain::parse("mta.test").unwrap())).await, refused(Refusal::Declared));
    assert_eq!(world.change(RemoveDomain(Domain::parse("no.test").unwrap())).await, refused(Refusal::NotFound));
    assert_eq!(world.change(RemoveAccount(address("alice@mta.test"))).await, refused(Refusal::Declared));
    assert_eq!(world.change(RemoveAccount(address("info@mta.test"))).await, refused(Refusal::NotFound));
    assert_eq!(world.change(RemoveAccount(address("carol@new.test"))).await, refused(Refusal::LedTo), "team would miss her");
    assert_eq!(world.change(RemoveAlias(address("info@mta.test"))).await, refused(Refusal::Declared));
    for change in [RemoveAlias(address("team@new.test")), RemoveAlias(address("one@new.test")), RemoveAccount(address("carol@new.test"))] {
        assert_eq!(world.change(change).await, Done);
    }
    assert_eq!(failure(&world.plain(PEER, "carol@new.test", "other word").await), Some(Failure::Credentials));
    assert_eq!(world.change(RemoveDomain(Domain::parse("new.test").unwrap())).await, Done);
    assert_eq!(world.resolve("carol@new.test").await, auth_directory::Response::NotLocal);
}

#[tokio::test]
async fn lists_tell_what_is_declared() {
    use auth_control::{Request, Response};
    let world = World::new().await;
    let added = address("carol@mta.test");
    assert_eq!(world.change(Request::AddAccount { address: added, password: None, quota: Some(5000) }).await, Response::Done);
    let Response::Accounts(accounts) = world.change(Request::Accounts).await else { panic!() };
    let shown: Vec<_> = accounts.iter().map(|a| (a.address.to_string(), a.declared, a.can_log_in, a.quota)).collect();
    let row = |name: &str, declared, can_log_in, quota| (format!("{name}@mta.test"), declared, can_log_in, quota);
    assert_eq!(
        shown,
        [
            row("alice", true, true, Some(1 << 30)),
            row("bob", true, true, None),
            row("carol", false, false, Some(5000)),
            row("locked", true, false, None)
        ]
    );
    let Response::Aliases(aliases) = world.change(Request::Aliases).await else { panic!() };
    assert_eq!((aliases.len(), aliases[0].declared, aliases[0].targets.len()), (1, true, 2));
    assert_eq!(
        world.change(Request::Domains).await,
        Response::Domains(List::new(vec![(Domain::parse("mta.test").unwrap(), true)]).unwrap())
    );
}

#[tokio::test]
async fn a_change_is_on_disk_when_it_is_done() {
    let world = World::new().await;
    let request =
        auth_control::Request::AddAccount { address: address("carol@mta.test"), password: Some(Password("some word".into())), quota: None };
    assert_eq!(world.change(request).await, auth_control::Response::Done);
    let id = world.auth.directory().by_login(&address("carol@mta.test")).unwrap().id;
    world.auth.reload(&Config::parse(CONFIG).unwrap(), &credentials()).unwrap();
    let directory = world.auth.directory();
    let carol = directory.by_login(&address("carol@mta.test")).unwrap();
    assert!(carol.id == id && carol.verifiers.can_log_in());
    assert!(world.files.path().join("auth.db").exists());
}

#[tokio::test]
async fn the_directory_answers_the_queue() {
    let world = World::new().await;
    let auth_directory::Response::Targets(targets) = world.resolve("Alice+news@mta.test").await else { panic!() };
    let [Target::Account { owner, detail }] = &*targets else { panic!() };
    assert_eq!((owner.address.clone(), detail.as_ref().map(Text::as_str)), (address("alice@mta.test"), Some("news")));
    assert_eq!(world.resolve("nosuch@mta.test").await, auth_directory::Response::Unknown);
    assert_eq!(world.resolve("alice@elsewhere.test").await, auth_directory::Response::NotLocal);
    let account = owner.account;
    let may = async |addresses: &[&str]| {
        let addresses = List::new(addresses.iter().map(|a| Text::new(*a).unwrap()).collect()).unwrap();
        let request = auth_directory::Request::MaySend { account, addresses };
        world.directory.call(&request, &[]).await.unwrap().body == auth_directory::Response::MaySend(true)
    };
    assert!(may(&["alice@mta.test", "A.Liddell@mta.test", "alice+x@mta.test"]).await);
    for foreign in ["bob@mta.test", "info@mta.test", "nosuch@mta.test", "alice@elsewhere.test", "not an address", ""] {
        assert!(!may(&["alice@mta.test", foreign]).await, "{foreign}");
    }
    assert!(!may(&[]).await);
}

#[tokio::test]
async fn a_reload_takes_over_accounts_and_verifiers() {
    let world = World::new().await;
    let id = world.auth.directory().by_login(&address("alice@mta.test")).unwrap().id;
    let config = Config::parse(&CONFIG.replace("locked@mta.test", "dave@mta.test")).unwrap();
    let changed = secrets(&[
        ("alice@mta.test", cheap_phc("new")),
        ("bob@mta.test", "hunter2".into()),
        ("dave@mta.test", cheap_phc("dave")),
        ("nobody@mta.test", cheap_phc("x")),
    ]);
    world.auth.reload(&config, &changed).unwrap();
    assert!(is_success(&world.plain(PEER, "alice@mta.test", "new").await));
    assert!(is_success(&world.plain(PEER, "dave@mta.test", "dave").await));
    assert_eq!(failure(&world.plain(PEER, "alice@mta.test", PASSWORD).await), Some(Failure::Credentials));
    // A credential that cannot be read shuts its account.
    assert_eq!(failure(&world.plain(PEER, "bob@mta.test", "bob's own").await), Some(Failure::Credentials));
    let directory = world.auth.directory();
    assert_eq!(directory.by_login(&address("alice@mta.test")).unwrap().id, id);
    assert!(directory.by_login(&address("locked@mta.test")).is_none());
}

#[test]
fn a_debug_print_of_a_login_holds_no_password() {
    let request = Request::Continue { exchange: 1, response: PASSWORD.as_bytes().to_vec().into() };
    assert!(!format!("{request:?}").contains(PASSWORD) && !format!("{request:?}").contains(&BASE64.encode(PASSWORD.as_bytes())));
}
