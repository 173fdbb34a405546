//! Lists from outside: what a peer's bytes may make a reader allocate.
//!
//! A byte or two of a frame can stand for a value of some hundred bytes, so the length of a frame does not bound what it becomes.
//! [`bounded`] stops at the list's limit, and all lists of one decoding share [`MAX_LISTS`] bytes. Strings need no such limit: they are
//! no longer than the frame that holds them.

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use std::{cell::Cell, fmt, marker::PhantomData, mem::size_of};

/// Bytes that the lists of one decoded value may take, without the strings in them.
pub const MAX_LISTS: usize = 24 * 1024 * 1024;

thread_local! {
    /// What is left in this decoding; outside of one there is no limit.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Gives the thread back what it had, also after a panic.
struct Before(usize);

impl Drop for Before {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

/// Runs one decoding, whose lists may take [`MAX_LISTS`] bytes together.
pub fn within_limits<R>(decode: impl FnOnce() -> R) -> R {
    let _before = Before(LEFT.replace(MAX_LISTS));
    decode()
}

/// Reads a list of at most `N` values: for `#[serde(deserialize_with = "...")]`. The value that is one too many is an error.
pub fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded::<T, N>(PhantomData))
}

struct Bounded<T, const N: usize>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Bounded<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {N} values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        if seq.size_hint().is_some_and(|count| count > N) {
            return Err(A::Error::invalid_length(N.saturating_add(1), &self));
        }
        while let Some(value) = seq.next_element()? {
            if values.len() >= N {
                return Err(A::Error::invalid_length(N.saturating_add(1), &self));
            }
            if values.len() == values.capacity() {
                grow(&mut values, N).map_err(A::Error::custom)?;
            }
            values.push(value);
        }
        Ok(values)
    }
}

/// Room for twice as many, `most` at most, out of what is left.
fn grow<T>(values: &mut Vec<T>, most: usize) -> Result<(), &'static str> {
    let room = values.len().saturating_mul(2).clamp(1, most.max(1));
    let added = room.saturating_sub(values.len());
    let left = LEFT.get().checked_sub(added.saturating_mul(size_of::<T>())).ok_or("more than lists may take")?;
    LEFT.set(left);
    values.reserve_exact(added);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, SeqDeserializer};

    fn read<const N: usize>(count: u32) -> Result<Vec<u32>, Error> {
        bounded::<_, u32, N>(SeqDeserializer::<_, Error>::new(0..count))
    }

    #[test]
    fn a_list_ends_at_its_limit() {
        assert_eq!(read::<5>(5).unwrap(), [0, 1, 2, 3, 4]);
        assert!(read::<5>(6).is_err());
        assert!(read::<0>(1).is_err());
        assert_eq!(read::<0>(0).unwrap(), []);
    }

    #[test]
    fn lists_share_what_there_is() {
        const MANY: usize = MAX_LISTS / 4;
        within_limits(|| {
            // Each takes a third, then nothing is left; doubling leaves some of it unused.
            assert!(read::<MANY>(2_000_000).is_ok());
            assert!(read::<MANY>(2_000_000).is_ok());
            assert!(read::<MANY>(4_000_000).is_err());
        });
        within_limits(|| assert!(read::<MANY>(2_000_000).is_ok()));
        assert_eq!(LEFT.get(), usize::MAX);
    }
}
