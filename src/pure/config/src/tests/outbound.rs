//! `[dns]`, `[send]`, `[dkim]`, `[limits.sending]`.

use super::*;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const DAY: Duration = Duration::from_secs(86_400);
/// SHA-256 of nothing.
const PRINT: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn parse(text: &str) -> Config {
    Config::parse(&format!("{MINIMAL}{text}")).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// Each text after the hostname has exactly this one mistake.
fn mistakes(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(errors(&format!("{MINIMAL}{text}")), [*expected], "{text}");
    }
}

pub(super) fn the_example(config: &Config) {
    let servers = ["192.0.2.53:53", "[2001:db8::1]:5353"].map(|s| s.parse::<SocketAddr>().unwrap());
    assert_eq!(config.dns.resolver, Resolver::Servers(servers.to_vec()));
    assert_eq!(config.dns.trust_anchor, Some(PathBuf::from("/etc/postern/root.key")));
    let send = &config.send;
    assert_eq!(send.source_addresses, ["192.0.2.25", "2001:db8::25"].map(|a| a.parse::<IpAddr>().unwrap()));
    assert_eq!(send.private_networks, ["10.1.0.0/16", "fd12::1"].map(|n| n.parse::<Network>().unwrap()));
    let relay = Smarthost {
        host: SmarthostName::Name(domain("smtp.example.com")),
        port: 587,
        tls: SmarthostTls::StartTls,
        user: Some("postern".into()),
        authority: Some("/etc/postern/relay-ca.pem".into()),
        spf: Some("include:_spf.example.com".into()),
    };
    assert_eq!(send.smarthosts, BTreeMap::from([("relay".to_owned(), relay)]));
    assert_eq!(send.smarthost(None, &domain("anywhere.example")), Some("relay"));
    assert_eq!(send.sender_addresses, BTreeMap::from([(address("alice@example.org").key(), "relay".to_owned())]));
    assert_eq!(send.sender_domains, BTreeMap::from([(domain("example.net"), "relay".to_owned())]));
    let bank = &send.destinations[&domain("bank.example")];
    assert_eq!((bank.tls, bank.fingerprints.len(), bank.fingerprints[0][0]), (Some(TlsLevel::Fingerprint), 1, 0xe3));
    assert_eq!(send.destinations[&domain("partner.example")].smarthost.as_deref(), Some("relay"));
    assert_eq!(send.messages_per_minute, Some(600));
    // The rest is shown with its default.
    let rest = SendConfig {
        source_addresses: Vec::new(),
        private_networks: Vec::new(),
        smarthost: None,
        smarthosts: BTreeMap::new(),
        sender_addresses: BTreeMap::new(),
        sender_domains: BTreeMap::new(),
        destinations: BTreeMap::new(),
        messages_per_minute: None,
        ..send.clone()
    };
    assert_eq!(rest, SendConfig::default());
    assert_eq!(config.dkim, DkimConfig::default());
    assert_eq!(config.limits.sending, SendingLimits::default());
}

#[test]
fn name_servers_are_addresses() {
    let servers = |list: &str| match parse(&format!("dns.servers = [{list}]")).dns.resolver {
        Resolver::Servers(servers) => servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let list = "\"192.0.2.1\", \"192.0.2.2:5300\", \"2001:db8::1\", \"[2001:db8::2]\", \"[2001:db8::3]:853\"";
    let expected = ["192.0.2.1:53", "192.0.2.2:5300", "[2001:db8::1]:53", "[2001:db8::2]:53", "[2001:db8::3]:853"];
    assert_eq!(servers(list), expected);
    assert_eq!(parse("dns.recursive = true").dns.resolver, Resolver::Recursive);
    assert_eq!(parse("dns.recursive = false").dns.resolver, Resolver::System);
    let remedy = "write addresses such as \"192.0.2.53\" or \"[2001:db8::53]:5353\"";
    for text in [
        "ns.example.org",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "0.0.0.0",
        "224.0.0.1",
        "[192.0.2.1]",
        "",
        "[::]:53",
        "[2001:db8::1",
        "ff02::1",
    ] {
        let expected = format!("line 2: dns.servers[0]: {text:?} is not the address of a server; {remedy}");
        assert_eq!(errors(&format!("{MINIMAL}dns.servers = [{text:?}]")), [expected]);
    }
    let many: Vec<String> = (1..=MAX_DNS_SERVERS + 1).map(|n| format!("\"192.0.2.{n}\"")).collect();
    assert_eq!(servers(&many[1..].join(",")).len(), MAX_DNS_SERVERS);
    mistakes(&[
        (&format!("dns.servers = [{}]", many.join(",")), "line 2: dns.servers: names more than 8; name fewer"),
        ("dns.servers = []", "line 2: dns.servers: names no server; name at least one, or remove the key"),
        ("dns.servers = [\"192.0.2.1\", \"192.0.2.1:53\"]", "line 2: dns.servers[1]: is already named; name each server once"),
        (
            "dns.servers = \"192.0.2.1\"",
            "line 2: dns.servers: is of type string, not a list; write a list such as [\"192.0.2.53\", \"[2001:db8::1]:5353\"]",
        ),
        (
            "[dns]\nrecursive = true\nservers = [\"192.0.2.1\"]",
            "line 4: dns.servers: nobody is asked when recursive = true; remove one of the two",
        ),
        (
            "dns.trust_anchor = \"root.key\"",
            "line 2: dns.trust_anchor: is not an absolute path; write the whole path, beginning with / and without \"..\"",
        ),
        ("dns.server = []", "line 2: dns.server: is not a key; did you mean \"servers\"?"),
    ]);
}

#[test]
fn smarthosts_are_named_and_found() {
    let relay = |text: &str| parse(&format!("[send.smarthosts.a-1]\n{text}")).send.smarthosts["a-1"].clone();
    let smarthost = relay("host = \"relay.example\"");
    assert_eq!((smarthost.port, smarthost.tls, smarthost.user, smarthost.authority), (465, SmarthostTls::Implicit, None, None));
    for (text, port) in [("tls = \"starttls\"", 587), ("tls = \"none\"", 587), ("tls = \"none\"\nport = 25", 25), ("port = 2465", 2465)] {
        assert_eq!(relay(&format!("host = \"relay.example\"\n{text}")).port, port, "{text}");
    }
    assert_eq!(relay("host = \"2001:db8::25\"").host, SmarthostName::Address("2001:db8::25".parse().unwrap()));
    let long = "a".repeat(MAX_SMARTHOST_NAME);
    parse(&format!("send.smarthosts.{long}.host = \"relay.example\""));
    for name in [format!("{long}a"), "\"\"".into(), "A".into(), "a_b".into(), "\"a.b\"".into(), "\"a/b\"".into()] {
        let expected = format!(
            "line 2: send.smarthosts.{name}: is not a name for a smarthost; write at most 64 of a-z, 0-9 and \"-\", such as [send.smarthosts.relay]"
        );
        assert_eq!(errors(&format!("{MINIMAL}[send.smarthosts.{name}]\nhost = \"relay.example\"")), [expected]);
    }
    let user = |value: &str| format!("[send.smarthosts.r]\nhost = \"r.example\"\nuser = {value}");
    parse(&user(&format!("\"{}\"", "u".repeat(MAX_SMARTHOST_USER))));
    let no_user = "line 4: send.smarthosts.r.user: is not a user name; write 1 to 255 bytes without control characters";
    let host = "write a name such as \"smtp.example.com\" or an address such as \"192.0.2.25\"";
    mistakes(&[
        ("[send.smarthosts.r]", "line 2: send.smarthosts.r.host: is missing; write its name, such as host = \"smtp.example.com\""),
        ("send.smarthosts.r.host = \"a b\"", &format!("line 2: send.smarthosts.r.host: is not a valid domain name; {host}")),
        ("send.smarthosts.r.host = \"0.0.0.0\"", &format!("line 2: send.smarthosts.r.host: is not the address of a host; {host}")),
        ("send.smarthosts.r.host = \"[192.0.2.1]\"", &format!("line 2: send.smarthosts.r.host: is an address literal; {host}")),
        (&user("\"\""), no_user),
        (&user("\"a\\nb\""), no_user),
        (&user(&format!("\"{}\"", "u".repeat(MAX_SMARTHOST_USER + 1))), no_user),
        (
            &format!("{}\ntls = \"none\"", user("\"u\"")),
            "line 4: send.smarthosts.r.user: would log in without TLS; write tls = \"implicit\" or \"starttls\", or remove user",
        ),
        (
            "[send.smarthosts.r]\nhost = \"r.example\"\ntls = \"none\"\ncertificate_authority = \"/ca.pem\"",
            "line 5: send.smarthosts.r.certificate_authority: does nothing without TLS; write tls = \"implicit\" or \"starttls\", or remove it",
        ),
        (
            "[send.smarthosts.r]\nhost = \"r.example\"\ntls = \"ssl\"",
            "line 4: send.smarthosts.r.tls: \"ssl\" is not known here; write one of \"implicit\", \"starttls\", \"none\"",
        ),
        (
            "[send.smarthosts.r]\nhost = \"r.example\"\nport = 0",
            "line 4: send.smarthosts.r.port: is out of range; write a number from 1 to 65535",
        ),
        (
            "[send.smarthosts.r]\nhost = \"r.example\"\npassword = \"x\"",
            "line 4: send.smarthosts.r.password: a password has no place in this file; give it to the process \"send\" as the credential \"smarthost.r\"",
        ),
        ("send.smarthost = \"x\"", "line 2: send.smarthost: there is no smarthost \"x\"; add [send.smarthosts.x] or name one that exists"),
        (
            "[send.senders]\n\"a@example.org\" = \"x\"",
            "line 3: send.senders.\"a@example.org\": there is no smarthost \"x\"; add [send.smarthosts.x] or name one that exists",
        ),
        (
            "send.domains.\"example.org\".smarthost = \"x\"",
            "line 2: send.domains.\"example.org\".smarthost: there is no smarthost \"x\"; add [send.smarthosts.x] or name one that exists",
        ),
        // A smarthost with a mistake of its own exists.
        (
            "send.smarthost = \"r\"\n[send.smarthosts.r]",
            "line 3: send.smarthosts.r.host: is missing; write its name, such as host = \"smtp.example.com\"",
        ),
    ]);
}

#[test]
fn the_smarthost_is_chosen_by_sender_then_destination() {
    let hosts: String = ["one", "two", "three", "four"].map(|n| format!("smarthosts.{n}.host = \"{n}.example\"\n")).concat();
    let send = parse(&format!(
        "[send]\nsmarthost = \"four\"\n{hosts}domains.\"D.example\".smarthost = \"three\"\n\
         senders.\"A@Example.org\" = \"one\"\nsenders.\"Example.org\" = \"two\""
    ))
    .send;
    for (sender, destination, expected) in [
        (Some("a@example.ORG"), "d.example", "one"),
        (Some("b@example.org"), "d.example", "two"),
        (Some("b@example.net"), "d.example", "three"),
        (None, "d.example", "three"),
        (Some("b@example.net"), "e.example", "four"),
    ] {
        assert_eq!(send.smarthost(sender.map(address).as_ref(), &domain(destination)), Some(expected));
    }
    let twice = |kind: &str| format!("[send]\n{hosts}{kind}");
    mistakes(&[
        (
            &twice("senders.\"A@example.org\" = \"one\"\nsenders.\"a@example.org\" = \"two\""),
            "line 8: send.senders.\"a@example.org\": is another spelling of a sender that is given above or below; give each sender once",
        ),
        (
            &twice("domains.\"A.example\" = {}\ndomains.\"a.example\" = {}"),
            "line 8: send.domains.\"a.example\": is another spelling of a domain that is given above or below; give each domain once",
        ),
        (
            &twice("senders.\"a b\" = \"one\""),
            "line 7: send.senders.\"a b\": is not a valid domain name; write an address or a domain name",
        ),
    ]);
}

#[test]
fn tls_levels_and_fingerprints_go_together() {
    let destination = |text: &str| parse(&format!("[send.domains.\"d.example\"]\n{text}")).send.destinations[&domain("d.example")].clone();
    for (text, level) in [
        ("none", TlsLevel::None),
        ("may", TlsLevel::May),
        ("encrypt", TlsLevel::Encrypt),
        ("verify", TlsLevel::Verify),
        ("dane-only", TlsLevel::DaneOnly),
    ] {
        assert_eq!(destination(&format!("tls = \"{text}\"")).tls, Some(level));
    }
    let upper = PRINT.to_uppercase();
    let colons: Vec<&str> = (0..32).map(|n| &upper[2 * n..2 * n + 2]).collect();
    let both = destination(&format!("tls = \"fingerprint\"\nfingerprints = [\"{PRINT}\", \"{}\"]", colons.join(":"))).fingerprints;
    assert_eq!(both[0], both[1]);
    assert_eq!((both[0][0], both[0][31]), (0xe3, 0x55));
    let key = "send.domains.\"d.example\"";
    let prints = |list: &str| format!("[{key}]\ntls = \"fingerprint\"\nfingerprints = [{list}]");
    let remedy = "write 64 hexadecimal digits, with or without colons (openssl x509 -noout -fingerprint -sha256)";
    let wrong = format!("line 4: {key}.fingerprints[0]: is not a SHA-256 fingerprint; {remedy}");
    let (short, plus) = (&PRINT[..62], format!("+{}", &PRINT[1..]));
    let (shifted, umlauts) = (colons.join(":").replacen(":C4:", "C:4:", 1), "ä".repeat(32));
    for text in [short, &plus, &shifted, &umlauts, "", &format!("{PRINT}00"), &colons.join("-")] {
        assert_eq!(errors(&format!("{MINIMAL}{}", prints(&format!("{text:?}")))), [wrong.as_str()], "{text}");
    }
    let many = vec![format!("\"{PRINT}\""); MAX_FINGERPRINTS + 1];
    parse(&prints(&many[1..].join(",")));
    mistakes(&[
        (&prints(&many.join(",")), &format!("line 4: {key}.fingerprints: names more than 16; name fewer")),
        (&prints(""), &format!("line 4: {key}.fingerprints: names no fingerprint; name at least one, or remove the key")),
        (
            &format!("[{key}]\ntls = \"fingerprint\""),
            &format!("line 3: {key}.tls: \"fingerprint\" accepts no certificate at all; add fingerprints = [\"SHA-256 in hexadecimal\"]"),
        ),
        (
            &format!("[{key}]\nfingerprints = [\"{PRINT}\"]"),
            &format!("line 3: {key}.fingerprints: is only for tls = \"fingerprint\"; write tls = \"fingerprint\", or remove it"),
        ),
        (
            &format!("[{key}]\ntls = \"verify\"\nfingerprints = [\"{PRINT}\"]"),
            &format!("line 4: {key}.fingerprints: is only for tls = \"fingerprint\"; write tls = \"fingerprint\", or remove it"),
        ),
        // One mistake, not two.
        (
            &format!("[{key}]\ntls = \"fingerprints\"\nfingerprints = [\"{PRINT}\"]"),
            &format!(
                "line 3: {key}.tls: \"fingerprints\" is not known here; write one of \"none\", \"may\", \"encrypt\", \"verify\", \"dane-only\", \
                 \"fingerprint\""
            ),
        ),
    ]);
}

#[test]
fn times_have_units_and_limits() {
    let send = |text: &str| parse(&format!("[send]\n{text}")).send;
    assert_eq!(send("expire = \"1h\"\nwarn_after = \"10m\"").expire, Duration::from_secs(3_600));
    assert_eq!(send("expire = \"30d\"").expire, 30 * DAY);
    assert_eq!(send("warn_after = \"0\"").warn_after, None);
    assert_eq!(send("warn_after = \"1d\"").warn_after, Some(DAY));
    // The default stays silent beside a shorter life.
    assert_eq!(send("expire = \"1h\"").warn_after, Some(DEFAULT_WARN_AFTER));
    assert_eq!(parse("dkim.rotate = \"0\"").dkim.rotate, None);
    assert_eq!(parse("dkim.rotate = \"14d\"").dkim.rotate, Some(14 * DAY));
    let remedy = "write a number with its unit s, m, h, d or w, such as \"4h\"";
    mistakes(&[
        ("send.expire = \"3599s\"", "line 2: send.expire: is too short; write at least \"1h\""),
        ("send.expire = \"0\"", "line 2: send.expire: is too short; write at least \"1h\""),
        ("send.expire = \"721h\"", "line 2: send.expire: is too long; write at most \"30d\""),
        ("send.expire = \"5 days\"", &format!("line 2: send.expire: is not a length of time; {remedy}")),
        ("send.expire = 432000", &format!("line 2: send.expire: is of type integer, not a length of time; {remedy}")),
        ("send.warn_after = \"9m\"", "line 2: send.warn_after: is too short; write at least \"10m\""),
        (
            "send.warn_after = \"5d\"",
            "line 2: send.warn_after: is not before send.expire; write less than \"5d\", or \"0\" to send no warnings",
        ),
        ("dkim.rotate = \"13d\"", "line 2: dkim.rotate: is too short; write at least \"2w\""),
        ("dkim.rotate = \"3651d\"", "line 2: dkim.rotate: is too long; write at most \"3650d\""),
        ("dkim.rotates = \"90d\"", "line 2: dkim.rotates: is not a key; did you mean \"rotate\"?"),
    ]);
}

#[test]
fn counts_have_limits_and_zero_turns_them_off() {
    let send = |text: &str| parse(&format!("[send]\n{text}")).send;
    assert_eq!(send("connections_per_destination = 100").connections_per_destination, 100);
    assert_eq!(send("messages_per_minute = 0").messages_per_minute, None);
    assert_eq!(send("messages_per_minute = 100_000").messages_per_minute, Some(100_000));
    let switched = send("paused = true\nhide_client = true\ntls_reports = false");
    assert!(switched.paused && switched.hide_client && !switched.tls_reports);
    let off =
        parse("[limits.sending]\nmessages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 10_000_000");
    let expected =
        SendingLimits { messages_per_hour: None, messages_per_day: None, recipients_per_hour: None, recipients_per_day: Some(10_000_000) };
    assert_eq!(off.limits.sending, expected);
    let range = |key: &str, range: &str| format!("line 2: {key}: is out of range; write a number from {range}");
    let addresses: Vec<String> = (0..=MAX_SOURCE_ADDRESSES).map(|n| format!("\"192.0.2.{n}\"")).collect();
    mistakes(&[
        ("send.connections_per_destination = 0", &range("send.connections_per_destination", "1 to 100")),
        ("send.connections_per_destination = 101", &range("send.connections_per_destination", "1 to 100")),
        ("send.messages_per_minute = 100001", &range("send.messages_per_minute", "0 to 100000")),
        ("limits.sending.messages_per_day = 10000001", &range("limits.sending.messages_per_day", "0 to 10000000")),
        (
            "limits.sending.messages_per_month = 1",
            "line 2: limits.sending.messages_per_month: is not a key; remove it; known here: messages_per_hour, messages_per_day, recipients_per_hour, recipients_per_day",
        ),
        (&format!("send.source_addresses = [{}]", addresses.join(",")), "line 2: send.source_addresses: names more than 16; name fewer"),
        (
            "send.source_addresses = [\"::\"]",
            "line 2: send.source_addresses[0]: \"::\" is not an address of a host; write addresses such as \"192.0.2.25\"",
        ),
        (
            "send.source_addresses = [\"192.0.2.1\", \"192.0.2.1\"]",
            "line 2: send.source_addresses[1]: is already named; name each address once",
        ),
        (
            "send.private_networks = [\"10.1.2.3/8\"]",
            "line 2: send.private_networks[0]: \"10.1.2.3/8\" has bits beyond its prefix; write a network of other hosts such as \"10.1.0.0/16\" or \"10.1.2.3\"",
        ),
        (
            "send.private_networks = [\"10.0.0.1\", \"10.0.0.1/32\"]",
            "line 2: send.private_networks[1]: is already named; name each network once",
        ),
        ("send.hide_client = 1", "line 2: send.hide_client: is of type integer, not a boolean; write true or false without quotes"),
    ]);
    assert!(errors(&format!("{MINIMAL}send.pause = true"))[0].contains("did you mean \"paused\"?"));
}
