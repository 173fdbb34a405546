//! What is trusted from the start: keys of the root, or digests of such keys.

use crate::limits::ANCHOR_TIME;
use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use hickory_resolver::proto::{
    dnssec::{
        Algorithm, DigestType, PublicKeyBuf, TrustAnchors,
        rdata::{DNSKEY, DNSSECRData, DS},
    },
    rr::{Name, RData, Record},
};
use std::{fmt, sync::Arc};
use tokio::{sync::Mutex, time::Instant};

/// The file with trust anchors is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnchors {
    /// A line that is no DS or DNSKEY record of the root.
    #[error("line {0}: is not a DS or DNSKEY record of the root; write it as \". IN DS 20326 8 2 E06D44...\"")]
    Line(usize),
    /// No record at all.
    #[error("names no key; without the file, IANA's keys are built in")]
    Empty,
}

/// The root of trust.
pub struct Anchors {
    keys: Vec<PublicKeyBuf>,
    digests: Vec<DS>,
    /// Keys that a digest vouches for, and when the root was asked.
    primed: Mutex<Option<(Instant, Arc<TrustAnchors>)>>,
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors").field("keys", &self.keys.len()).field("digests", &self.digests.len()).finish()
    }
}

impl Default for Anchors {
    /// The keys of the root that IANA publishes: KSK-2017 and KSK-2024, as hickory carries them.
    fn default() -> Self {
        let iana = TrustAnchors::default();
        Self { keys: (0..iana.len()).filter_map(|at| iana.get(at).cloned()).collect(), digests: Vec::new(), primed: Mutex::new(None) }
    }
}

impl Anchors {
    /// Reads records as a zone file has them, one on each line.
    pub fn parse(text: &str) -> Result<Self, InvalidAnchors> {
        let mut anchors = Self { keys: Vec::new(), digests: Vec::new(), primed: Mutex::new(None) };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split_once(';').map_or(line, |(record, _)| record);
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            match record(&words).ok_or(InvalidAnchors::Line(number))? {
                Anchor::Key(key) => anchors.keys.push(key),
                Anchor::Digest(digest) => anchors.digests.push(digest),
            }
        }
        if anchors.keys.is_empty() && anchors.digests.is_empty() { Err(InvalidAnchors::Empty) } else { Ok(anchors) }
    }

    /// The trusted keys. Where digests are trusted, `fetch` gets the root's DNSKEY records, of which those that match one count; nothing
    /// else about them is believed.
    pub(crate) async fn keys(&self, fetch: impl Future<Output = Option<Vec<Record>>>) -> Option<Arc<TrustAnchors>> {
        let mut primed = self.primed.lock().await;
        if let Some((at, keys)) = primed.as_ref()
            && (self.digests.is_empty() || at.elapsed() < ANCHOR_TIME)
        {
            return Some(keys.clone());
        }
        let mut keys = TrustAnchors::empty();
        for key in &self.keys {
            keys.insert(key);
        }
        if !self.digests.is_empty() {
            for record in fetch.await? {
                if let RData::DNSSEC(DNSSECRData::DNSKEY(key)) = &record.data
                    && self.vouched(key)
                {
                    keys.insert(key.public_key());
                }
            }
        }
        let keys = Arc::new(keys);
        // Without any key everything would be bogus, and a forged answer would do that for an hour.
        if !keys.is_empty() {
            *primed = Some((Instant::now(), keys.clone()));
        }
        Some(keys)
    }

    /// RFC 4509 3: SHA-1 is not among them.
    fn vouched(&self, key: &DNSKEY) -> bool {
        key.zone_key() && !key.revoke() && self.digests.iter().any(|digest| digest.covers(&Name::root(), key).unwrap_or(false))
    }
}

enum Anchor {
    Key(PublicKeyBuf),
    Digest(DS),
}

/// `. [TTL] [IN] DS tag algorithm type digest` (RFC 4034 5.3) or `. [TTL] [IN] DNSKEY flags 3 algorithm key` (RFC 4034 2.2).
fn record(words: &[&str]) -> Option<Anchor> {
    let (&".", mut rest) = words.split_first()? else { return None };
    while let Some((word, others)) = rest.split_first()
        && (word.bytes().all(|b| b.is_ascii_digit()) || word.eq_ignore_ascii_case("IN"))
    {
        rest = others;
    }
    let (kind, rest) = rest.split_first()?;
    let [first, second, third, data @ ..] = rest else { return None };
    let data = data.concat();
    if kind.eq_ignore_ascii_case("DS") {
        let digest = HEXUPPER_PERMISSIVE.decode(data.as_bytes()).ok()?;
        let (algorithm, kind) = (Algorithm::from_u8(second.parse().ok()?), DigestType::from(third.parse::<u8>().ok()?));
        let length = match kind {
            DigestType::SHA256 => 32,
            DigestType::SHA384 => 48,
            _ => return None,
        };
        return (digest.len() == length).then_some(Anchor::Digest(DS::new(first.parse().ok()?, algorithm, kind, digest)));
    }
    let flags: u16 = first.parse().ok()?;
    let algorithm = Algorithm::from_u8(third.parse().ok()?);
    let key = BASE64.decode(data.as_bytes()).ok()?;
    // RFC 4034 2.1.1: the zone key bit; RFC 5011 7: the revoked bit.
    let usable = flags & 0x0100 != 0 && flags & 0x0080 == 0 && algorithm.is_supported() && !key.is_empty();
    (kind.eq_ignore_ascii_case("DNSKEY") && *second == "3" && usable).then(|| Anchor::Key(PublicKeyBuf::new(key, algorithm)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IANA's root-anchors.xml, KSK-2017.
    const DS_2017: &str = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";

    #[tokio::test]
    async fn a_digest_vouches_for_the_key_it_was_made_of_and_no_other() {
        let anchors = Anchors::parse(&format!("; the root\n\n{DS_2017}\n")).unwrap();
        let iana = TrustAnchors::default();
        let all: Vec<DNSKEY> = (0..iana.len()).map(|at| DNSKEY::new(true, true, false, iana.get(at).unwrap().clone())).collect();
        let records: Vec<Record> =
            all.iter().map(|key| Record::from_rdata(Name::root(), 60, RData::DNSSEC(DNSSECRData::DNSKEY(key.clone())))).collect();
        let keys = anchors.keys(async { Some(records) }).await.unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys.contains(all[0].public_key()));
        // Remembered; and not asked again.
        assert_eq!(anchors.keys(async { panic!() }).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_a_root_that_did_not_answer() {
        let anchors = Anchors::parse(DS_2017).unwrap();
        assert!(anchors.keys(async { None }).await.is_none());
        assert!(anchors.keys(async { Some(Vec::new()) }).await.unwrap().is_empty());
        assert!(anchors.keys(async { None }).await.is_none());
        assert_eq!(Anchors::default().keys(async { panic!() }).await.unwrap().len(), 2);
    }

    #[test]
    fn other_lines_are_refused() {
        let key = "AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3";
        assert!(Anchors::parse(&format!(". 86400 IN DNSKEY 257 3 8 {key}")).is_ok());
        for text in [
            "example. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
            ". IN DS 20326 8 1 E06D44B80B8F1D39A95C0B0D7C65D084",
            ". IN DS 20326 8 2 E06D44",
            ". IN DS 20326 8 2 XX",
            ". IN DS",
            ". IN A 192.0.2.1",
            &format!(". IN DNSKEY 0 3 8 {key}"),
            &format!(". IN DNSKEY 385 3 8 {key}"),
            &format!(". IN DNSKEY 257 2 8 {key}"),
            ". IN DNSKEY 257 3 8 ====",
        ] {
            assert_eq!(Anchors::parse(text).unwrap_err(), InvalidAnchors::Line(1), "{text}");
        }
        assert_eq!(Anchors::parse("; nothing\n").unwrap_err(), InvalidAnchors::Empty);
    }
}
