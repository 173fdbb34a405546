//! Whole messages, with recorded answers: what is said of them.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod world;

use pure_index::judgement::{
    Alignment, ArcResult, DkimResult, DmarcPolicy, DmarcResult, Judgement, MAX_ARC_SETS, MAX_FORGED, MAX_SIGNATURES, SpfIdentity, SpfResult,
};
use pure_mailauth::limits::MAX_ARC_KEYS;
use world::{Mail, World, sign};

/// RFC 8463 A.3, both signatures, with the keys of A.2.
const FOOTBALL: &[u8] = include_bytes!("../../../../tests/fixtures/rfc8463-a3.eml");
const BRISBANE: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const TEST: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCN\
b3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

fn football() -> World {
    let mut world = World::default();
    world.text("brisbane._domainkey.football.example.com", BRISBANE);
    world.text("test._domainkey.football.example.com", TEST);
    world
}

fn results(judgement: &Judgement) -> Vec<DkimResult> {
    judgement.dkim.iter().map(|d| d.result).collect()
}

#[test]
fn the_signatures_of_the_standard_hold() {
    let mut world = football();
    world.text("_dmarc.football.example.com", "v=DMARC1; p=reject");
    let judged = world.judge(FOOTBALL, &Mail::default());
    assert_eq!(results(&judged), [DkimResult::Pass, DkimResult::Pass]);
    assert_eq!(judged.dkim[0].selector.as_ref().unwrap().as_str(), "brisbane");
    assert_eq!((judged.dmarc.result, judged.dmarc.policy), (DmarcResult::Pass, DmarcPolicy::Reject));
}

#[test]
fn what_was_changed_on_the_way_does_not_hold() {
    let world = football();
    for (from, to) in
        [("hungry", "thirsty"), ("dinner", "supper"), ("joe@", "eve@"), ("Fri, 11", "Sat, 12"), ("t=1528637909", "t=1528637908")]
    {
        let changed = String::from_utf8(FOOTBALL.to_vec()).unwrap().replace(from, to);
        assert_eq!(results(&world.judge(changed.as_bytes(), &Mail::default())), [DkimResult::Fail, DkimResult::Fail], "{from}");
    }
    // A second field of a name that is signed once more as absent (attack case DKIM-02).
    let added = [b"Subject: Other\r\n", FOOTBALL].concat();
    assert_eq!(results(&world.judge(&added, &Mail::default())), [DkimResult::Fail, DkimResult::Fail]);
    // What is not covered may change, and so may white space.
    let other = String::from_utf8(FOOTBALL.to_vec())
        .unwrap()
        .replace("Subject: Is", "Received: x\r\nSUBJECT:  Is")
        .replace("game.  Are", "game. Are \t");
    assert_eq!(
        results(&world.judge(other.replace("Are \t you", "Are you").as_bytes(), &Mail::default())),
        [DkimResult::Pass, DkimResult::Pass]
    );
}

#[test]
fn keys_that_are_not_there_or_not_known_now() {
    let mut world = World::default();
    world.down("brisbane._domainkey.football.example.com");
    let judged = world.judge(FOOTBALL, &Mail::default());
    assert_eq!(results(&judged), [DkimResult::TempError, DkimResult::PermError]);
    assert_eq!(judged.dmarc.alignment, Alignment::Unknown);
    let mut revoked = football();
    revoked.replace("test._domainkey.football.example.com", "v=DKIM1; p=");
    assert_eq!(results(&revoked.judge(FOOTBALL, &Mail::default())), [DkimResult::Pass, DkimResult::PermError]);
}

#[test]
fn signatures_that_count_for_nothing() {
    let mut world = World::default();
    let key = world.key("s", "a.test");
    let message = "From: x@a.test\r\nSubject: hi\r\n\r\nbody\r\n";
    let judge = |tags: &str| {
        let signed = sign(&key, message, tags, "from:subject");
        results(&world.judge(signed.as_bytes(), &Mail::default()))[0]
    };
    let good = "v=1; a=ed25519-sha256; d=a.test; s=s; c=relaxed/relaxed;";
    assert_eq!(judge(good), DkimResult::Pass);
    for (tags, result) in [
        ("c=simple/simple;", DkimResult::Pass),
        ("c=simple;", DkimResult::Pass),
        ("c=simple/relaxed;", DkimResult::Pass),
        ("c=relaxed;", DkimResult::Pass),
        ("l=6;", DkimResult::Pass),
        ("l=5;", DkimResult::Policy),
        ("l=0;", DkimResult::Policy),
        ("l=7;", DkimResult::PermError),
        ("l=x;", DkimResult::PermError),
        ("t=1; x=2;", DkimResult::Fail),
        ("t=3; x=2;", DkimResult::PermError),
        ("x=99999999999999999999999;", DkimResult::Pass),
        ("i=@sub.a.test;", DkimResult::Pass),
        ("i=me@a.test;", DkimResult::Pass),
        ("i=@b.test;", DkimResult::PermError),
        ("i=@nota.test;", DkimResult::PermError),
        ("q=dns/txt;", DkimResult::Pass),
        ("q=other;", DkimResult::PermError),
        ("c=other;", DkimResult::PermError),
        ("z=From:x;", DkimResult::Pass),
    ] {
        let base = if tags.starts_with("c=") { "v=1; a=ed25519-sha256; d=a.test; s=s; " } else { good };
        assert_eq!(judge(&format!("{base} {tags}")), result, "{tags}");
    }
    for (tags, result) in [
        ("a=ed25519-sha256; d=a.test; s=s;", DkimResult::PermError),
        ("v=2; a=ed25519-sha256; d=a.test; s=s;", DkimResult::PermError),
        ("v=1; a=rsa-sha1; d=a.test; s=s;", DkimResult::Policy),
        ("v=1; a=rsa-sha256; d=a.test; s=s;", DkimResult::PermError),
        ("v=1; a=ed25519-sha256; d=a.test;", DkimResult::PermError),
        ("v=1; a=ed25519-sha256; d=[192.0.2.1]; s=s;", DkimResult::PermError),
        ("v=1; a=ed25519-sha256; d=a.test; s=s s;", DkimResult::PermError),
        ("v=1; v=1; a=ed25519-sha256; d=a.test; s=s;", DkimResult::PermError),
    ] {
        assert_eq!(judge(tags), result, "{tags}");
    }
    // RFC 6376 5.4: From must be covered.
    let without = sign(&key, message, good, "subject");
    assert_eq!(results(&world.judge(without.as_bytes(), &Mail::default())), [DkimResult::PermError]);
    // A whole body that was put behind what l= covers (attack case DKIM-01).
    let longer = format!("{}more\r\n", sign(&key, message, &format!("{good} l=6;"), "from"));
    assert_eq!(results(&world.judge(longer.as_bytes(), &Mail::default())), [DkimResult::Policy]);
}

#[test]
fn so_many_signatures_are_looked_at() {
    let mut world = World::default();
    let key = world.key("s", "a.test");
    let one = sign(&key, "From: x@a.test\r\n\r\n", "v=1; a=ed25519-sha256; d=a.test; s=s;", "from");
    let (field, rest) = one.split_at(one.find("From:").unwrap());
    let many = format!("{}{rest}", field.repeat(MAX_SIGNATURES + 5));
    assert_eq!(world.judge(many.as_bytes(), &Mail::default()).dkim.len(), MAX_SIGNATURES);
}

#[test]
fn spf_of_both_identities_and_the_null_path() {
    let mut world = World::default();
    world.text("a.test", "v=spf1 ip4:192.0.2.7 -all");
    world.text("client.test", "v=spf1 -all");
    world.text("_dmarc.a.test", "v=DMARC1; p=quarantine");
    let message = b"From: x@a.test\r\n\r\n";
    let of = |world: &World, mail: &Mail| {
        let judged = world.judge(message, mail);
        let spf: Vec<_> = judged.spf.iter().map(|s| (s.identity, s.result)).collect();
        (spf, judged.dmarc.result)
    };
    let mail = Mail { peer: "192.0.2.7", from: Some("bounce@a.test"), helo: "client.test" };
    assert_eq!(
        of(&world, &mail),
        (vec![(SpfIdentity::MailFrom, SpfResult::Pass), (SpfIdentity::Helo, SpfResult::Fail)], DmarcResult::Pass)
    );
    let other = Mail { peer: "192.0.2.8", ..mail };
    assert_eq!(
        of(&world, &other),
        (vec![(SpfIdentity::MailFrom, SpfResult::Fail), (SpfIdentity::Helo, SpfResult::Fail)], DmarcResult::Fail)
    );
    // RFC 7208 2.4: without a reverse-path HELO stands for it.
    world.replace("client.test", "v=spf1 ip4:192.0.2.7");
    world.text("_dmarc.client.test", "v=DMARC1; p=reject");
    let null = Mail { from: None, ..mail };
    let report = world.judge(b"From: x@client.test\r\n\r\n", &null);
    assert_eq!((report.spf.len(), report.dmarc.result), (1, DmarcResult::Pass));
    // What is no name has no policy.
    let literal = Mail { helo: "[192.0.2.7]", from: None, ..mail };
    assert_eq!(of(&world, &literal), (vec![], DmarcResult::Fail));
    let ours = Mail { from: Some("bounce@client.test"), ..mail };
    assert_eq!(of(&world, &ours).1, DmarcResult::Fail);
}

/// Attack cases FROM-02 and RLY-04: who nobody can make out is nobody who was vouched for.
#[test]
fn authors() {
    let mut world = World::default();
    world.text("_dmarc.a.test", "v=DMARC1; p=reject");
    for (header, result) in [
        ("From: x@a.test\r\n", DmarcResult::Fail),
        ("From: x@a.test, y@a.test\r\n", DmarcResult::Fail),
        ("From: x@A.TEST\r\n", DmarcResult::Fail),
        ("From: x@b.test, y@a.test\r\n", DmarcResult::PermError),
        ("From: x@b.test\r\nFrom: y@a.test\r\n", DmarcResult::PermError),
        ("From: x@a..test\r\n", DmarcResult::PermError),
        // The root's dot (RFC 1034 3.1) makes no other name of it.
        ("From: x@a.test.\r\n", DmarcResult::Fail),
        ("From: x@a.test., y@A.test\r\n", DmarcResult::Fail),
        ("From: x@a.test..\r\n", DmarcResult::PermError),
        // What one reader takes for a domain and another for none.
        ("From: x@a.test\u{200b}\r\n", DmarcResult::PermError),
        ("From: x@a\u{3002}test\r\n", DmarcResult::PermError),
        ("From: x@\u{ff41}.test\r\n", DmarcResult::PermError),
        ("From: x@a.test\u{1}\r\n", DmarcResult::PermError),
        ("From: x@[a.test]\r\n", DmarcResult::PermError),
        ("From: x@[192.0.2.1], y@b.test\r\n", DmarcResult::PermError),
        // Of a name with a comma that is not quoted the first part has no host.
        ("From: Doe, John <j@a.test>\r\n", DmarcResult::Fail),
        ("From: x@a.test, \r\n", DmarcResult::Fail),
        ("From: Doe, John\r\n", DmarcResult::None),
        ("From: \"x@b.test\", y@a.test\r\n", DmarcResult::PermError),
        ("From: \"x@b.test\"\r\n", DmarcResult::PermError),
        ("From: x@b.test@, y@a.test\r\n", DmarcResult::PermError),
        ("From: nobody:;\r\n", DmarcResult::None),
        ("From: x@[192.0.2.1]\r\n", DmarcResult::None),
        ("To: x@a.test\r\n", DmarcResult::None),
    ] {
        let judged = world.judge(format!("{header}\r\n").as_bytes(), &Mail::default());
        assert_eq!(judged.dmarc.result, result, "{header}");
        assert_ne!(judged.dmarc.alignment, Alignment::Aligned);
        assert!(!judged.overflow, "{header}");
    }
}

/// Attack case RLY-04: an author behind more than is read of From is not one that is not there.
#[test]
fn an_author_behind_what_is_read_is_too_much() {
    let world = World::default();
    let comment = format!("({}\r\n )", "x".repeat(60_000));
    let overflow = |from: &str| world.judge(format!("From: {from}\r\n\r\n").as_bytes(), &Mail::default()).overflow;
    assert!(!overflow(&format!("{comment}{comment} <x@a.test>")));
    assert!(overflow(&format!("{comment}{comment}{comment} <x@a.test>")));
    let many = |count: usize| "y@b.test, ".repeat(count);
    assert!(!overflow(&format!("{}x@a.test", many(998))));
    assert!(overflow(&format!("{}x@a.test", many(1_000))));
}

/// RFC 5322 2.2: BINARYMIME lets a message have what some reader takes for the end of a line or of a text.
#[test]
fn a_header_with_other_line_ends_is_too_much() {
    let world = World::default();
    let overflow = |header: &str| world.judge(format!("{header}\r\n\r\na\nb\rc\0").as_bytes(), &Mail::default()).overflow;
    assert!(!overflow("From: x@a.test"));
    for header in
        ["From: x@a.test\0.evil.test", "X: a\rFrom: y@a.test\r\nFrom: x@b.test", "X: a\nFrom: x@a.test", "\0: x", "From: x@a.test\r"]
    {
        assert!(overflow(header), "{header:?}");
    }
}

/// Attack case FROM-03: what is no domain or no selector is asked for nowhere.
#[test]
fn tags_that_are_no_names_are_asked_for_nowhere() {
    let world = World::default();
    for tags in [
        "d=bank.test; s=selector._domainkey.evil.test.\0.any",
        "d=bank.test'a.evil.test; s=s",
        "d=bank.test(.evil.test; s=s",
        "d=BANK.test.; s=..",
        "d=bank.test; s=a b",
        "d=bank.test; s=s; d=evil.test",
    ] {
        let message = format!("DKIM-Signature: v=1; a=rsa-sha256; {tags}; h=from; bh=AA==; b=AA==\r\nFrom: <admin@bank.test>\r\n\r\nx\r\n");
        let (judged, rounds) = world.judge_counting(message.as_bytes(), &Mail::default());
        assert_eq!(results(&judged), [DkimResult::PermError], "{tags}");
        // SPF of two names, and the walk up from bank.test.
        assert_eq!(rounds, [4], "{tags}");
        assert!(!judged.results(&"mx.us.test".parse().unwrap()).contains("header.d"), "{tags}");
    }
}

/// Attack case DKIM-02: a second Subject that is not covered is what somebody is shown.
#[test]
fn a_field_that_is_shown_and_not_covered_spoils_the_signature() {
    let mut world = World::default();
    let key = world.key("s", "a.test");
    let signed = sign(&key, "From: x@a.test\r\nSubject: hi\r\n\r\n", "v=1; a=ed25519-sha256; d=a.test; s=s;", "from:subject");
    let of = |front: &str| results(&world.judge(format!("{front}{signed}").as_bytes(), &Mail::default()))[0];
    assert_eq!(of(""), DkimResult::Pass);
    assert_eq!(of("Content-Type: text/html\r\n"), DkimResult::Pass);
    assert_eq!(of("Subject: forged\r\n"), DkimResult::Policy);
}

/// RFC 8601 5.
#[test]
fn fields_that_claim_to_be_ours() {
    let world = World::default();
    let message =
        b"Authentication-Results: mx.us.test; dmarc=pass\r\nFrom: x@a.test\r\nauthentication-results : (c) MX.us.test\r\n ; spf=pass\r\n\
        Authentication-Results: other.test; spf=pass\r\n\r\n";
    let judged = world.judge(message, &Mail::default());
    let text: Vec<&[u8]> = judged.forged.iter().map(|s| &message[s.start as usize..s.end as usize]).collect();
    assert_eq!(
        text,
        [&b"Authentication-Results: mx.us.test; dmarc=pass\r\n"[..], b"authentication-results : (c) MX.us.test\r\n ; spf=pass\r\n"]
    );
    let many = |count: usize| {
        world.judge(format!("{}\r\n", "Authentication-Results: mx.us.test; none\r\n".repeat(count)).as_bytes(), &Mail::default())
    };
    assert!(!many(MAX_FORGED).overflow && many(MAX_FORGED + 1).overflow);
    // One without end is taken out unread.
    let endless = format!("Authentication-Results: other.test{}\r\n\r\n", ";".repeat(1 << 20));
    assert_eq!(world.judge(endless.as_bytes(), &Mail::default()).forged.len(), 1);
}

/// Attack case ARC-01.
#[test]
fn chains() {
    let mut world = World::default();
    let (one, two) = (world.key("s1", "one.test"), world.key("s2", "two.test"));
    let message = "From: x@a.test\r\nSubject: hi\r\n\r\nbody\r\n".to_owned();
    let first = world::seal(&one, &message, "one.test; dmarc=pass header.from=a.test");
    let second = world::seal(&two, &first, "two.test; dmarc=fail; arc=pass");
    let arc = |message: &str| world.judge(message.as_bytes(), &Mail::default()).arc;
    assert_eq!((arc(&message).result, arc(&message).instance), (ArcResult::None, None));
    let judged = arc(&first);
    assert_eq!((judged.result, judged.instance, judged.seals.len(), judged.seals[0].passed), (ArcResult::Pass, Some(1), 1, true));
    let judged = arc(&second);
    let seals: Vec<_> = judged.seals.iter().map(|s| (s.domain.as_str(), s.passed)).collect();
    assert_eq!((judged.result, judged.instance, seals), (ArcResult::Pass, Some(2), vec![("one.test", true), ("two.test", false)]));

    // A list changes the body and seals it again: only the last signature of the message must hold.
    let changed = first.replace("body", "body and footer");
    assert_eq!((arc(&changed).result, arc(&changed).instance), (ArcResult::Fail, Some(1)));
    let resealed = world::seal(&two, &changed, "two.test; arc=pass");
    assert_eq!(arc(&resealed).result, ArcResult::Pass);

    for (from, to) in [
        ("dmarc=pass header", "dmarc=fail header"),
        ("i=1; a=ed25519-sha256; cv=none", "i=1; a=ed25519-sha256; cv=pass"),
        ("i=2; a=ed25519-sha256; cv=pass", "i=2; a=ed25519-sha256; cv=none"),
        ("d=one.test", "d=two.test"),
        ("two.test; dmarc=fail", "two.test; dmarc=pass"),
    ] {
        let tampered = second.replacen(from, to, 1);
        assert_ne!(tampered, second);
        assert_eq!(arc(&tampered).result, ArcResult::Fail, "{from}");
    }
    // Sets that are not whole, or not in a row, can be neither judged nor continued.
    for (from, to) in [
        ("ARC-Seal: i=2", "X-Seal: i=2"),
        ("ARC-Message-Signature: i=1", "X: i=1"),
        ("i=1", "i=3"),
        ("i=2", "i=1"),
        ("i=1", "i=0"),
        ("i=1", "i=x"),
    ] {
        let broken = second.replace(from, to);
        assert_eq!((arc(&broken).result, arc(&broken).instance), (ArcResult::Fail, None), "{from}");
    }
    // RFC 8617 5.1: its end.
    let ended = second.replace("i=2; a=ed25519-sha256; cv=pass", "i=2; a=ed25519-sha256; cv=fail");
    assert_eq!((arc(&ended).result, arc(&ended).instance), (ArcResult::Fail, None));
    // RFC 8617 4.1.3: a seal says nothing of fields or a body.
    let said = second.replacen("cv=pass;", "cv=pass; h=from;", 1);
    assert_eq!(arc(&said).result, ArcResult::Fail);

    // Nor can it be sealed without its author, nor by a key that is not there any more.
    let unsigned = first.replacen("from:from", "reply-to:to", 1);
    assert_eq!(arc(&unsigned).result, ArcResult::Fail);
    assert_eq!(World::default().judge(first.as_bytes(), &Mail::default()).arc.result, ArcResult::Fail);
    let mut without = World::default();
    without.down("s1._domainkey.one.test");
    assert_eq!(without.judge(first.as_bytes(), &Mail::default()).arc.result, ArcResult::TempError);
}

/// What is found out of a chain stays found out while something else is still asked about.
#[test]
fn a_chain_keeps_its_seals() {
    let mut world = World::default();
    let key = world.key("s1", "one.test");
    let sealed = world::seal(&key, "From: x@a.test\r\n\r\nbody\r\n", "one.test; dmarc=pass");
    for (name, text) in [("other.test", "v=spf1 include:i.other.test -all"), ("i.other.test", "v=spf1 include:j.other.test -all")] {
        world.text(name, text);
    }
    let (judged, rounds) = world.judge_counting(sealed.as_bytes(), &Mail::default());
    assert_eq!(rounds.len(), 3);
    assert_eq!((judged.arc.result, judged.arc.seals.len()), (ArcResult::Pass, 1));
}

/// Attack case DKIM-02, for ARC: a field on top of those that the last sealer covered is what somebody is shown.
#[test]
fn a_field_that_is_shown_and_not_covered_spoils_a_chain() {
    let mut world = World::default();
    let key = world.key("s1", "one.test");
    let message = "From: x@a.test\r\nSubject: hi\r\n\r\n";
    let once = world::seal_once(&key, message, "one.test; dmarc=pass", "from:subject");
    let of = |front: &str| world.judge(format!("{front}{once}").as_bytes(), &Mail::default()).arc.result;
    assert_eq!(of(""), ArcResult::Pass);
    assert_eq!(of("X: y\r\n"), ArcResult::Pass);
    assert_eq!(of("Subject: forged\r\n"), ArcResult::Fail);
}

/// A stranger's chain does not have us ask about more names than this.
#[test]
fn a_chain_has_few_keys() {
    let mut world = World::default();
    let mut message = "From: x@a.test\r\n\r\n".to_owned();
    let selectors = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10"];
    assert_eq!(selectors.len(), MAX_ARC_KEYS + 1);
    for (number, selector) in selectors.into_iter().enumerate() {
        let key = world.key(selector, "one.test");
        message = world::seal(&key, &message, "one.test; arc=pass");
        let (judged, rounds) = world.judge_counting(message.as_bytes(), &Mail::default());
        let (expected, keys) = if number < MAX_ARC_KEYS { (ArcResult::Pass, number + 1) } else { (ArcResult::TempError, 0) };
        // SPF of two names, and the walk up from a.test, beside the keys.
        assert_eq!((judged.arc.result, rounds), (expected, vec![4 + keys]));
    }
}

#[test]
fn a_chain_has_fifty_sets_at_most() {
    let mut world = World::default();
    let key = world.key("s1", "one.test");
    let mut message = "From: x@a.test\r\n\r\n".to_owned();
    for _ in 0..MAX_ARC_SETS {
        message = world::seal(&key, &message, "one.test; arc=pass");
    }
    let judged = world.judge(message.as_bytes(), &Mail::default());
    assert_eq!((judged.arc.result, judged.arc.instance, judged.arc.seals.len()), (ArcResult::Pass, Some(50), 50));
    let more = message.replace("i=50;", "i=51;");
    assert_eq!(world.judge(more.as_bytes(), &Mail::default()).arc.result, ArcResult::Fail);
}

/// Whatever is asked for, it is asked for at once, as far as it can be, and no more than so often.
#[test]
fn questions_are_few_and_concurrent() {
    let mut world = football();
    world.text("_dmarc.football.example.com", "v=DMARC1; p=reject");
    let (_, rounds) = world.judge_counting(FOOTBALL, &Mail::default());
    // Two keys, two policies of SPF, and the walk up from the author: football.example.com, example.com, com.
    assert_eq!(rounds, [7]);
    let mut endless = World::default();
    let includes: String = (0..9).map(|n| format!(" include:i{n}.a.test")).collect();
    endless.text("a.test", &format!("v=spf1{includes} -all"));
    for n in 0..9 {
        endless.text(&format!("i{n}.a.test"), "v=spf1 mx -all");
    }
    let mail = Mail { from: Some("x@a.test"), ..Mail::default() };
    let (judged, rounds) = endless.judge_counting(b"From: x@a.test\r\n\r\n", &mail);
    assert_eq!(judged.spf[0].result, SpfResult::PermError);
    assert!(rounds.len() <= pure_mailauth::limits::MAX_ROUNDS, "{rounds:?}");
}
