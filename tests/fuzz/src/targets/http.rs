//! The answer that should be an MTA-STS policy. Byte 0 says how long a body may be and how it is sent, byte 1 how it is cut into reads; the
//! rest is an answer as it stands, and once more the body of one that is right.

use postern_send::http::{HttpError, Response};

pub(super) const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200\r\n",
    "HTTP/1.1 301 Moved\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Type: text/plain; charset=utf-8\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "\r\n\r\n",
    "5;a=b\r\nhello\r\n",
    "0\r\n\r\n",
    "ffffffff\r\n",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let mut out = Vec::new();
    for (i, answer) in [
        format!("{head}Content-Length: 5\r\n\r\nhello world"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
        format!("{head}\r\nversion: STSv1\nmode: enforce\nmx: mx.test\nmax_age: 86400\n"),
        "HTTP/1.1 404 Not Found\r\n\r\n".to_owned(),
        format!("{head}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhel"),
    ]
    .into_iter()
    .enumerate()
    {
        for state in [0, 90, 255] {
            out.push([&[state, i as u8 * 3][..], answer.as_bytes()].concat());
        }
    }
    out
}

fn read(answer: &[u8], most: usize, step: usize, in_order: bool) -> Result<Vec<u8>, HttpError> {
    let mut response = Response::new(most);
    for piece in answer.chunks(step) {
        if let Some(body) = response.receive(piece)? {
            return Ok(body);
        }
    }
    response.closed(in_order)
}

pub(super) fn run(input: &[u8]) {
    let [state, how, rest @ ..] = input else { return };
    let (most, in_order) = (usize::from(state / 2) * 16, state & 1 == 0);
    let step = usize::from(*how) + 1;
    let (whole, cut) = (read(rest, most, rest.len().max(1), in_order), read(rest, most, step, in_order));
    // A body that is complete is taken before more than was declared makes the answer too large.
    assert!(whole == cut || (whole == Err(HttpError::TooLarge) && cut.is_ok()), "{whole:?} {cut:?}");
    for body in [&whole, &cut].into_iter().flatten() {
        assert!(body.len() <= most);
    }

    let sent = sent(rest, usize::from(state % 3), step);
    // Of a short body the frames of its chunks are more than half.
    assert_eq!(read(&sent, rest.len() + 64, step, true).as_deref(), Ok(rest), "a body is what was sent");
    if !rest.is_empty() {
        assert_eq!(read(&sent, rest.len() - 1, step, true), Err(HttpError::TooLarge), "and never more than may be");
        // RFC 9112 8: cut by anybody, it is no answer.
        assert!(read(&sent[..sent.len() - 1], rest.len(), step, false).is_err() || state % 3 == 1);
    }
}

/// A right answer with this body: of a length, in chunks, or to the end.
fn sent(body: &[u8], framing: usize, step: usize) -> Vec<u8> {
    let fields = [format!("Content-Length: {}\r\n", body.len()), "Transfer-Encoding: chunked\r\n".to_owned(), String::new()];
    let mut out = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{}\r\n", fields[framing]).into_bytes();
    if framing != 1 {
        return [&out, body].concat();
    }
    for chunk in body.chunks(step * 8 + 8) {
        out.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
