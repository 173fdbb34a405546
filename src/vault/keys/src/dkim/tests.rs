//! The services from outside, over simulated months; and what a crash leaves.

use super::{Clock, Dkim, files::Files, files::Stored, key::DkimKey};
use crate::limits::{DKIM_AHEAD, DKIM_CLOCK, DKIM_KEPT, MAX_DKIM_DOMAINS};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeySize, PrivateDecryptingKey},
    signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use data_encoding::BASE64;
use pure_addr::{Domain, Text};
use pure_config::Config;
use pure_dkim::Algorithm;
use sha2::Digest;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use wire::{
    Error, List, Service,
    edge::{
        keys_control::{self, Key, KeysControl, Pem, Stage},
        keys_dkim::{self, KeysDkim, SignedField, SigningInput},
    },
};

/// 2026-11-21.
const START: i64 = 1_795_219_200;
const DAY: i64 = 86_400;

struct World {
    state: TempDir,
    clock: Arc<AtomicI64>,
    /// What a clock that nobody sets would say.
    passed: Arc<AtomicI64>,
    config: Config,
    dkim: Dkim,
}

fn config(rotate_days: u64) -> Config {
    let mut config = Config::parse("hostname = \"mail.mta.test\"\n[domains.\"mta.test\"]\n").unwrap();
    config.dkim.rotate = (rotate_days > 0).then(|| Duration::from_secs(rotate_days * 86_400));
    config
}

fn open(state: &TempDir, config: &Config, clock: &Arc<AtomicI64>, passed: &Arc<AtomicI64>) -> Dkim {
    let [now, passed] = [clock, passed].map(|clock| {
        let clock = clock.clone();
        move || clock.load(Ordering::SeqCst)
    });
    Dkim::open(state.path(), config, Clock::new(now, passed)).unwrap()
}

impl World {
    fn new(rotate_days: u64) -> Self {
        let (clock, passed) = (Arc::new(AtomicI64::new(START)), Arc::new(AtomicI64::new(0)));
        let (state, config) = (tempfile::tempdir().unwrap(), config(rotate_days));
        Self { dkim: open(&state, &config, &clock, &passed), state, clock, passed, config }
    }

    fn restart(&mut self) {
        self.dkim = open(&self.state, &self.config, &self.clock, &self.passed);
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn pass(&self, seconds: i64) {
        self.passed.fetch_add(seconds, Ordering::SeqCst);
        self.set_by(seconds);
    }

    /// The clock is set.
    fn set_by(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn control(&self, request: keys_control::Request) -> Result<Vec<Key>, String> {
        match Service::<KeysControl>::call(&self.dkim, request, Vec::new()).await.unwrap().body {
            keys_control::Response::Keys(keys) => Ok(keys.into_vec()),
            keys_control::Response::Refused(why) => Err(why.to_string()),
        }
    }

    async fn keys(&self) -> Vec<Key> {
        self.control(keys_control::Request::Keys(domain("mta.test"))).await.unwrap()
    }

    async fn import(&self, selector: &str, pem: String) -> Result<Vec<Key>, String> {
        let selector = Text::new(selector).unwrap();
        self.control(keys_control::Request::Import { domain: domain("mta.test"), selector, pem: Pem(pem) }).await
    }

    async fn ask(&self, of: &str, time: i64, input: SigningInput) -> Result<keys_dkim::Response, Error> {
        let request = keys_dkim::Request::Sign { domain: domain(of), time, input: Box::new(input) };
        Ok(Service::<KeysDkim>::call(&self.dkim, request, Vec::new()).await?.body)
    }

    /// Both signature fields, unfolded.
    async fn sign(&self) -> [String; 2] {
        match self.ask("mta.test", self.now(), input()).await.unwrap() {
            keys_dkim::Response::Signatures(all) => {
                let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap().replace("\r\n ", " ");
                all.iter().map(|field| text(field)).collect::<Vec<_>>().try_into().unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state.path().join("dkim/mta.test")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn field(name: &str, value: Option<&str>) -> SignedField {
    SignedField { name: Text::new(name).unwrap(), value: value.map(|v| v.as_bytes().to_vec().into()) }
}

fn input_of(fields: Vec<SignedField>) -> SigningInput {
    SigningInput { body_hash: pure_dkim::body_hash(b"x\r\n"), fields: List::new(fields).unwrap() }
}

fn input() -> SigningInput {
    input_of(vec![field("from", Some("a@mta.test")), field("from", None), field("subject", Some("hello"))])
}

fn tag<'a>(field: &'a str, name: &str) -> &'a str {
    let value = field.split([';', ':']).find_map(|t| t.trim().strip_prefix(&format!("{name}=")));
    value.unwrap_or_else(|| panic!("{name} in {field}")).trim()
}

fn stages(keys: &[Key], letter: char) -> Vec<(Stage, Option<i64>)> {
    keys.iter().filter(|k| k.selector.as_str().ends_with(letter)).map(|k| (k.stage, k.until)).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn rsa_pem(size: KeySize) -> String {
    let der: Pkcs8V1Der<'_> = PrivateDecryptingKey::generate(size).unwrap().as_der().unwrap();
    pem("PRIVATE KEY", der.as_ref())
}

/// Verified with nothing but the field, the record and what was asked for.
#[tokio::test]
async fn both_signatures_are_those_of_the_published_keys() {
    let world = World::new(90);
    let fields = world.sign().await;
    assert!(fields[0].contains("a=ed25519-sha256") && fields[1].contains("a=rsa-sha256"), "{fields:?}");
    let keys = world.keys().await;
    for signature in &fields {
        assert_eq!((tag(signature, "d"), tag(signature, "t")), ("mta.test", START.to_string().as_str()));
        let key = keys.iter().find(|k| k.selector.as_str() == tag(signature, "s")).unwrap();
        let public = BASE64.decode(key.record.as_str().rsplit("p=").next().unwrap().as_bytes()).unwrap();
        let made = BASE64.decode(tag(signature, "b").replace(' ', "").as_bytes()).unwrap();
        let at = signature.rfind(" b=").unwrap() + 3;
        let value = pure_dkim::relax(signature[..at].split_once(':').unwrap().1.as_bytes());
        let signed = [b"from:a@mta.test\r\nsubject:hello\r\ndkim-signature:", &value[..]].concat();
        if key.record.as_str().contains("k=ed25519") {
            UnparsedPublicKey::new(&ED25519, public).verify(&sha2::Sha256::digest(&signed), &made).unwrap();
        } else {
            // The last field of a SubjectPublicKeyInfo of RSA 2048 is the RSAPublicKey.
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public[24..]).verify(&signed, &made).unwrap();
        }
    }
}

/// Attack case IPC-04: what keys did not rebuild it does not sign.
#[tokio::test]
async fn what_is_no_header_is_not_signed() {
    let world = World::new(90);
    let from = || field("from", Some("a@mta.test"));
    for fields in [
        vec![],
        vec![field("subject", Some("no from"))],
        vec![field("from", None)],
        vec![from(), from()],
        vec![field("from", None), from()],
        vec![from(), field("subject", Some("two  blanks"))],
        vec![from(), field("x", Some(" blank in front"))],
        vec![from(), field("X", Some("not canonical"))],
        vec![from(), field("x;l=0", None)],
        vec![from(), field("x; d=bank.test", None)],
        vec![from(), field("dkim-signature", Some("v=1; d=bank.test; b="))],
    ] {
        assert!(matches!(world.ask("mta.test", START, input_of(fields.clone())).await, Err(Error::Malformed(_))), "{fields:?}");
    }
    let mut broken = input();
    broken.fields.push(SignedField { name: Text::new("to").unwrap(), value: Some(b"x\r\nBcc: y".to_vec().into()) }).unwrap();
    assert!(world.ask("mta.test", START, broken).await.is_err());
    assert_eq!(world.ask("[192.0.2.1]", START, input()).await.unwrap(), keys_dkim::Response::NotOurs);
    for time in [START - DKIM_CLOCK - 1, START + DKIM_CLOCK + 1, 0, i64::MIN, i64::MAX] {
        assert!(matches!(world.ask("mta.test", time, input()).await, Err(Error::Refused)), "{time}");
    }
    assert!(!world.sign().await.iter().any(|f| f.contains("l=")));
}

#[tokio::test]
async fn keys_survive_a_restart_and_are_readable_by_nobody_else() {
    let mut world = World::new(90);
    let (keys, signed) = (world.keys().await, world.sign().await);
    assert_eq!(world.files(), ["p20261121e.key", "p20261121r.key"]);
    for file in world.files() {
        let mode = fs::metadata(world.state.path().join("dkim/mta.test").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    world.restart();
    assert_eq!((world.keys().await, world.sign().await), (keys, signed));
}

#[tokio::test]
async fn a_domain_added_at_run_time_gets_keys_with_its_first_mail() {
    let mut world = World::new(90);
    let second = domain("second.test");
    let keys_dkim::Response::Signatures(signed) = world.ask("second.test", START, input()).await.unwrap() else { panic!() };
    assert_eq!(signed.len(), 2);
    assert_eq!(world.control(keys_control::Request::Keys(second)).await.unwrap().len(), 2);
    world.restart();
    assert!(matches!(world.ask("second.test", START, input()).await.unwrap(), keys_dkim::Response::Signatures(_)));
    // What the configuration says after a reload counts.
    let mut other = world.config.clone();
    other.domains.insert(domain("third.test"), pure_config::DomainConfig::default());
    world.dkim.reload(&other);
    assert!(matches!(world.ask("third.test", START, input()).await.unwrap(), keys_dkim::Response::Signatures(_)));
}

/// A queue that was taken over does not fill the disk; whom the configuration declares is served all the same.
#[tokio::test]
async fn domains_that_are_not_declared_are_counted() {
    let world = World::new(90);
    for n in 0..MAX_DKIM_DOMAINS {
        fs::create_dir(world.state.path().join("dkim").join(format!("d{n}.test"))).unwrap();
    }
    assert_eq!(world.ask("one-more.test", START, input()).await.unwrap(), keys_dkim::Response::NotOurs);
    assert!(!world.state.path().join("dkim/one-more.test").exists());
    assert!(matches!(world.ask("mta.test", START, input()).await.unwrap(), keys_dkim::Response::Signatures(_)));
}

#[tokio::test]
async fn a_crash_between_write_and_rename_leaves_the_old_keys() {
    let mut world = World::new(90);
    let before = world.keys().await;
    let files = Files::open(world.state.path()).unwrap();
    let key = DkimKey::generate(Algorithm::Ed25519Sha256).unwrap();
    files.save_half(&domain("mta.test"), &Stored { selector: "half".into(), made: START, signs_from: START, key });
    fs::write(world.state.path().join("dkim/mta.test/torn.new"), b"postern dk").unwrap();
    assert_eq!(world.files().len(), 4);
    world.restart();
    assert_eq!(world.keys().await, before);
    assert_eq!(world.files(), ["p20261121e.key", "p20261121r.key"]);
    // The crash came before the first key of the domain was whole.
    fs::create_dir(world.state.path().join("dkim/new.test")).unwrap();
    fs::write(world.state.path().join("dkim/new.test/p20261121e.new"), b"").unwrap();
    assert_eq!(world.control(keys_control::Request::Keys(domain("new.test"))).await.unwrap().len(), 2);
}

/// As on an ext4 whose journal could not be written: every sync succeeds once somebody else was told.
#[test]
fn a_key_that_the_disk_may_not_have_is_not_told_as_kept() {
    let state = tempfile::tempdir().unwrap();
    let mut files = Files::open(state.path()).unwrap();
    let stored = |selector: &str| {
        let key = DkimKey::generate(Algorithm::Ed25519Sha256).unwrap();
        Stored { selector: selector.into(), made: START, signs_from: START, key }
    };
    files.save(&domain("mta.test"), &stored("before")).unwrap();
    files.give_up();
    assert!(files.save(&domain("mta.test"), &stored("after")).is_err());
    assert!(files.remove(&domain("mta.test"), "before").is_err());
    // Nor does a next process believe in it.
    assert!(files.load(&domain("mta.test")).is_err());
}

#[tokio::test]
async fn a_damaged_file_stops_the_domain_and_no_other_key_hides_it() {
    let mut world = World::new(90);
    world.sign().await;
    let file = world.state.path().join("dkim/mta.test/p20261121e.key");
    let whole = fs::read(&file).unwrap();
    for damaged in [&b""[..], b"x", &whole[..40], &[b'x'; 20_000]] {
        fs::write(&file, damaged).unwrap();
        world.restart();
        assert_eq!(world.ask("mta.test", START, input()).await.unwrap(), keys_dkim::Response::Unavailable);
        assert!(world.control(keys_control::Request::Keys(domain("mta.test"))).await.unwrap_err().contains("not a key file"));
    }
    fs::write(&file, whole).unwrap();
    world.restart();
    world.sign().await;
}

#[tokio::test]
async fn keys_rotate_by_the_calendar() {
    let mut world = World::new(90);
    let first = world.sign().await;
    let change = START + 90 * DAY;
    assert_eq!(stages(&world.keys().await, 'e'), [(Stage::Current, Some(change))]);
    world.pass(83 * DAY - 1);
    assert_eq!(world.keys().await.len(), 2, "a day too early");
    world.pass(1);
    let keys = world.keys().await;
    for letter in ['e', 'r'] {
        assert_eq!(stages(&keys, letter), [(Stage::Current, Some(change)), (Stage::Next, Some(change))]);
    }
    assert_eq!(tag(&world.sign().await[0], "s"), tag(&first[0], "s"), "what is published ahead does not sign");
    world.restart();
    assert_eq!(world.keys().await, keys);

    world.pass(DKIM_AHEAD);
    let second = world.sign().await;
    assert_eq!((tag(&second[0], "s"), tag(&second[1], "s")), ("p20270212e", "p20270212r"));
    let keys = world.keys().await;
    assert_eq!(stages(&keys, 'r'), [(Stage::Old, Some(change + DKIM_KEPT)), (Stage::Current, Some(change + 90 * DAY))]);
    world.pass(DKIM_KEPT - 1);
    assert_eq!(world.keys().await.len(), 4);
    world.pass(1);
    assert_eq!(world.keys().await.len(), 2);
    assert_eq!(world.files(), ["p20270212e.key", "p20270212r.key"]);
}

#[tokio::test]
async fn over_two_years_there_is_always_a_published_key_and_never_many() {
    let mut world = World::new(14);
    let mut published: Vec<(String, i64)> = Vec::new();
    let mut selectors = std::collections::BTreeSet::new();
    for day in 0..730 {
        let signed = world.sign().await;
        let keys = world.keys().await;
        assert!(keys.len() <= 12, "{}", keys.len());
        for key in &keys {
            if !published.iter().any(|(s, _)| s == key.selector.as_str()) {
                published.push((key.selector.to_string(), world.now()));
            }
        }
        for field in &signed {
            let selector = tag(field, "s").to_owned();
            let since = published.iter().find(|(s, _)| *s == selector).unwrap().1;
            assert!(day < 7 || since + DKIM_AHEAD <= world.now(), "{selector} signs too early");
            assert!(keys.iter().any(|k| k.selector.as_str() == selector));
            selectors.insert(selector);
        }
        if day % 31 == 0 {
            world.restart();
        }
        world.pass(DAY);
    }
    assert!((100..=106).contains(&selectors.len()), "{}", selectors.len());
}

#[tokio::test]
async fn without_rotation_nothing_happens_by_itself() {
    let world = World::new(0);
    let first = world.sign().await;
    world.pass(3650 * DAY);
    assert_eq!(stages(&world.keys().await, 'e'), [(Stage::Current, None)]);
    assert_eq!(tag(&world.sign().await[0], "s"), tag(&first[0], "s"));
    // By hand it goes its way to the end.
    let now = world.now();
    let keys = world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap();
    assert_eq!(stages(&keys, 'r'), [(Stage::Current, Some(now + DKIM_AHEAD)), (Stage::Next, Some(now + DKIM_AHEAD))]);
    assert!(world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap_err().contains("under way"));
    world.pass(DKIM_AHEAD);
    assert_ne!(tag(&world.sign().await[0], "s"), tag(&first[0], "s"));
    world.pass(DKIM_KEPT);
    assert_eq!(world.keys().await.len(), 2);
}

/// A rotation that a crash cut in half is completed, and keys are not made twice.
#[tokio::test]
async fn half_a_rotation_is_completed() {
    let mut world = World::new(0);
    world.keys().await;
    world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap();
    let files = world.files();
    fs::remove_file(world.state.path().join("dkim/mta.test").join("p20261121r2.key")).unwrap();
    world.restart();
    world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap();
    assert_eq!(world.files(), files);
}

#[tokio::test]
async fn a_clock_that_was_set_back_still_finds_a_key() {
    let world = World::new(90);
    world.sign().await;
    world.set_by(-3650 * DAY);
    world.sign().await;
    assert_eq!(world.keys().await.len(), 2);
    // What would be made now would begin to sign at once, and nobody has published it.
    assert!(world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap_err().contains("imported"));
    assert_eq!(world.keys().await.len(), 2);
}

/// A clock that was ahead for a while has removed nothing and made nothing for a day that is years away; one that stays so is right.
#[tokio::test]
async fn a_clock_that_was_ahead_has_changed_nothing() {
    let mut world = World::new(90);
    world.keys().await;
    world.pass(DAY);
    let now = world.now();
    world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap();
    let (files, signed) = (world.files(), world.sign().await);
    for restarts in [false, true] {
        world.set_by(3650 * DAY);
        if restarts {
            world.restart();
        }
        for _ in 0..3 {
            world.keys().await;
            world.pass(15 * 60);
        }
        world.set_by(-3650 * DAY);
        world.keys().await;
        assert_eq!(world.files(), files);
        assert_eq!(tag(&world.sign().await[0], "s"), tag(&signed[0], "s"));
    }
    let ends = stages(&world.keys().await, 'e');
    assert_eq!(ends, [(Stage::Current, Some(now + DKIM_AHEAD)), (Stage::Next, Some(now + DKIM_AHEAD))]);
    world.pass(DKIM_AHEAD + DKIM_KEPT);
    assert_eq!(stages(&world.keys().await, 'e').len(), 1, "the old one has aged out");
    world.set_by(100 * DAY);
    world.keys().await;
    world.pass(DAY);
    assert_eq!(stages(&world.keys().await, 'e').len(), 2, "the clock was right");
}

/// A rotation begun by hand while the clock was ahead does not stand in the way of another.
#[tokio::test]
async fn a_rotation_that_lies_years_ahead_is_none() {
    let world = World::new(0);
    world.keys().await;
    world.set_by(3650 * DAY);
    world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap();
    world.set_by(-3650 * DAY);
    world.pass(DAY);
    let now = world.now();
    let keys = world.control(keys_control::Request::Rotate(domain("mta.test"))).await.unwrap();
    let at = |stage, from| (stage, Some(from));
    let (soon, late) = (now + DKIM_AHEAD, now + 3649 * DAY + DKIM_AHEAD);
    assert_eq!(stages(&keys, 'r'), [at(Stage::Current, soon), at(Stage::Next, soon), at(Stage::Next, late)]);
}

#[tokio::test]
async fn keys_are_imported() {
    let mut world = World::new(0);
    let old = world.sign().await;
    world.pass(DAY);
    world.import("mail", rsa_pem(KeySize::Rsa2048)).await.unwrap();
    let signed = world.sign().await;
    assert_eq!((tag(&signed[0], "s"), tag(&signed[1], "s")), (tag(&old[0], "s"), "mail"));
    let ed25519 = DkimKey::generate(Algorithm::Ed25519Sha256).unwrap().to_pkcs8().unwrap();
    world.pass(1);
    world.import("ed.mail", pem("PRIVATE KEY", &ed25519)).await.unwrap();
    world.restart();
    assert_eq!(tag(&world.sign().await[0], "s"), "ed.mail");
    world.pass(1);
    let long = world.import("large", rsa_pem(KeySize::Rsa4096)).await.unwrap();
    let record = &long.iter().find(|k| k.selector.as_str() == "large").unwrap().record;
    assert!(record.as_str().len() > 700);
    assert_eq!(tag(&world.sign().await[1], "s"), "large");
}

#[tokio::test]
async fn what_cannot_be_imported_is_said() {
    let world = World::new(0);
    // Made with `openssl genrsa -traditional 1024` for this test.
    let weak = include_str!("weak.pem");
    let ecdsa = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (selector, pem, why) in [
        ("s", weak.to_owned(), "2048"),
        ("s", ecdsa, "2048"),
        ("s", String::new(), "no private key"),
        ("s", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQID\n-----END ENCRYPTED PRIVATE KEY-----\n".into(), "passphrase"),
        ("a b", rsa_pem(KeySize::Rsa2048), "selector"),
        ("../x", rsa_pem(KeySize::Rsa2048), "selector"),
        ("UPPER", rsa_pem(KeySize::Rsa2048), "selector"),
    ] {
        let refused = world.import(selector, pem).await.unwrap_err();
        assert!(refused.contains(why), "{selector}: {refused}");
    }
    assert!(!world.state.path().join("dkim/mta.test").exists());
    world.import("s", rsa_pem(KeySize::Rsa2048)).await.unwrap();
    assert!(world.import("s", rsa_pem(KeySize::Rsa2048)).await.unwrap_err().contains("already"));
}

#[tokio::test]
async fn many_first_signatures_at_once_make_one_pair() {
    let world = Arc::new(World::new(90));
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn({
                let world = world.clone();
                async move { world.sign().await }
            })
        })
        .collect();
    let mut all = std::collections::BTreeSet::new();
    for task in tasks {
        all.insert(task.await.unwrap());
    }
    assert_eq!((all.len(), world.files().len()), (1, 2));
}
