mod outbound;

use super::*;

const MINIMAL: &str = "hostname = \"mail.example.org\"\n";

/// The errors of a text, each as a person sees it.
fn errors(text: &str) -> Vec<String> {
    Config::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The errors of what follows a valid hostname and two domains on lines 1 to 3.
fn errors_after_domains(text: &str) -> Vec<String> {
    errors(&format!("{MINIMAL}domains.\"example.org\" = {{}}\ndomains.\"example.net\" = {{}}\n{text}"))
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

#[test]
fn the_example_is_valid_and_shows_every_key() {
    let text = include_str!("../postern.example.toml");
    let config = Config::parse(text).unwrap();
    assert_eq!(config.hostname.as_str(), "mail.example.org");
    assert!(!config.allow_weak_sandbox);
    assert_eq!(config.postmaster, Some(address("alice@example.org")));
    assert_eq!(config.domains.len(), 3);
    let example_org = &config.domains[&Domain::parse("example.org").unwrap()];
    assert_eq!(example_org.catch_all, Some(address("alice@example.org")));
    assert_eq!(example_org.subaddress_separator, Some('+'));
    assert_eq!(config.domains[&Domain::parse("example.net").unwrap()], DomainConfig::default());
    assert_eq!(config.domains[&Domain::parse("example.com").unwrap()].alias_of, Some(Domain::parse("example.org").unwrap()));
    assert_eq!(config.accounts.len(), 2);
    assert_eq!(config.accounts[0].aliases.len(), 2);
    assert_eq!((config.accounts[0].hide_client, config.accounts[1].hide_client), (Some(true), None));
    assert_eq!(config.accounts[0].quota, Some(Size::from_bytes(5 << 30)));
    assert_eq!(config.accounts[1].quota, None);
    assert_eq!(config.aliases[0].targets.len(), 2);
    assert_eq!(config.tls.len(), 2);
    assert_eq!(config.tls[1].private_key, PathBuf::from("/var/lib/acme/mail.example.net/key.pem"));
    let sealers = vec![Domain::parse("lists.example.net").unwrap()];
    assert_eq!(config.mx, MxConfig { accept_own_unauthenticated: false, trusted_sealers: sealers });
    outbound::the_example(&config);
    assert_eq!(config.limits, Limits { quota: Some(Size::from_bytes(20 << 30)), ..Limits::default() });
}

#[test]
fn a_hostname_is_enough() {
    let config = Config::parse(MINIMAL).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!((config.dns, config.send, config.dkim), (DnsConfig::default(), SendConfig::default(), DkimConfig::default()));
    assert!(config.domains.is_empty() && config.accounts.is_empty() && config.aliases.is_empty() && config.tls.is_empty());
}

#[test]
fn sealers_are_domains_each_named_once() {
    let with = |list: &str| format!("{MINIMAL}\n[mx]\ntrusted_sealers = {list}\n");
    let config = Config::parse(&with("[\"Lists.Example.net\", \"b.test\"]")).unwrap();
    assert_eq!(config.mx.trusted_sealers.len(), 2);
    for bad in ["[]", "[\"a.test\", \"a.test\"]", "[\"[192.0.2.1]\"]", "[\"a b\"]", "\"a.test\"", "[5]"] {
        assert_eq!(errors(&with(bad)).len(), 1, "{bad}");
    }
    let many = (0..=MAX_TRUSTED_SEALERS).map(|n| format!("\"d{n}.test\",")).collect::<String>();
    assert_eq!(errors(&with(&format!("[{many}]"))).len(), 1);
}

#[test]
fn an_empty_file_lacks_its_hostname() {
    assert_eq!(errors(""), ["line 1: hostname: is missing; write the full name of this host, such as \"mail.example.org\""]);
}

#[test]
fn the_hostname_is_a_full_domain_name() {
    let remedy = "write the full name of this host, such as \"mail.example.org\"";
    for (value, problem) in [
        ("\"[192.0.2.1]\"", "is an address literal, not a domain name"),
        ("\"mail\"", "is not fully qualified"),
        ("\"mail_.example..org\"", "is not a valid domain name"),
        ("\"192.0.2.1\"", "is not a valid domain name"),
        ("\"\"", "is empty"),
    ] {
        assert_eq!(errors(&format!("\n\nhostname = {value}")), [format!("line 3: hostname: {problem}; {remedy}")]);
    }
    assert_eq!(errors("hostname = 5"), ["line 1: hostname: is of type integer, not a string; write it in quotes"]);
}

#[test]
fn unknown_keys_are_errors_everywhere() {
    let known =
        "remove it; known here: hostname, allow_weak_sandbox, postmaster, domains, accounts, aliases, tls, mx, dns, send, dkim, limits";
    assert_eq!(errors(&format!("{MINIMAL}colour = 1")), [format!("line 2: colour: is not a key; {known}")]);
    assert_eq!(errors(&format!("{MINIMAL}[sandbox]\nallow_weak = true")), [format!("line 2: sandbox: is not a key; {known}")]);
    assert_eq!(
        errors_after_domains("[domains.\"example.com\"]\ncatchall = \"a@example.org\""),
        ["line 5: domains.\"example.com\".catchall: is not a key; did you mean \"catch_all\"?"]
    );
    assert_eq!(
        errors_after_domains("[accounts.\"a@example.org\"]\nsize = 1"),
        ["line 5: accounts.\"a@example.org\".size: is not a key; remove it; known here: aliases, quota, hide_client"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}[tls]\nkey_file = \"/k\"")),
        ["line 3: tls.key_file: is not a key; remove it; known here: certificate, private_key, certificates"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}[[tls.certificates]]\ncertificate = \"/c\"\nprivate_key = \"/k\"\nnames = []")),
        ["line 5: tls.certificates[0].names: is not a key; remove it; known here: certificate, private_key"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}[limits]\nmessage_sizes = 1")),
        ["line 3: limits.message_sizes: is not a key; did you mean \"message_size\"?"]
    );
}

#[test]
fn types_are_strict() {
    assert_eq!(
        errors(&format!("{MINIMAL}allow_weak_sandbox = \"true\"")),
        ["line 2: allow_weak_sandbox: is of type string, not a boolean; write true or false without quotes"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}domains = [\"example.org\"]")),
        ["line 2: domains: is of type array, not a table; write [domains]"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}domains.\"example.org\" = true")),
        ["line 2: domains.\"example.org\": is of type boolean, not a table; write [domains.\"example.org\"]"]
    );
    assert_eq!(
        errors_after_domains("[aliases]\n\"info@example.org\" = \"alice@example.org\""),
        [
            "line 5: aliases.\"info@example.org\": is of type string, not a list; write a list of addresses in brackets, such as [\"alice@example.org\"]"
        ]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}limits.recipients = \"500\"")),
        ["line 2: limits.recipients: is of type string, not a number; write a number without quotes"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}limits.quota = 1.5")),
        ["line 2: limits.quota: is of type float, not a size; write a size with its unit, such as \"5 GiB\", or a number of bytes"]
    );
}

#[test]
fn a_password_has_no_place_here() {
    for name in ["password", "hashedPassword", "password_file", "passwd", "secret"] {
        assert_eq!(
            errors_after_domains(&format!("[accounts.\"alice@example.org\"]\n{name} = \"hunter2\"")),
            [format!(
                "line 5: accounts.\"alice@example.org\".{name}: a password has no place in this file; set it with \"postern account passwd \
                 alice@example.org\" or give the credential \"account.alice@example.org\""
            )]
        );
    }
}

#[test]
fn domains_are_names_given_once() {
    assert_eq!(
        errors(&format!("{MINIMAL}[domains.\"[192.0.2.1]\"]")),
        ["line 2: domains.\"[192.0.2.1]\": is an address literal; write a domain name such as [domains.\"example.org\"]"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}[domains.\"-x.org\"]")),
        ["line 2: domains.\"-x.org\": is not a valid domain name; write a domain name such as [domains.\"example.org\"]"]
    );
    assert_eq!(
        errors(&format!("{MINIMAL}[domains.\"Example.org\"]\n[domains.\"example.org\"]")),
        ["line 3: domains.\"example.org\": is the same domain as on line 2; declare each domain once"]
    );
}

#[test]
fn separators_are_one_character_or_none() {
    let with = |value: &str| format!("{MINIMAL}[domains.\"example.org\"]\nsubaddress_separator = {value}");
    for (value, expected) in [("\"\"", None), ("\"-\"", Some('-')), ("\"_\"", Some('_'))] {
        let config = Config::parse(&with(value)).unwrap();
        assert_eq!(config.domains.values().next().unwrap().subaddress_separator, expected);
    }
    for value in ["\"++\"", "\"a\"", "\".\"", "\"@\"", "\" \"", "\"é\"", "\"\\u0000\""] {
        assert_eq!(
            errors(&with(value)),
            [
                "line 3: domains.\"example.org\".subaddress_separator: is not one separator character; write one of + - = _ # or \"\" to turn \
              subaddressing off"
            ]
        );
    }
}

#[test]
fn addresses_are_addresses() {
    assert_eq!(
        errors_after_domains("[accounts.alice]"),
        ["line 4: accounts.alice: \"alice\" is not an address: it is not of the form local-part@domain; write it as \"alice@example.org\""]
    );
    assert_eq!(
        errors_after_domains("[aliases]\n\"info@example.org\" = [\n  \"alice@[192.0.2.1]\",\n  \"bob@\",\n]"),
        [
            "line 6: aliases.\"info@example.org\"[0]: \"alice@[192.0.2.1]\" is at an address literal; use an address in a domain",
            "line 7: aliases.\"info@example.org\"[1]: \"bob@\" is not an address: it is empty; write it as \"alice@example.org\"",
        ]
    );
    // What could end a line of a log or of a report is written escaped.
    let escaped = errors(&format!("{MINIMAL}postmaster = \"a\\nb@example.org\""));
    assert_eq!(escaped.len(), 1);
    assert!(escaped[0].contains("\"a\\nb@example.org\"") && !escaped[0].contains('\n'), "{escaped:?}");
}

#[test]
fn accounts_and_aliases_are_in_declared_domains() {
    assert_eq!(
        errors_after_domains(
            "[accounts.\"a@example.com\"]\n[accounts.\"b@example.org\"]\naliases = [\"b@example.biz\"]\n[aliases]\n\"c@example.info\" = [\"x@elsewhere.test\"]"
        ),
        [
            "line 4: accounts.\"a@example.com\": the domain example.com is not declared; add [domains.\"example.com\"]",
            "line 6: accounts.\"b@example.org\".aliases[0]: the domain example.biz is not declared; add [domains.\"example.biz\"]",
            "line 8: aliases.\"c@example.info\": the domain example.info is not declared; add [domains.\"example.info\"]",
        ]
    );
}

#[test]
fn an_address_is_given_once() {
    let remedy = "give each address to one account or one alias";
    assert_eq!(
        errors_after_domains("[accounts.\"a@example.org\"]\naliases = [\"b@example.org\"]\n[accounts.\"B@Example.org\"]"),
        [format!("line 6: accounts.\"B@Example.org\": b@example.org is already given on line 5; {remedy}")
            .replace("b@example.org is", "B@example.org is")]
    );
    assert_eq!(
        errors_after_domains("[accounts.\"a@example.org\"]\naliases = [\"A@example.org\", \"c@example.org\", \"c@example.org\"]"),
        [
            format!("line 5: accounts.\"a@example.org\".aliases[0]: A@example.org is already given on line 4; {remedy}"),
            format!("line 5: accounts.\"a@example.org\".aliases[2]: c@example.org is already given on line 5; {remedy}"),
        ]
    );
    assert_eq!(
        errors_after_domains("[accounts.\"a@example.org\"]\n[aliases]\n\"a@example.org\" = [\"x@example.org\"]"),
        [format!("line 6: aliases.\"a@example.org\": a@example.org is already given on line 4; {remedy}")]
    );
}

#[test]
fn aliases_have_targets_each_once() {
    assert_eq!(
        errors_after_domains("[aliases]\n\"a@example.org\" = []"),
        ["line 5: aliases.\"a@example.org\": has no target; name at least one address, or remove the alias"]
    );
    assert_eq!(
        errors_after_domains("[aliases]\n\"a@example.org\" = [\"b@example.org\", \"B@example.org\"]"),
        ["line 5: aliases.\"a@example.org\"[1]: B@example.org is already a target of this alias; name each target once"]
    );
    let with = |count: usize| {
        let targets: Vec<String> = (0..count).map(|n| format!("\"t{n}@elsewhere.test\"")).collect();
        format!("{MINIMAL}domains.\"example.org\" = {{}}\naliases.\"a@example.org\" = [{}]", targets.join(","))
    };
    assert!(Config::parse(&with(MAX_ALIAS_TARGETS)).is_ok());
    assert_eq!(
        errors(&with(MAX_ALIAS_TARGETS + 1)),
        ["line 3: aliases.\"a@example.org\": has more than 256 targets; split it into several aliases"]
    );
}

#[test]
fn alias_loops_are_found() {
    assert_eq!(
        errors_after_domains("[aliases]\n\"a@example.org\" = [\"A@example.org\"]"),
        ["line 5: aliases.\"a@example.org\": leads back to itself: a@example.org -> a@example.org; remove one of these targets"]
    );
    assert_eq!(
        errors_after_domains(
            "[aliases]\n\"a@example.org\" = [\"x@elsewhere.test\", \"b@example.org\"]\n\"b@example.org\" = [\"c@example.org\"]\n\"c@example.org\" = [\"a@example.org\"]"
        ),
        [
            "line 5: aliases.\"a@example.org\": leads back to itself: a@example.org -> b@example.org -> c@example.org -> a@example.org; remove one of these targets"
        ]
    );
    assert_eq!(
        errors_after_domains("[aliases]\n\"a@example.org\" = [\"a+x@example.org\"]"),
        ["line 5: aliases.\"a@example.org\": leads back to itself: a@example.org -> a@example.org; remove one of these targets"]
    );
    // Not where subaddressing is off, nor where an account has that very address.
    let plain = "domains.\"example.org\" = { subaddress_separator = \"\" }\naliases.\"a@example.org\" = [\"a+x@example.org\"]";
    assert!(Config::parse(&format!("{MINIMAL}{plain}")).is_ok());
    let account = "domains.\"example.org\" = {}\naccounts.\"a+x@example.org\" = {}\naliases.\"a@example.org\" = [\"a+x@example.org\"]";
    assert!(Config::parse(&format!("{MINIMAL}{account}")).is_ok());
    // Two ways to the same end are not a loop.
    let diamond = "[aliases]\n\"a@example.org\" = [\"b@example.org\", \"c@example.org\"]\n\"b@example.org\" = [\"d@example.org\"]\n\"c@example.org\" = [\"d@example.org\"]\n\"d@example.org\" = [\"x@elsewhere.test\"]";
    assert!(Config::parse(&format!("{MINIMAL}domains.\"example.org\" = {{}}\n{diamond}")).is_ok());
}

#[test]
fn an_alias_domain_stands_for_another() {
    let found = |text: &str| errors(&format!("{MINIMAL}domains.\"example.org\" = {{}}\n{text}"));
    let valid = "domains.\"example.org\" = {}\ndomains.\"example.net\" = { alias_of = \"Example.ORG\" }\n\
                 accounts.\"a@example.org\" = {}\naliases.\"b@example.org\" = [\"a@example.net\"]\npostmaster = \"a@example.net\"";
    assert!(Config::parse(&format!("{MINIMAL}{valid}")).is_ok());
    let key = "line 3: domains.\"example.net\".alias_of";
    for (value, expected) in [
        ("example.net", "is the domain itself; name another declared domain, or remove alias_of"),
        ("example.com", "the domain example.com is not declared; add [domains.\"example.com\"]"),
        ("[192.0.2.1]", "is an address literal; write the name of another declared domain"),
        ("-", "is not a valid domain name; write the name of another declared domain"),
    ] {
        assert_eq!(found(&format!("domains.\"example.net\" = {{ alias_of = \"{value}\" }}")), [format!("{key}: {expected}")]);
    }
    assert_eq!(
        found("domains.\"example.net\" = { alias_of = \"example.com\" }\ndomains.\"example.com\" = { alias_of = \"example.org\" }"),
        [format!("{key}: example.com is itself an alias of example.org; name the domain that has the addresses")]
    );
    assert_eq!(
        found("[domains.\"example.net\"]\nalias_of = \"example.org\"\ncatch_all = \"x@example.org\"\nsubaddress_separator = \"-\""),
        [
            "line 5: domains.\"example.net\".catch_all: has no meaning beside alias_of; declare it for the other domain",
            "line 6: domains.\"example.net\".subaddress_separator: has no meaning beside alias_of; declare it for the other domain",
        ]
    );
    let alias = "domains.\"example.net\" = { alias_of = \"example.org\" }";
    let problem = "example.net is an alias of example.org, so this address cannot be given on its own";
    let remedy = |local| format!("write {local}@example.org: it has this address too");
    assert_eq!(
        found(&format!(
            "{alias}\n[accounts.\"a@example.net\"]\naliases = [\"b@example.net\"]\n[aliases]\n\"c@example.net\" = [\"x@y.test\"]"
        )),
        [
            format!("line 4: accounts.\"a@example.net\": {problem}; {}", remedy("a")),
            format!("line 5: accounts.\"a@example.net\".aliases[0]: {problem}; {}", remedy("b")),
            format!("line 7: aliases.\"c@example.net\": {problem}; {}", remedy("c")),
        ]
    );
    // A loop through the second name, with and without a subaddress.
    for target in ["a@example.net", "a+x@example.net"] {
        let found = found(&format!("{alias}\naliases.\"a@example.org\" = [\"{target}\"]"));
        assert!(found.len() == 1 && found[0].contains("leads back to itself"), "{found:?}");
    }
}

/// No recursion: a chain far deeper than a stack of frames would bear.
#[test]
fn a_long_chain_of_aliases_is_followed_without_recursion() {
    let mut text = format!("{MINIMAL}domains.\"example.org\" = {{}}\n[aliases]\n");
    for n in 0..20_000 {
        text.push_str(&format!("\"a{n}@example.org\" = [\"a{}@example.org\"]\n", n + 1));
    }
    assert!(Config::parse(&text).is_ok());
}

#[test]
fn certificates_come_with_their_keys() {
    let remedy = "name both the certificate and its private key, or neither";
    assert_eq!(errors(&format!("{MINIMAL}[tls]\ncertificate = \"/c\"")), [format!("line 2: tls.private_key: is missing; {remedy}")]);
    assert_eq!(errors(&format!("{MINIMAL}[tls]\nprivate_key = \"/k\"")), [format!("line 2: tls.certificate: is missing; {remedy}")]);
    assert_eq!(
        errors(&format!(
            "{MINIMAL}[[tls.certificates]]\ncertificate = \"/c\"\nprivate_key = \"/k\"\n[[tls.certificates]]\ncertificate = \"/d\""
        )),
        [format!("line 5: tls.certificates[1].private_key: is missing; {remedy}")]
    );
    for path in ["c.pem", "", "/a/../c.pem", "~/c.pem", "/a\\nb"] {
        let found = errors(&format!("{MINIMAL}[tls]\ncertificate = \"{path}\"\nprivate_key = \"/k\""));
        assert_eq!(found, ["line 3: tls.certificate: is not an absolute path; write the whole path, beginning with / and without \"..\""]);
    }
    assert!(Config::parse(&format!("{MINIMAL}[tls]")).unwrap().tls.is_empty());
}

/// One past each limit.
#[test]
fn limits_have_limits() {
    let with = |text: &str| format!("{MINIMAL}[limits]\n{text}");
    for valid in [
        "message_size = \"64 KiB\"",
        "message_size = 1073741824",
        "recipients = 100",
        "recipients = 1_000",
        "connections_per_peer = 1",
        "quota = \"1 MiB\"",
    ] {
        assert!(Config::parse(&with(valid)).is_ok(), "{valid}");
    }
    for (text, expected) in [
        ("message_size = 65535", "message_size: is too small; write at least \"64 KiB\""),
        ("message_size = 1073741825", "message_size: is too large; write at most \"1 GiB\""),
        ("message_size = -1", "message_size: is not a size; write a size with its unit, such as \"5 GiB\", or a number of bytes"),
        ("message_size = \"50 megs\"", "message_size: is not a size; write a size with its unit, such as \"5 GiB\", or a number of bytes"),
        ("recipients = 99", "recipients: is out of range; write a number from 100 to 1000"),
        ("recipients = 1001", "recipients: is out of range; write a number from 100 to 1000"),
        ("recipients = 99999999999999999999", "recipients: is out of range; write a number from 100 to 1000"),
        ("connections_per_peer = 0", "connections_per_peer: is out of range; write a number from 1 to 10000"),
        ("connections_per_peer = 10001", "connections_per_peer: is out of range; write a number from 1 to 10000"),
        ("login_failures = 1001", "login_failures: is out of range; write a number from 0 to 1000"),
        ("quota = 0", "quota: is too small; write at least \"1 MiB\""),
        ("quota = \"9223372036854775808\"", "quota: is too large; write at most \"9223372036854775807 B\""),
    ] {
        assert_eq!(errors(&with(text)), [format!("line 3: limits.{expected}")]);
    }
}

#[test]
fn waiting_after_failed_logins_can_be_turned_off() {
    let with = |count: u32| Config::parse(&format!("{MINIMAL}limits.login_failures = {count}")).unwrap().limits.login_failures;
    assert_eq!((with(0), with(1), with(1000)), (None, Some(1), Some(1000)));
}

#[test]
fn all_mistakes_are_reported_together_in_order() {
    let text = "hostname = \"mail\"\nfoo = 1\n[domains.\"example.org\"]\n[accounts.\"a@example.org\"]\nquota = \"lots\"\npassword = \"x\"\n[aliases]\n\"b@example.net\" = [\"nobody\"]\n[tls]\ncertificate = \"c\"\n[limits]\nrecipients = 1\n";
    let lines: Vec<usize> = Config::parse(text).unwrap_err().iter().map(|e| e.line).collect();
    assert_eq!(lines, [1, 2, 5, 6, 8, 8, 9, 10, 12]);
}

#[test]
fn syntax_errors_name_their_lines() {
    let found = Config::parse("hostname = \"mail.example.org\"\nx = \n\n[domains\ny = [1,\n").unwrap_err();
    assert!(found.len() >= 2 && found[0].line == 2, "{found:?}");
    assert!(found.iter().all(|e| e.remedy == "correct the TOML syntax (https://toml.io)" && e.key.is_empty()));
    let duplicate = Config::parse("hostname = \"a.example\"\nhostname = \"b.example\"\n").unwrap_err();
    assert_eq!((duplicate.len(), duplicate[0].line, duplicate[0].key.as_str()), (1, 2, "hostname"));
    let duplicate = Config::parse("hostname = \"a.example\"\n[domains.\"a.example\"]\n[domains.\"a.example\"]\n").unwrap_err();
    assert_eq!((duplicate.len(), duplicate[0].line, duplicate[0].remedy.as_ref()), (1, 3, "keep one of the two"));
}

/// What can be read is checked although something else cannot; nothing is told that may only follow from what could not be read.
#[test]
fn mistakes_beside_a_syntax_error_are_reported_too() {
    let lines = |text: &str| Config::parse(text).unwrap_err().iter().map(|e| (e.line, e.key.clone())).collect::<Vec<_>>();
    let syntax = String::new();
    // The rest of its table is a guess (lines 2 to 4), the others are not.
    assert_eq!(
        lines("hostname = \"mail\"\n[limits]\nmessage_size = 50 MiB\nrecipients = 1\n[dkim]\nrotate = \"1h\"\n"),
        [(1, "hostname".into()), (3, syntax.clone()), (6, "dkim.rotate".into())]
    );
    // Its first table cannot be read: neither that there is no hostname nor that there is no such domain is known.
    let text = "hostname = mail\ndomains.\"example.org\" = {}\n[accounts.\"a@example.org\"]\nquota = 1\n[accounts.\"b@example.net\"]\n";
    assert_eq!(lines(text), [(1, syntax.clone()), (4, "accounts.\"a@example.org\".quota".into())]);
    // A broken header: its keys would fall into the table before.
    let text = "hostname = \"mail.example.org\"\n[domains.\"example.org\"]\n[limits\nrecipients = 100\n[dkim]\nrotate = \"0\"\n";
    assert_eq!(lines(text), [(3, syntax.clone())]);
    // A list that does not end takes everything after it.
    let text = "[aliases]\n\"a@example.org\" = [\"b@example.org\"\n[limits]\nrecipients = 1\n[dkim]\nrotate = \"1h\"\n";
    let found = lines(text);
    assert!(!found.is_empty() && found.iter().all(|(line, key)| *line > 2 && key.is_empty()), "{found:?}");
}

#[test]
fn a_huge_file_is_refused_before_it_is_parsed() {
    let padding = "#".repeat(MAX_CONFIG - MINIMAL.len());
    assert!(Config::parse(&format!("{MINIMAL}{padding}")).is_ok());
    assert_eq!(
        errors(&format!("{MINIMAL}{padding}#")),
        ["line 1: the file is longer than 16 MiB; manage accounts with \"postern account\" instead"]
    );
}

/// Nesting is bounded by the TOML parser; it must report, not overflow the stack.
#[test]
fn deep_nesting_is_an_error() {
    for nest in ["[".repeat(100_000), "{a=".repeat(100_000)] {
        assert!(Config::parse(&format!("{MINIMAL}aliases = {nest}")).is_err());
    }
    assert!(Config::parse(&format!("{MINIMAL}{}", "a.".repeat(100_000))).is_err());
}
