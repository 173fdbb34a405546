//! The bytes of messages: read from the descriptor that the store handed over, written in chunks as the client takes them.

use crate::{
    connection::{Connection, Fault},
    limits,
};
use pure_imap::{
    Decoder, Partial,
    section::{BinaryPart, Content, Piece},
};
use pure_index::Span;
use std::{fs::File, io, os::unix::fs::FileExt};
use wire::edge::store_session::BodyRef;

/// One message in a file of many.
#[derive(Clone, Copy)]
pub(crate) struct Body<'f> {
    file: &'f File,
    offset: u64,
    len: u32,
}

impl<'f> Body<'f> {
    /// None when the frame did not bring the descriptor.
    pub(crate) fn new(files: &'f [File], at: BodyRef) -> Option<Self> {
        files.get(usize::from(at.fd)).map(|file| Self { file, offset: at.offset, len: at.len })
    }

    /// All of it.
    pub(crate) fn whole(self) -> Content {
        Content(vec![Piece::Message(Span { start: 0, end: self.len })])
    }

    /// Fills `buffer` from the byte `at` of the message; never with bytes of another one.
    fn read(self, at: u32, buffer: &mut [u8]) -> io::Result<()> {
        let end = u64::from(at).saturating_add(buffer.len() as u64);
        if end > u64::from(self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = self.offset.checked_add(u64::from(at)).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(buffer, at)
    }

    /// A piece of a header, at most [`limits::HEADER`] bytes.
    pub(crate) fn header(self, span: Span) -> io::Result<Vec<u8>> {
        let len = span.len().min(limits::HEADER);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.read(span.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Calls `each` with the chunks of a span; other sessions have their turn in between.
    async fn chunks(self, span: Span, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; limits::CHUNK.min(usize::try_from(span.len()).unwrap_or(limits::CHUNK))];
        for (at, len) in steps(span) {
            let Some(window) = buffer.get_mut(..len) else { break };
            self.read(at, window)?;
            each(window);
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Where each chunk of a span begins, and how long it is.
fn steps(span: Span) -> impl Iterator<Item = (u32, usize)> {
    let chunk = u32::try_from(limits::CHUNK).unwrap_or(u32::MAX);
    (span.start..span.end).step_by(limits::CHUNK).map(move |at| {
        let len = span.end.saturating_sub(at).min(chunk);
        (at, usize::try_from(len).unwrap_or(0))
    })
}

/// A literal with the bytes of `content`.
pub(crate) async fn write(conn: &mut Connection, body: Body<'_>, content: &Content) -> Result<(), Fault> {
    conn.out.literal_header(content.len());
    for piece in &content.0 {
        match piece {
            Piece::Message(span) => {
                for (at, len) in steps(*span) {
                    body.read(at, conn.out.room(len))?;
                    conn.flush_if_full().await?;
                }
            }
            Piece::EmptyLine(span) => {
                let range = usize::try_from(span.start).unwrap_or(0)..usize::try_from(span.end).unwrap_or(0);
                conn.out.raw(b"\r\n".get(range).unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// What decoding a part will give.
#[derive(Debug, Clone, Copy)]
struct Measure {
    len: u64,
    has_nul: bool,
}

/// Decodes a part once without keeping it.
async fn measure(body: Body<'_>, part: &BinaryPart<'_>, partial: Option<Partial>) -> io::Result<Option<Measure>> {
    let Ok(mut decoder) = Decoder::new(part.encoding) else { return Ok(None) };
    let mut window = Window::new(partial);
    let mut measure = Measure { len: 0, has_nul: false };
    let mut decoded = Vec::new();
    let mut take = |decoded: &mut Vec<u8>| {
        let bytes = window.cut(decoded);
        measure.len = measure.len.saturating_add(bytes.len() as u64);
        measure.has_nul |= bytes.contains(&0);
        decoded.clear();
    };
    body.chunks(part.span, |chunk| {
        decoder.push(chunk, &mut decoded);
        take(&mut decoded);
    })
    .await?;
    decoder.finish(&mut decoded);
    take(&mut decoded);
    Ok(Some(measure))
}

/// The number of decoded bytes (RFC 9051 6.4.5 BINARY.SIZE); none when the encoding is unknown.
pub(crate) async fn decoded_size(body: Body<'_>, part: &BinaryPart<'_>) -> io::Result<Option<u64>> {
    Ok(measure(body, part, None).await?.map(|measure| measure.len))
}

/// A literal with the decoded bytes of a part; false when the encoding is unknown and nothing was written.
///
/// A literal announces its length, so the part is decoded twice rather than held in memory.
pub(crate) async fn write_decoded(
    conn: &mut Connection,
    body: Body<'_>,
    part: &BinaryPart<'_>,
    partial: Option<Partial>,
) -> Result<bool, Fault> {
    let Some(measure) = measure(body, part, partial).await? else { return Ok(false) };
    let Ok(mut decoder) = Decoder::new(part.encoding) else { return Ok(false) };
    if measure.has_nul {
        conn.out.literal8_header(measure.len);
    } else {
        conn.out.literal_header(measure.len);
    }
    let mut window = Window::new(partial);
    let mut buffer = vec![0; limits::CHUNK.min(usize::try_from(part.span.len()).unwrap_or(limits::CHUNK))];
    let mut decoded = Vec::new();
    for (at, len) in steps(part.span) {
        let Some(chunk) = buffer.get_mut(..len) else { break };
        body.read(at, chunk)?;
        decoder.push(chunk, &mut decoded);
        conn.out.raw(window.cut(&decoded));
        decoded.clear();
        conn.flush_if_full().await?;
    }
    decoder.finish(&mut decoded);
    conn.out.raw(window.cut(&decoded));
    Ok(true)
}

/// The bytes of a partial in a stream.
struct Window {
    skip: u64,
    left: u64,
}

impl Window {
    fn new(partial: Option<Partial>) -> Self {
        partial.map_or(Self { skip: 0, left: u64::MAX }, |p| Self { skip: u64::from(p.start), left: u64::from(p.len) })
    }

    fn cut<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let len = bytes.len() as u64;
        let skip = self.skip.min(len);
        let take = self.left.min(len - skip);
        self.skip -= skip;
        self.left -= take;
        let (start, end) = (usize::try_from(skip).unwrap_or(usize::MAX), usize::try_from(skip + take).unwrap_or(usize::MAX));
        bytes.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pure_index::Encoding;
    use std::io::Write;
    use wire::MessageWriter;

    fn file(bytes: &[u8]) -> File {
        let mut writer = MessageWriter::new(1 << 20).unwrap();
        writer.write_all(bytes).unwrap();
        let sealed = writer.seal().unwrap();
        File::from(std::os::fd::AsFd::as_fd(&sealed).try_clone_to_owned().unwrap())
    }

    #[test]
    fn no_byte_of_a_neighbour_is_read() {
        let files = [file(b"aaaabbbbcccc")];
        let body = Body::new(&files, BodyRef { fd: 0, offset: 4, len: 4 }).unwrap();
        let mut four = [0; 4];
        body.read(0, &mut four).unwrap();
        assert_eq!(&four, b"bbbb");
        assert!(body.read(1, &mut four).is_err());
        assert!(body.read(u32::MAX, &mut four).is_err());
        assert!(Body::new(&files, BodyRef { fd: 1, offset: 0, len: 1 }).is_none());
    }

    #[tokio::test]
    async fn decoded_sizes() {
        let files = [file(b"QUFB\r\nAEE=\r\n")];
        let body = Body::new(&files, BodyRef { fd: 0, offset: 0, len: 12 }).unwrap();
        let part = BinaryPart { span: Span { start: 0, end: 12 }, encoding: &Encoding::Base64 };
        assert_eq!(decoded_size(body, &part).await.unwrap(), Some(5));
        for (start, len, expected) in [(0, 3, (3, false)), (3, 9, (2, true)), (9, 9, (0, false))] {
            let measure = measure(body, &part, Some(Partial { start, len })).await.unwrap().unwrap();
            assert_eq!((measure.len, measure.has_nul), expected);
        }
        let unknown = BinaryPart { span: part.span, encoding: &Encoding::Other(b"x".to_vec().into()) };
        assert_eq!(decoded_size(body, &unknown).await.unwrap(), None);
    }

    #[test]
    fn large_spans_come_in_chunks() {
        let len = u32::try_from(limits::CHUNK * 2 + 5).unwrap();
        let sizes: Vec<usize> = steps(Span { start: 7, end: 7 + len }).map(|(_, len)| len).collect();
        assert_eq!(sizes, [limits::CHUNK, limits::CHUNK, 5]);
        assert_eq!(steps(Span { start: 7, end: 7 }).count(), 0);
    }
}
