//! Parameters of MAIL and RCPT (RFC 5321 4.1.2). Each may stand once; a value that does not fit its grammar is an error,
//! never a default.

use crate::{
    command::Refusal,
    transaction::{Body, Notify, OriginalRecipient, Ret},
    xtext,
};
use pure_addr::Text;

/// Digits of a SIZE value (RFC 1870 3).
const MAX_SIZE_DIGITS: usize = 20;

/// What MAIL may say beside the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// SIZE= in bytes (RFC 1870 5).
    pub size: Option<u64>,
    /// BODY= (RFC 6152 2, RFC 3030 3).
    pub body: Option<Body>,
    /// SMTPUTF8 (RFC 6531 3.4).
    pub smtputf8: bool,
    /// RET= (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID= (RFC 3461 4.4), decoded.
    pub envid: Option<Text<100>>,
    /// REQUIRETLS (RFC 8689 2).
    pub require_tls: bool,
    /// AUTH= (RFC 4954 5): `<>` or an xtext. What it claims is not used: the login says who submits.
    pub auth: bool,
}

impl MailParameters {
    /// Whether any was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut parameters = Self::default();
        for_each(text, |keyword, value| parameters.take(keyword, value))?;
        Ok(parameters)
    }

    fn take(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Refusal> {
        match (keyword, value) {
            ("SIZE", Some(v)) => once(&mut self.size, size(v)),
            ("BODY", Some(v)) => once(&mut self.body, body(v)),
            ("RET", Some(v)) => once(&mut self.ret, ret(v)),
            ("ENVID", Some(v)) => once(&mut self.envid, xtext::decode(v, false).filter(|t| !t.as_str().is_empty())),
            ("SMTPUTF8", None) => flag(&mut self.smtputf8, true),
            ("REQUIRETLS", None) => flag(&mut self.require_tls, true),
            ("AUTH", Some(v)) => flag(&mut self.auth, v == "<>" || (!v.is_empty() && xtext::decode::<500>(v, false).is_some())),
            ("SIZE" | "BODY" | "RET" | "ENVID" | "SMTPUTF8" | "REQUIRETLS" | "AUTH", _) => Err(Refusal::Parameter),
            // RFC 6710 4.1: not offered, yet a value out of its range is malformed before it is unknown.
            ("MT-PRIORITY", v) if !v.is_some_and(is_priority) => Err(Refusal::Parameter),
            _ => Err(Refusal::UnknownParameter),
        }
    }
}

/// What RCPT may say beside the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParameters {
    /// NOTIFY= (RFC 3461 4.1).
    pub notify: Option<Notify>,
    /// ORCPT= (RFC 3461 4.2), decoded.
    pub original: Option<OriginalRecipient>,
}

impl RcptParameters {
    /// Whether any was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut parameters = Self::default();
        for_each(text, |keyword, value| match (keyword, value) {
            ("NOTIFY", Some(v)) => once(&mut parameters.notify, notify(v)),
            ("ORCPT", Some(v)) => once(&mut parameters.original, original(v)),
            ("NOTIFY" | "ORCPT", None) => Err(Refusal::Parameter),
            _ => Err(Refusal::UnknownParameter),
        })?;
        Ok(parameters)
    }
}

/// Calls `take` with each keyword, in capitals, and its value.
fn for_each(text: Option<&str>, mut take: impl FnMut(&str, Option<&str>) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let Some(text) = text else { return Ok(()) };
    for parameter in text.split(' ') {
        let (keyword, value) = parameter.split_once('=').map_or((parameter, None), |(k, v)| (k, Some(v)));
        // RFC 5321 4.1.2 esmtp-keyword and esmtp-value.
        let well_formed = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && value.is_none_or(|v| !v.is_empty() && !v.chars().any(|c| c.is_control() || c == '='));
        if !well_formed {
            return Err(Refusal::Parameter);
        }
        take(&keyword.to_ascii_uppercase(), value)?;
    }
    Ok(())
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Refusal> {
    match (place.is_some(), value) {
        (false, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(Refusal::Parameter),
    }
}

fn flag(place: &mut bool, well_formed: bool) -> Result<(), Refusal> {
    if *place || !well_formed {
        return Err(Refusal::Parameter);
    }
    *place = true;
    Ok(())
}

fn size(value: &str) -> Option<u64> {
    if value.len() > MAX_SIZE_DIGITS || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

fn body(value: &str) -> Option<Body> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(Body::SevenBit),
        "8BITMIME" => Some(Body::EightBitMime),
        "BINARYMIME" => Some(Body::BinaryMime),
        _ => None,
    }
}

fn ret(value: &str) -> Option<Ret> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for item in value.split(',') {
        let place = match item.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            // NEVER stands alone.
            _ => return None,
        };
        if std::mem::replace(place, true) {
            return None;
        }
    }
    Some(notify)
}

fn original(value: &str) -> Option<OriginalRecipient> {
    let (kind, address) = value.split_once(';')?;
    if kind.is_empty() || address.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return None;
    }
    let raw_utf8 = kind.eq_ignore_ascii_case("utf-8");
    Some(OriginalRecipient { kind: Text::new(kind).ok()?, address: xtext::decode(address, raw_utf8)? })
}

fn is_priority(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    digits.len() == 1 && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Result<MailParameters, Refusal> {
        MailParameters::parse(Some(text))
    }

    fn rcpt(text: &str) -> Result<RcptParameters, Refusal> {
        RcptParameters::parse(Some(text))
    }

    #[test]
    fn every_parameter_is_read() {
        let all = mail("SIZE=1000 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ314159 AUTH=e+3Dmc2@example.com").unwrap();
        assert_eq!(
            (all.size, all.body, all.smtputf8, all.ret, all.auth),
            (Some(1000), Some(Body::EightBitMime), true, Some(Ret::Headers), true)
        );
        assert_eq!(all.envid.unwrap().as_str(), "QQ314159");
        assert!(mail("AUTH=<>").unwrap().auth);
        assert_eq!(mail("SIZE=18446744073709551615").unwrap().size, Some(u64::MAX));

        let all = rcpt("NOTIFY=success,DELAY ORCPT=rfc822;Bob+2Bx@ent.test").unwrap();
        assert_eq!(all.notify.unwrap(), Notify { success: true, failure: false, delay: true });
        let original = all.original.unwrap();
        assert_eq!((original.kind.as_str(), original.address.as_str()), ("rfc822", "Bob+x@ent.test"));
        assert_eq!(rcpt("NOTIFY=NEVER").unwrap().notify.unwrap(), Notify::default());
        assert_eq!(rcpt("ORCPT=utf-8;é@ent.test").unwrap().original.unwrap().address.as_str(), "é@ent.test");
    }

    /// Attack case INJ-03.
    #[test]
    fn malformed_and_repeated_parameters_are_refused() {
        for bad in [
            "ENVID=a+00b",
            "ENVID=a+0D+0Ab",
            "AUTH=a+0Aqueue+0A",
            "BODY=8BITMIME BODY=7BIT",
            "SIZE=99999999999999999999999",
            "SIZE=99999999999999999999",
            "SIZE=-1",
            "SIZE=+1",
            "SIZE=",
            "SIZE",
            "BODY",
            "BODY=9BIT",
            "SMTPUTF8=1",
            "SMTPUTF8 SMTPUTF8",
            "REQUIRETLS=yes",
            "REQUIRETLS REQUIRETLS",
            "RET=NONE",
            "ENVID=",
            "AUTH=",
            "AUTH=a+",
            "MT-PRIORITY=-99999999999",
            "",
            " SIZE=1",
            "SIZE=1 ",
            "SIZE=1  RET=FULL",
            "=1",
            "SIZE=1=1",
            "SIZE=1\tRET=FULL",
        ] {
            assert_eq!(mail(bad), Err(Refusal::Parameter), "{bad:?}");
        }
        assert_eq!(mail(&format!("ENVID={}", "a".repeat(101))), Err(Refusal::Parameter));
        for bad in [
            "ORCPT=rfc822;a+0Auid+200+0A",
            "ORCPT=rfc822;+FF+FE",
            "ORCPT=rfc822",
            "ORCPT=;a",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;é",
            "ORCPT=a;b ORCPT=a;b",
            "NOTIFY=",
            "NOTIFY=NEVER,SUCCESS",
            "NOTIFY=SUCCESS,SUCCESS",
            "NOTIFY=SOMETIMES",
        ] {
            assert_eq!(rcpt(bad), Err(Refusal::Parameter), "{bad:?}");
        }
    }

    #[test]
    fn unknown_parameters_are_refused() {
        for unknown in ["X-OOPS=1", "MT-PRIORITY=3", "NOTIFY=NEVER", "HOLDFOR=10"] {
            assert_eq!(mail(unknown), Err(Refusal::UnknownParameter), "{unknown:?}");
        }
        assert_eq!(rcpt("SIZE=1"), Err(Refusal::UnknownParameter));
    }
}
