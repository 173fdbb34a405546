//! Reverse-paths of ours: made for a sender, and read by whoever writes back. The input is an address.

use postern_queue::srs::{GOOD_FOR, Origin, is, is_named, reverse, rewrite};
use pure_addr::{Address, Domain, MAX_LOCAL_PART};

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER: &[u8] = b"0123456789abcdef0123456789abcdeF";
const NOW: i64 = 1_763_695_887_000;
const DAY: i64 = 86_400_000;

pub(super) const WORDS: &[&str] =
    &["SRS0=", "SRS1=", "srs0+", "SRS1-", "=", "=ZZ=", "@mta.test", "@remote.test", "SRS1=AAAAAAAAAA=relay.test==", "\"", "+", "a.b"];

fn ours() -> Domain {
    Domain::parse("mta.test").unwrap()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = format!("{}@remote.test", "x".repeat(60));
    let senders = ["Some.One@remote.test", "a@b.test", "\"a b\"@remote.test", "SRS0=HHHHHHHHHH=TT=first.test=x@relay.test", &long];
    let made = senders.iter().filter_map(|text| rewrite(KEY, &Address::parse(text).ok()?, &ours(), NOW)).map(|made| made.path.to_string());
    let mut out: Vec<Vec<u8>> = made.clone().map(String::into_bytes).collect();
    // Rewritten by us and then by us again, and what others make of the case.
    out.extend(
        made.filter_map(|text| rewrite(KEY, &Address::parse(&text).ok()?, &ours(), NOW)).map(|made| made.path.to_string().into_bytes()),
    );
    out.extend(out.clone().iter().map(|text| text.to_ascii_lowercase()));
    out.extend(senders.map(|text| text.as_bytes().to_vec()));
    out
}

pub(super) fn run(input: &[u8]) {
    let Some(address) = std::str::from_utf8(input).ok().and_then(|text| Address::parse(text).ok()) else { return };
    there_and_back(&address);
    // Whatever is written to, only what we make is good.
    if let Some(Origin::Sender(sender)) = reverse(KEY, &address, NOW) {
        let same = |a: &str, b: &str| a.to_lowercase().get(5..) == b.to_lowercase().get(5..);
        let makes = |ago: i64| rewrite(KEY, &sender, &address.domain, NOW - ago * DAY);
        let made = (0..=GOOD_FOR).filter_map(makes).any(|made| same(made.path.local.as_str(), address.local.as_str()));
        assert!(made && is(&address), "{address} was made by nobody, and leads to {sender}");
        assert!(!matches!(reverse(OTHER, &address, NOW), Some(Origin::Sender(_))));
    }
}

fn there_and_back(sender: &Address) {
    let Some(made) = rewrite(KEY, sender, &ours(), NOW) else { return };
    let path = &made.path;
    assert!(is(path) && path.domain == ours() && path.local.to_string().len() <= MAX_LOCAL_PART, "{path}");
    assert_eq!(Address::parse(&path.to_string()).as_ref(), Ok(path), "it survives being written");
    if let Some(kept) = &made.kept {
        assert_eq!(&kept.sender, sender);
        assert_eq!(reverse(KEY, path, NOW + GOOD_FOR * DAY), Some(Origin::Kept(kept.name.clone())));
        assert_eq!(reverse(KEY, path, NOW + (GOOD_FOR + 1) * DAY), None);
        assert!(is_named(KEY, path, sender) && !is_named(OTHER, path, sender));
        return;
    }
    assert_eq!(reverse(OTHER, path, NOW), None, "another key makes others");
    if is(sender) {
        // The first host; what it wrote is its own affair, and may be no address of any host.
        if let Some(Origin::Sender(first)) = reverse(KEY, path, NOW) {
            assert!(first.local.as_str().starts_with("SRS0="));
            let again = rewrite(KEY, &first, &ours(), NOW).map(|again| again.path.local.as_str().to_lowercase());
            // A name that has another form is written in that from then on.
            let same_host = path.local.as_str().to_lowercase().contains(&format!("={}=", first.domain));
            assert!(!same_host || again == Some(path.local.as_str().to_lowercase()), "{sender} {path} {first}");
        }
        return;
    }
    assert_eq!(reverse(KEY, path, NOW + GOOD_FOR * DAY), Some(Origin::Sender(sender.clone())));
    assert_eq!(reverse(KEY, path, NOW + (GOOD_FOR + 1) * DAY), None);
    // Others change the case.
    let lower = Address { local: pure_addr::LocalPart::new(path.local.as_str().to_lowercase()).unwrap(), domain: ours() };
    if let Some(Origin::Sender(found)) = reverse(KEY, &lower, NOW) {
        assert_eq!(found.key(), sender.key());
    } else {
        panic!("{lower} is not known any more");
    }
}
