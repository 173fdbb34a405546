//! The one codec: header, kinds, and strict encoding of bodies.

use crate::Error;
use pure_addr::Text;
use serde::{Deserialize, Serialize};

/// Bytes of a body inside the datagram; the default send buffer of the kernel holds one such frame.
pub const MAX_INLINE: usize = 128 * 1024;
/// Bytes of the header: kind, flags, request id.
pub const HEADER: usize = 6;
/// Descriptors in one frame, the body's memfd included.
pub const MAX_FDS: usize = 33;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// First frame of each side.
    Hello,
    /// Client to server.
    Request,
    /// Server to client; the last for its request.
    Response,
    /// Server to client; more will follow.
    Partial,
    /// Client to server: the answer is no longer wanted.
    Cancel,
    /// Server to client, unasked.
    Event,
    /// Server to client: the request could not be served; its connection lives on.
    Refused,
}

const KINDS: [Kind; 7] = [Kind::Hello, Kind::Request, Kind::Response, Kind::Partial, Kind::Cancel, Kind::Event, Kind::Refused];
const BODY_IN_MEMFD: u8 = 1;

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Which request it belongs to; 0 where there is none.
    pub id: u32,
    /// The body is in the first descriptor, not in the datagram.
    pub in_memfd: bool,
}

impl Header {
    /// Six bytes, little endian.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let kind = KINDS.iter().position(|k| *k == self.kind).map_or(0, |p| p as u8);
        let [a, b, c, d] = self.id.to_le_bytes();
        [kind, if self.in_memfd { BODY_IN_MEMFD } else { 0 }, a, b, c, d]
    }

    /// The header and what follows it.
    pub fn split(datagram: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, body) = datagram.split_first_chunk::<HEADER>().ok_or(Error::Malformed("shorter than its header"))?;
        let [kind, flags, a, b, c, d] = *header;
        let kind = *KINDS.get(usize::from(kind)).ok_or(Error::Malformed("unknown kind"))?;
        if flags & !BODY_IN_MEMFD != 0 {
            return Err(Error::Malformed("unknown flag"));
        }
        Ok((Self { kind, id: u32::from_le_bytes([a, b, c, d]), in_memfd: flags != 0 }, body))
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The edge the sender believes this to be.
    pub edge: Text<64>,
    /// [`crate::BUILD_ID`].
    pub build: Text<64>,
}

/// Encodes a value in the one format of frames and of stored records.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value).map_err(|_| Error::Malformed("cannot be encoded"))
}

/// As [`encode`], in a buffer that never moves, so that no part of it stays behind.
pub(crate) fn encode_in_place<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let failed = |_| Error::Malformed("cannot be encoded");
    let mut bytes = vec![0; postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).map_err(failed)?];
    postcard::to_slice(value, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Decodes exactly one value; trailing bytes are refused. Its lists take [`pure_index::MAX_LISTS`] bytes at most.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    match pure_index::within_limits(|| postcard::take_from_bytes(bytes)) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Error::Malformed("bytes after the end")),
        Err(_) => Err(Error::Malformed("not of this edge")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip_and_refusals() {
        for kind in KINDS {
            let header = Header { kind, id: 0x0102_0304, in_memfd: kind == Kind::Partial };
            let mut bytes = header.to_bytes().to_vec();
            bytes.push(9);
            assert_eq!(Header::split(&bytes).unwrap(), (header, &[9u8][..]));
        }
        for bad in [&[][..], &[0; 5], &[7, 0, 0, 0, 0, 0], &[0, 2, 0, 0, 0, 0]] {
            assert!(Header::split(bad).is_err());
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&(1u32, "x")).unwrap();
        assert_eq!(decode::<(u32, String)>(&bytes).unwrap(), (1, "x".into()));
        bytes.push(0);
        assert!(decode::<(u32, String)>(&bytes).is_err());
        assert!(decode::<(u32, String)>(&bytes[..1]).is_err());
    }
}
