//! `postern dns`: what to publish for the hosted domains, in the form of a zone file (RFC 1035 5.1) or as JSON.

use crate::{
    Failure, check,
    directory::Output,
    dkim::{hosted, json_key, keys_of},
    say,
};
use clap::Args;
use pure_addr::Domain;
use pure_config::{Config, SendConfig, Smarthost, SmarthostName};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};
use wire::edge::keys_control::{Key, Stage};

/// Bytes of one character-string of a TXT record (RFC 1035 3.3).
const MAX_STRING: usize = 255;
/// Where the certificate is that PID 1 hands on, when the configuration names none.
const CREDENTIAL: &str = "/etc/credstore/postern.tls.crt";

#[derive(Debug, Args)]
pub(crate) struct Dns {
    /// One domain; all hosted ones without.
    domain: Option<Domain>,
    /// The configuration, which says what this host is called.
    #[arg(long, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
    /// The certificate that this host shows, for its TLSA records [default: the first of the configuration, else the credential's file].
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// One record to publish.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// Fully qualified, with its last dot.
    name: String,
    kind: &'static str,
    /// As in a zone file, but for TXT: its text.
    data: String,
    /// For a person; none when the one before says it.
    why: Option<String>,
}

/// What is to be published for one domain.
#[derive(Debug)]
struct Published {
    domain: Domain,
    records: Vec<Record>,
    /// RFC 8461 3.2; lines end with CRLF.
    policy: String,
    keys: Vec<Key>,
}

pub(crate) async fn run(edges: &Path, options: Dns) -> Result<(), Failure> {
    let config = read(&options.config)?;
    let given = options.certificate.as_deref().or_else(|| config.tls.first().map(|files| files.certificate.as_path()));
    let tlsa = match tlsa(given.unwrap_or(Path::new(CREDENTIAL))) {
        // Whoever names a file means it.
        Err(failure) if options.certificate.is_some() => return Err(failure),
        tlsa => tlsa.ok(),
    };
    let mut all = Vec::new();
    for domain in hosted(edges, options.domain.as_ref()).await? {
        let keys = keys_of(edges, &domain).await?;
        all.push(published(domain, &config, tlsa.as_deref(), keys));
    }
    if options.output.json {
        return say(Value::from_iter(all.iter().map(in_json)));
    }
    if all.is_empty() {
        return Err(Failure::Because("no domain is hosted here; add one with \"postern domain add\"".into()));
    }
    for one in &all {
        print(one, &config.hostname, tlsa.is_some())?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Config, Failure> {
    let text = check::read(file).map_err(|failure| match failure {
        Failure::Because(why) => Failure::Because(format!("{why}; name the configuration with --config FILE")),
        other => other,
    })?;
    Config::parse(&text).map_err(|mistakes| {
        for mistake in mistakes {
            let _ = writeln!(io::stderr(), "{}: {mistake}", file.display());
        }
        Failure::Reported
    })
}

/// The data of the TLSA record for the key of a certificate: `3 1 1` (RFC 7672 3.1.1), which stays right while the key stays.
fn tlsa(certificate: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::Because(format!("{}: {why}", certificate.display()));
    let pem = check::read(certificate)?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| failed(e.to_string()))?;
    let parsed = webpki::EndEntityCert::try_from(&der).map_err(|e| failed(e.to_string()))?;
    let digest = Sha256::digest(parsed.subject_public_key_info());
    Ok(format!("3 1 1 {}", data_encoding::HEXLOWER.encode(&digest)))
}

/// SPF (RFC 7208): the hosts of MX, and the smarthosts that mail from the domain may take.
fn spf(domain: &Domain, send: &SendConfig) -> String {
    let senders = send.sender_domains.iter().filter(|(sender, _)| *sender == domain).map(|(_, name)| name);
    let addresses = send.sender_addresses.iter().filter(|(address, _)| address.ends_with(&format!("@{domain}"))).map(|(_, name)| name);
    let destinations = send.destinations.values().filter_map(|d| d.smarthost.as_ref());
    let used: BTreeSet<&String> = send.smarthost.iter().chain(senders).chain(addresses).chain(destinations).collect();
    let mechanism = |smarthost: &Smarthost| match (&smarthost.spf, &smarthost.host) {
        (Some(spf), _) => spf.clone(),
        (None, SmarthostName::Name(host)) => format!("a:{host}"),
        (None, SmarthostName::Address(IpAddr::V4(address))) => format!("ip4:{address}"),
        (None, SmarthostName::Address(IpAddr::V6(address))) => format!("ip6:{address}"),
    };
    let mechanisms: BTreeSet<String> = used.into_iter().filter_map(|name| send.smarthosts.get(name)).map(mechanism).collect();
    let mechanisms: String = mechanisms.iter().map(|m| format!(" {m}")).collect();
    format!("v=spf1 mx{mechanisms} -all")
}

/// Whether a name is the domain's or below it.
fn is_within(name: &Domain, domain: &Domain) -> bool {
    name == domain || name.as_str().strip_suffix(domain.as_str()).is_some_and(|front| front.ends_with('.'))
}

fn published(domain: Domain, config: &Config, tlsa: Option<&str>, keys: Vec<Key>) -> Published {
    let host = &config.hostname;
    // Testing first (RFC 8461 5): a policy in force with a wrong certificate loses mail.
    let policy = format!("version: STSv1\r\nmode: testing\r\nmx: {host}\r\nmax_age: 604800\r\n");
    let mut records = Vec::new();
    let mut add = |name: String, kind, data: String, why: &str| {
        records.push(Record { name, kind, data, why: (!why.is_empty()).then(|| why.to_owned()) });
    };
    add(format!("{domain}."), "MX", format!("10 {host}."), "Where mail for the domain arrives.");
    add(format!("{domain}."), "TXT", spf(&domain, &config.send), "SPF: only these hosts send for the domain (RFC 7208).");
    if let Some(tlsa) = tlsa.filter(|_| is_within(host, &domain)) {
        let why = "DANE: the key of our certificate (RFC 7672), of use where the zone is signed. Before the key changes, publish the next one too.";
        add(format!("_25._tcp.{host}."), "TLSA", tlsa.to_owned(), why);
    }
    let mut sorted: Vec<&Key> = keys.iter().collect();
    sorted.sort_by_key(|key| match key.stage {
        Stage::Current => 0,
        Stage::Next => 1,
        Stage::Old => 2,
    });
    for key in sorted {
        let why = match key.stage {
            Stage::Current => "DKIM: the key that signs (RFC 6376, RFC 8463).".to_owned(),
            Stage::Next => format!("DKIM: signs from {} on; publish it before.", until(key)),
            Stage::Old => format!("DKIM: signed earlier; keep it until {}.", until(key)),
        };
        add(format!("{}._domainkey.{domain}.", key.selector), "TXT", key.record.to_string(), &why);
    }
    add(
        format!("_dmarc.{domain}."),
        "TXT",
        format!("v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"),
        "DMARC: what fails SPF and DKIM is suspicious. When the reports show only mail that is not yours, tighten it to p=reject.",
    );
    add(
        format!("_mta-sts.{domain}."),
        "TXT",
        format!("v=STSv1; id={}", policy_id(&policy)),
        "MTA-STS: TLS with a valid certificate for mail to the domain (RFC 8461). Change id whenever the policy changes.",
    );
    add(format!("_smtp._tls.{domain}."), "TXT", format!("v=TLSRPTv1; rua=mailto:postmaster@{domain}"), "Reports about TLS (RFC 8460).");
    for (service, data, why) in [
        ("_submissions", format!("0 1 465 {host}."), "For mail clients that find their servers by themselves (RFC 6186, RFC 8314)."),
        ("_imaps", format!("0 1 993 {host}."), ""),
    ] {
        add(format!("{service}._tcp.{domain}."), "SRV", data, why);
    }
    Published { domain, records, policy, keys }
}

fn until(key: &Key) -> String {
    key.until.map_or_else(|| "it is removed".to_owned(), crate::queue::date)
}

/// RFC 8461 3.1: up to 32 letters and digits that differ when the policy does. FNV-1a: nobody gains by a collision.
fn policy_id(policy: &str) -> String {
    let hash = policy.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

fn print(published: &Published, host: &Domain, has_tlsa: bool) -> Result<(), Failure> {
    let domain = &published.domain;
    say(format_args!("; {domain}"))?;
    say(";")?;
    say(format_args!("; {host} itself needs A and AAAA records, and its addresses must have PTR records back to that name."))?;
    if !has_tlsa {
        say("; Its certificate cannot be read, so there is no TLSA record: name the file with --certificate.")?;
    }
    for record in &published.records {
        if let Some(why) = &record.why {
            say(";")?;
            say(format_args!("; {why}"))?;
        }
        say(format_args!("{} 3600 IN {} {}", record.name, record.kind, zone_data(record)))?;
    }
    say(";")?;
    say(format_args!("; The MTA-STS policy. Serve it with a valid certificate at https://mta-sts.{domain}/.well-known/mta-sts.txt,"))?;
    say("; and when reports show no failures, with mode: enforce and max_age: 2592000.")?;
    for line in published.policy.lines() {
        say(format_args!(";   {line}"))?;
    }
    say("")
}

/// As it stands in a zone file.
fn zone_data(record: &Record) -> String {
    if record.kind != "TXT" {
        return record.data.clone();
    }
    // The texts are made of ASCII without quotes and backslashes, see `dkim`; where one was not, it would be escaped (RFC 1035 5.1).
    let strings = record.data.as_bytes().chunks(MAX_STRING).map(|chunk| {
        let text = String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{text}\"")
    });
    strings.collect::<Vec<_>>().join(" ")
}

fn in_json(published: &Published) -> Value {
    let records = published.records.iter().map(|r| json!({"name": r.name, "type": r.kind, "data": r.data, "ttl": 3600, "why": r.why}));
    let keys = published.keys.iter().map(|key| json_key(&published.domain, key));
    json!({"domain": published.domain.as_str(), "records": Value::from_iter(records), "dkim": Value::from_iter(keys),
        "mta_sts_policy": published.policy})
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_addr::Text;

    fn example() -> Published {
        let key = |selector: &str, stage, record: &str| Key {
            selector: Text::new(selector).unwrap(),
            stage,
            until: Some(0),
            record: Text::new(record).unwrap(),
        };
        let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(400));
        let keys = vec![key("old", Stage::Old, "v=DKIM1; k=ed25519; p=x"), key("new", Stage::Current, &long)];
        let config = Config::parse("hostname = \"mail.example.org\"\n[domains.\"example.org\"]\n").unwrap();
        published(Domain::parse("example.org").unwrap(), &config, Some("3 1 1 00"), keys)
    }

    /// Relays send for us too, each for whom it is declared.
    #[test]
    fn spf_names_the_smarthosts_that_mail_may_take() {
        let smarthost = |name: &str, rest: &str| format!("[send.smarthosts.{name}]\n{rest}\n");
        let config = format!(
            "hostname = \"mail.example.org\"\n[domains.\"example.org\"]\n[domains.\"other.org\"]\n[send]\nsmarthost = \"all\"\n[send.senders]\n\
             \"other.org\" = \"some\"\n\"a@example.org\" = \"one\"\n[send.domains.\"x.test\"]\nsmarthost = \"there\"\n{}{}{}{}{}",
            smarthost("all", "host = \"smtp.relay.test\"\nspf = \"include:_spf.relay.test\""),
            smarthost("some", "host = \"some.test\""),
            smarthost("one", "host = \"192.0.2.7\""),
            smarthost("there", "host = \"2001:db8::1\""),
            smarthost("unused", "host = \"unused.test\""),
        );
        let config = Config::parse(&config).unwrap();
        let of = |domain: &str| spf(&Domain::parse(domain).unwrap(), &config.send);
        assert_eq!(of("example.org"), "v=spf1 mx include:_spf.relay.test ip4:192.0.2.7 ip6:2001:db8::1 -all");
        assert_eq!(of("other.org"), "v=spf1 mx a:some.test include:_spf.relay.test ip6:2001:db8::1 -all");
    }

    #[test]
    fn tlsa_is_the_digest_of_the_key_and_of_the_hosts_own_domain() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["mail.example.org".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate.pem()).unwrap();
        let expected = data_encoding::HEXLOWER.encode(&Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)));
        assert_eq!(tlsa(file.path()).unwrap(), format!("3 1 1 {expected}"));
        assert!(tlsa(Path::new("/nonexistent")).is_err());
        let config = Config::parse("hostname = \"mail.example.org\"\n[domains.\"example.net\"]\n").unwrap();
        let other = published(Domain::parse("example.net").unwrap(), &config, Some("3 1 1 00"), Vec::new());
        assert!(other.records.iter().all(|r| r.kind != "TLSA"));
        assert!(!is_within(&Domain::parse("notexample.org").unwrap(), &Domain::parse("example.org").unwrap()));
    }

    #[test]
    fn everything_a_receiver_looks_for_is_there() {
        let example = example();
        let found: Vec<(&str, &str)> = example.records.iter().map(|r| (r.name.as_str(), r.kind)).collect();
        let expected = [
            ("example.org.", "MX"),
            ("example.org.", "TXT"),
            ("_25._tcp.mail.example.org.", "TLSA"),
            ("new._domainkey.example.org.", "TXT"),
            ("old._domainkey.example.org.", "TXT"),
            ("_dmarc.example.org.", "TXT"),
            ("_mta-sts.example.org.", "TXT"),
            ("_smtp._tls.example.org.", "TXT"),
            ("_submissions._tcp.example.org.", "SRV"),
            ("_imaps._tcp.example.org.", "SRV"),
        ];
        assert_eq!(found, expected);
        assert_eq!(in_json(&example)["records"].as_array().unwrap().len(), 10);
    }

    #[test]
    fn long_texts_are_cut_into_strings() {
        let example = example();
        let data = zone_data(&example.records[3]);
        let strings: Vec<&str> = data.split("\" \"").map(|s| s.trim_matches('"')).collect();
        assert_eq!(strings.len(), 2);
        assert!(strings.iter().all(|s| s.len() <= MAX_STRING));
        assert_eq!(strings.concat(), example.records[3].data);
        assert_eq!(zone_data(&example.records[1]), "\"v=spf1 mx -all\"");
    }

    #[test]
    fn the_id_of_a_policy_changes_with_it() {
        assert_ne!(policy_id("mode: testing"), policy_id("mode: enforce"));
        assert!(policy_id("x").len() <= 32 && policy_id("x").bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}
