//! Frames that are nearly right.

use crate::Source;

/// Bytes at which something begins or ends: of varints, booleans, options and enums.
const EDGES: [u8; 7] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];

/// Changes a frame in one to four places; `other` is a frame to take pieces from.
pub fn mutate(source: &mut Source, frame: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = frame.to_vec();
    for _ in 0..=source.below(4) {
        let at = source.below(out.len() + 1);
        let end = (at + source.below(9)).min(out.len());
        match source.below(8) {
            0 => out.truncate(at),
            1 => drop(out.drain(at..end)),
            2 => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            3 => {
                // A number of any length: a count of elements, a length, a variant that is not there.
                let mut number: Vec<u8> = (0..source.below(11)).map(|_| source.draw() as u8 | 0x80).collect();
                number.push(source.draw() as u8 & 0x7f);
                out.splice(at..end, number);
            }
            4 => {
                let from = source.below(other.len() + 1);
                let to = (from + source.below(24)).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            5 => out.push(source.draw() as u8),
            kind => {
                let (bit, byte) = (source.below(8), EDGES[source.below(EDGES.len())]);
                if let Some(place) = out.get_mut(at) {
                    *place = if kind == 6 { *place ^ (1 << bit) } else { byte };
                }
            }
        }
    }
    out
}
