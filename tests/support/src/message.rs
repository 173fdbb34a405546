/// A message as DATA carries it: every line that begins with a dot gets another, and the dot that ends it (RFC 5321 4.5.2).
pub fn dot_stuff(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 8);
    let mut at_start = true;
    for byte in message {
        if at_start && *byte == b'.' {
            out.push(b'.');
        }
        out.push(*byte);
        at_start = *byte == b'\n';
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// What a delivered message is after the fields that delivery puts in front: Return-Path, Delivered-To, Received, and for mail from
/// outside Authentication-Results. None when one of the first three is missing.
pub fn after_added_fields(delivered: &[u8]) -> Option<&[u8]> {
    let mut rest = delivered;
    let mut seen = [false; 4];
    while let Some(at) =
        ["return-path:", "delivered-to:", "received:", "authentication-results:"].iter().position(|name| starts_with(rest, name))
    {
        // The client may have put such fields into its own message: each is taken off once.
        if std::mem::replace(&mut seen[at], true) {
            break;
        }
        rest = after_field(rest);
    }
    seen.iter().take(3).all(|s| *s).then_some(rest)
}

fn starts_with(text: &[u8], name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
}

/// Behind a field and its folded lines (RFC 5322 2.2.3).
fn after_field(text: &[u8]) -> &[u8] {
    let mut at = 0;
    loop {
        match text[at..].iter().position(|b| *b == b'\n') {
            Some(end) => at += end + 1,
            None => return &[],
        }
        if !matches!(text.get(at), Some(b' ' | b'\t')) {
            return &text[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_at_the_start_of_lines() {
        assert_eq!(dot_stuff(b".a\r\nb.\r\n..\r\n"), b"..a\r\nb.\r\n...\r\n.\r\n");
        assert_eq!(dot_stuff(b""), b".\r\n");
    }

    #[test]
    fn added_fields_are_taken_off_once_each() {
        let delivered = b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nReceived: from x\r\n\tby y; now\r\nReceived: earlier\r\n\r\nbody";
        assert_eq!(after_added_fields(delivered), Some(&b"Received: earlier\r\n\r\nbody"[..]));
        let judged = b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nAuthentication-Results: x;\r\n\tspf=none\r\nReceived: from x\r\n\r\nbody";
        assert_eq!(after_added_fields(judged), Some(&b"\r\nbody"[..]));
        assert_eq!(after_added_fields(b"Received: only\r\n\r\n"), None);
    }
}
