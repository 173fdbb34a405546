//! Commands as they are written (RFC 5321 4.1.1), with those parameters that the server offered.

use super::{Capabilities, Mail};
use crate::{Body, Notify, OriginalRecipient, Recipient, Ret, xtext};
use std::fmt::Write;

pub(crate) fn mail(mail: &Mail, offered: &Capabilities) -> Vec<u8> {
    // Writing into a String does not fail.
    let mut line = format!("MAIL FROM:{}", mail.reverse_path);
    if offered.size {
        let _ = write!(line, " SIZE={}", mail.size);
    }
    match mail.body {
        Body::EightBitMime if offered.eight_bit_mime => line.push_str(" BODY=8BITMIME"),
        Body::BinaryMime => line.push_str(" BODY=BINARYMIME"),
        Body::SevenBit | Body::EightBitMime => {}
    }
    if mail.needs_smtputf8() {
        line.push_str(" SMTPUTF8");
    }
    if mail.require_tls {
        line.push_str(" REQUIRETLS");
    }
    if offered.dsn {
        match mail.ret {
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &mail.envid {
            let _ = write!(line, " ENVID={}", xtext::encode(envid.as_str()));
        }
    }
    ended(line)
}

pub(crate) fn rcpt(recipient: &Recipient, smtputf8: bool, offered: &Capabilities) -> Vec<u8> {
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if offered.dsn {
        if let Some(notify) = recipient.notify {
            let _ = write!(line, " NOTIFY={}", words(notify));
        }
        if let Some(OriginalRecipient { kind, address }) = recipient.original.as_ref().filter(|original| can_be_written(original)) {
            let address = if kind.as_str().eq_ignore_ascii_case("utf-8") {
                xtext::encode_utf8_address(address.as_str(), smtputf8)
            } else {
                xtext::encode(address.as_str())
            };
            let _ = write!(line, " ORCPT={};{address}", kind.as_str());
        }
    }
    ended(line)
}

/// RFC 3461 4.2: addr-type is an atom, and neither part is empty.
fn can_be_written(original: &OriginalRecipient) -> bool {
    let kind = original.kind.as_str();
    !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !original.address.as_str().is_empty()
}

/// RFC 3461 4.1.
fn words(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let chosen: Vec<&str> = words.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
    if chosen.is_empty() { "NEVER".into() } else { chosen.join(",") }
}

fn ended(mut line: String) -> Vec<u8> {
    line.push_str("\r\n");
    line.into_bytes()
}
