//! TLS-RPT (RFC 8460): where a domain wants reports.

use pure_addr::Address;

/// Bytes of a record that are looked at.
const MAX_RECORD: usize = 2048;
/// Addresses of one record that are kept.
pub const MAX_ADDRESSES: usize = 8;

/// What `_smtp._tls.DOMAIN` says: the mail addresses that reports go to. Reports by HTTPS are not sent.
pub fn addresses<'a>(records: impl IntoIterator<Item = &'a str>) -> Vec<Address> {
    let mut stated = records.into_iter().filter(|text| text.len() <= MAX_RECORD).filter(|text| is_version(text));
    match (stated.next(), stated.next()) {
        (Some(text), None) => text.split(';').skip(1).find_map(rua).unwrap_or_default(),
        // RFC 8460 3: not exactly one record is none.
        _ => Vec::new(),
    }
}

fn is_version(text: &str) -> bool {
    text.strip_prefix("v=TLSRPTv1").is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'))
}

fn rua(field: &str) -> Option<Vec<Address>> {
    let value = field.trim_matches([' ', '\t']).strip_prefix("rua=")?;
    Some(value.split(',').filter_map(|uri| mailto(uri.trim_matches([' ', '\t']))).take(MAX_ADDRESSES).collect())
}

/// RFC 6068 2, one address and no header fields: those would be words of a stranger in mail of ours.
fn mailto(uri: &str) -> Option<Address> {
    let (scheme, rest) = uri.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case("mailto:") {
        return None;
    }
    let to = rest.split(['?', '!']).next()?;
    let decoded = percent_decoded(to)?;
    Address::parse(&decoded).ok()
}

fn percent_decoded(text: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (high, low) = (digit()?, digit()?);
            out.push(high.checked_mul(16)?.checked_add(low)?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(record: &str) -> Vec<String> {
        addresses([record]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_found() {
        assert_eq!(found("v=TLSRPTv1;rua=mailto:reports@example.com"), ["reports@example.com"]);
        assert_eq!(
            found("v=TLSRPTv1; rua=https://r.example.com/v1, MAILTO:a%2Bb@example.com?subject=x ,mailto:c@example.com;"),
            ["a+b@example.com", "c@example.com"]
        );
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        for bad in [
            "v=TLSRPTv1;",
            "v=TLSRPTv2;rua=mailto:a@b.test",
            "rua=mailto:a@b.test",
            "v=TLSRPTv1;rua=mailto:a@b.test%0d%0aRCPT",
            "v=TLSRPTv1;rua=mailto:%zz",
            "v=TLSRPTv1;rua=a@b.test",
        ] {
            assert!(found(bad).is_empty(), "{bad}");
        }
        assert!(addresses(["v=TLSRPTv1;rua=mailto:a@b.test", "v=TLSRPTv1;rua=mailto:c@b.test"]).is_empty());
        let many = ["mailto:a@b.test"; MAX_ADDRESSES + 1].join(",");
        assert_eq!(found(&format!("v=TLSRPTv1;rua={many}")).len(), MAX_ADDRESSES);
    }
}
