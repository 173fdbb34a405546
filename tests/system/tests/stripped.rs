//! Something in the path takes STARTTLS away. Where DANE or an MTA-STS policy asks for TLS the mail waits, and not a word of it goes in clear
//! text, also when the policy can no longer be fetched; where nothing does, it goes on in clear text, and that is noticed.

use system::{Appliance, World};

#[test]
fn who_takes_starttls_away_gets_only_what_nobody_protects() {
    if !World::is_possible() {
        return;
    }
    let Some(appliance) = Appliance::start().unwrap() else { return };
    let world = World::around(&appliance).unwrap();
    const PROTECTED: [&str; 2] = ["dane", "policy"];
    let submit = |domain: &str, subject: &str| world.submit(&format!("bob@{domain}.test"), subject).unwrap();

    world.path("through").unwrap();
    for domain in ["chance", "dane", "policy"] {
        submit(domain, "first");
        assert!(world.receives(domain).unwrap().contains("(Postfix) with ESMTPS"), "{domain}");
    }

    world.end_web().unwrap();
    for (manner, why) in [("strip", "TLS is required and not offered"), ("refuse", "TLS is required and was refused")] {
        world.path(manner).unwrap();
        for domain in PROTECTED {
            if manner == "strip" {
                submit(domain, "a secret");
            } else {
                world.retry(&format!("{domain}.test")).unwrap();
            }
            world.deferred(&format!("bob@{domain}.test"), why).unwrap();
        }
    }
    let read = world.read_in_the_path();
    assert!(read.contains("EHLO") && !read.contains("MAIL") && !read.contains("alice") && !read.contains("secret"), "{read}");

    // The host was known for TLS: whoever reads the journal, or the reports that a domain asks for, sees that it has gone.
    for (number, manner) in [(2, "strip"), (3, "refuse")] {
        world.path(manner).unwrap();
        submit("chance", manner);
        let found = world.receives_all("chance", number).unwrap();
        let clear = found.iter().filter(|message| !message.contains("(Postfix) with ESMTPS")).count();
        assert_eq!(clear, number - 1, "{found:?}");
        assert!(world.read_in_the_path().contains(&format!("Subject: {manner}")));
    }
    let noticed = appliance.journal(&["_SYSTEMD_UNIT=postern-send.service"]).unwrap();
    let downgrade = |host: &str| noticed.iter().any(|entry| ["silent downgrade", host].iter().all(|part| entry.to_string().contains(part)));
    assert!(downgrade("mx.chance.test") && downgrade("mx.dane.test") && !downgrade("mx.good.test"), "{}", world.told());

    world.path("through").unwrap();
    for domain in PROTECTED {
        world.retry(&format!("{domain}.test")).unwrap();
        let found = world.receives_all(domain, 2).unwrap();
        assert!(found.iter().all(|message| message.contains("(Postfix) with ESMTPS")), "{found:?}");
    }
    assert_eq!(world.verify().unwrap(), 7);
}
