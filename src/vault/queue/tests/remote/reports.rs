//! What senders and domains are told.

use super::{DAY, HOUR, MINUTE, alice, step, text, world::*};
use pure_addr::{Domain, Text};
use std::time::Duration;
use wire::edge::{
    mail::{Notify, Ret, Submitted},
    send_deliver::{Route, TlsFailure, TlsPolicy, TlsResult},
};

#[tokio::test]
async fn each_recipient_gets_its_own_result_and_failures_are_told() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("bad@remote.test", &[refused()]);
    world.send.says("slow@remote.test", &[later(), taken(false)]);
    let to = ["good@remote.test", "bad@remote.test", "slow@remote.test", "bob@mta.test", "v@other.test"];
    let id = alice(&life).await.accepted(&to).await;
    // Bob's copy and the report to alice.
    world.store.holds(2).await;
    let waiting = life.tried(id, 1).await;
    assert_eq!((waiting.address, waiting.attempts), (address("slow@remote.test"), 1));
    assert_eq!(waiting.next_attempt, Some(1_763_695_887 + 225));
    assert_eq!(waiting.status.as_str(), "deferred: said the script: 451 4.2.1 later");
    // One lease for each destination, signed, with the same fields that bob sees.
    world.send.has_answered(2).await;
    let (lease, sent) = (0..2).map(|n| world.send.lease(n)).find(|(l, _)| l.recipients.len() == 3).unwrap();
    assert_eq!(lease.route, Route::Direct(Domain::parse("remote.test").unwrap()));
    assert_eq!(lease.reverse_path.to_string(), "<alice@mta.test>");
    assert!(sent.starts_with("DKIM-Signature: a=ed25519-sha256; d=mta.test; t=1763695887;"), "{sent}");
    assert!(sent.contains("\r\nDKIM-Signature: a=rsa-sha256;") && sent.contains("\r\nReceived: from client.remote.test ([192.0.2.7])\r\n"));
    let field = |text: &str, name: &str| text.lines().find(|l| l.starts_with(name)).map(str::to_owned);
    let bobs = world.store.all().into_iter().find(|s| s.account == 2).unwrap();
    for name in ["Date: ", "Message-ID: "] {
        assert!(field(&sent, name).is_some());
        assert_eq!(field(&sent, name), field(&text(&bobs), name));
    }
    assert_eq!(field(&sent, "Message-ID").unwrap(), format!("Message-ID: <{id}.0000000000000000@mail.mta.test>"));
    assert_eq!(bobs.index.message_id.unwrap(), format!("{id}.0000000000000000@mail.mta.test"));
    let root = bobs.index.structure.root().unwrap();
    assert_eq!(&bobs.text[root.body.start as usize..root.body.end as usize], b"Hello.\r\n");

    let report = text(&world.store.all().into_iter().find(|s| s.account == 1).unwrap());
    assert!(report.starts_with("Return-Path: <>\r\nDelivered-To: alice@mta.test\r\nReceived: by mail.mta.test\r\n"), "{report}");
    assert!(report.contains("Final-Recipient: rfc822; bad@remote.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"), "{report}");
    assert!(!report.contains("slow@remote.test") && report.contains("Subject: hello\r\n\r\nHello.\r\n"));
    step(&world, &life, 5 * MINUTE);
    life.keeps(0).await;
    assert_eq!(world.send.copies("slow@remote.test"), 1);
    assert_eq!(world.send.leases.lock().unwrap().len(), 3);
    assert_eq!(world.store.all().len(), 2);
}

#[tokio::test]
async fn after_days_the_sender_hears_of_the_delay_once_and_of_the_failure() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.says("v@remote.test", &[later()]);
    let id = alice(&life).await.accepted(&["v@remote.test"]).await;
    let mut attempts = 1;
    let mut elapsed = Duration::ZERO;
    while elapsed < 5 * DAY {
        let waiting = life.tried(id, attempts).await;
        let gap = Duration::from_secs((waiting.next_attempt.unwrap() - 1_763_695_887) as u64) - elapsed;
        // Queue times are milliseconds, those of the answer seconds.
        elapsed += gap + Duration::from_secs(1);
        attempts += 1;
        if elapsed >= 5 * DAY {
            break;
        }
        step(&world, &life, gap + Duration::from_secs(1));
    }
    assert!((30..50).contains(&attempts), "{attempts}");
    world.store.holds(1).await;
    step(&world, &life, DAY);
    world.store.holds(2).await;
    life.keeps(0).await;
    let reports: Vec<String> = world.store.all().iter().map(text).collect();
    assert!(reports[0].contains("Action: delayed\r\n") && reports[0].contains("Will-Retry-Until: Wed, 26 Nov 2025"), "{}", reports[0]);
    assert!(reports[1].contains("Action: failed\r\nStatus: 5.4.7\r\n") && reports[1].contains("451 4.2.1 later"), "{}", reports[1]);
}

#[tokio::test]
async fn success_is_told_to_those_who_asked() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let mut envelope = envelope("alice@mta.test", &["relayed@remote.test", "told@other.test", "bob@mta.test"]);
    let mut recipients = envelope.recipients.clone().into_vec();
    for recipient in &mut recipients {
        recipient.notify = Some(Notify { success: true, failure: false, delay: false });
        recipient.orcpt = Some((Text::new("rfc822").unwrap(), Text::new("first@remote.test").unwrap()));
    }
    envelope.recipients = wire::List::new(recipients).unwrap();
    envelope.envid = Some(Text::new("envelope+7").unwrap());
    envelope.ret = Some(Ret::Full);
    world.send.says("told@other.test", &[taken(true)]);
    let submitted = alice(&life).await.submit_whole(envelope, MESSAGE).await;
    assert!(matches!(submitted, Submitted::Accepted(_)));
    world.store.holds(3).await;
    life.keeps(0).await;
    let reports: Vec<String> = world.store.all().iter().filter(|s| s.account == 1).map(text).collect();
    assert_eq!(reports.len(), 2);
    for (recipient, action) in [("relayed@remote.test", "relayed"), ("bob@mta.test", "delivered")] {
        let report = reports.iter().find(|r| r.contains(&format!("Final-Recipient: rfc822; {recipient}\r\n"))).unwrap();
        assert!(report.contains(&format!("Action: {action}\r\nStatus: 2.0.0\r\n")), "{report}");
        assert!(
            report.contains("Original-Envelope-Id: envelope+7\r\n") && report.contains("Original-Recipient: rfc822; first@remote.test\r\n")
        );
        assert!(report.contains("text/rfc822-headers") && !report.contains("Hello."), "RET is for failures");
    }
    let lease = (0..2).map(|n| world.send.lease(n).0).find(|l| l.recipients[0].address == address("told@other.test")).unwrap();
    assert_eq!(
        (lease.envid.unwrap().as_str(), lease.ret, lease.recipients[0].notify.unwrap().success),
        ("envelope+7", Some(Ret::Full), true)
    );
}

#[tokio::test]
async fn nobody_is_told_about_a_report_or_against_their_wish() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    world.send.domain("remote.test", Some(refused()));
    let mut session = alice(&life).await;
    assert!(matches!(session.submit("", &["v@remote.test"]).await, Submitted::Accepted(_)));
    let mut never = envelope("alice@mta.test", &[]);
    let recipient = wire::edge::mail::Recipient {
        address: address("w@remote.test"),
        notify: Some(Notify { success: false, failure: false, delay: false }),
        orcpt: None,
    };
    never.recipients.push(recipient).unwrap();
    assert!(matches!(session.submit_whole(never, MESSAGE).await, Submitted::Accepted(_)));
    world.send.has_answered(2).await;
    life.keeps(0).await;
    // A stranger's message that an alias sends on: the stranger is told, at home.
    life.accepted(&["team@mta.test"]).await;
    world.store.holds(2).await;
    world.send.has_answered(4).await;
    life.keeps(0).await;
    let (lease, text) = world.send.lease(3);
    assert_eq!((lease.reverse_path.to_string(), lease.recipients[0].address.to_string()), ("<>".into(), "x@remote.test".into()));
    // The alias is not betrayed, and the report is ours to sign.
    assert!(text.contains("Final-Recipient: rfc822; team@mta.test\r\n") && !text.contains("carol"), "{text}");
    assert!(text.starts_with("DKIM-Signature: "));
    // That report was refused, and nobody hears of it.
    assert_eq!(world.store.all().len(), 2);
}

#[tokio::test]
async fn domains_that_want_it_get_a_daily_report_on_tls() {
    let world = World::new();
    let life = world.start(&world.state("a"));
    let result = |failure| TlsResult {
        domain: Domain::parse("remote.test").unwrap(),
        policy: TlsPolicy::MtaSts,
        policy_text: wire::List::new(vec![Text::new("version: STSv1").unwrap(), Text::new("mx: *.remote.test").unwrap()]).unwrap(),
        mx: Domain::parse("mx.remote.test").unwrap(),
        address: Some("192.0.2.9".parse().unwrap()),
        failure,
    };
    // Of another domain than the lease's: nothing is believed.
    let foreign = TlsResult { domain: Domain::parse("victim.test").unwrap(), ..result(None) };
    *world.send.tls.lock().unwrap() = vec![result(None), result(Some(TlsFailure::CertificateExpired)), foreign];
    let mut session = alice(&life).await;
    session.accepted(&["v@remote.test"]).await;
    session.accepted(&["w@remote.test"]).await;
    life.keeps(0).await;
    world.send.tls.lock().unwrap().clear();
    // Nobody can say yet where reports go: it is asked again later.
    *world.send.report_to.lock().unwrap() = None;
    step(&world, &life, DAY);
    life.list().await;
    *world.send.report_to.lock().unwrap() = Some(vec![address("alice@mta.test"), address("tls@remote.test")]);
    step(&world, &life, 2 * HOUR);
    soon("the report", async {
        while world.send.copies("tls@remote.test") == 0 {
            life.queue().wake();
            tokio::task::yield_now().await;
        }
    })
    .await;
    life.keeps(0).await;
    let leases = world.send.leases.lock().unwrap().clone();
    let (_, report) = leases.iter().find(|(l, _)| l.recipients[0].address == address("tls@remote.test")).unwrap();
    assert!(
        report.starts_with("DKIM-Signature") && report.contains("TLS-Report-Domain: remote.test\r\nTLS-Report-Submitter: mta.test\r\n")
    );
    let json = report.split("\r\n\r\n").find(|part| part.trim_start().starts_with('{')).unwrap();
    let json = json.split("\r\n--=").next().unwrap();
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(value["date-range"]["start-datetime"], "2025-11-21T00:00:00Z");
    let policy = &value["policies"][0];
    assert_eq!((&policy["policy"]["policy-type"], &policy["policy"]["mx-host"][0]), (&"sts".into(), &"*.remote.test".into()));
    assert_eq!(policy["summary"]["total-successful-session-count"], 2);
    assert_eq!(policy["failure-details"][0]["result-type"], "certificate-expired");
    assert!(report.contains("TLS-Required: No\r\n"), "RFC 8460 3");
    assert!(!report.contains("alice@mta.test") && world.store.all().is_empty(), "an account of ours got it");
    assert!(!leases.iter().any(|(_, text)| text.contains("victim.test")));
    // Once.
    step(&world, &life, DAY);
    life.list().await;
    assert_eq!(world.send.copies("tls@remote.test"), 1);
}
