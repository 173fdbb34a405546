use pure_index::bounded;
use serde::{Deserialize, Serialize};

/// At most `N` values; a peer that sends more has sent a malformed frame, which is not read beyond them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Deserialize<'de>"))]
pub struct List<T, const N: usize>(#[serde(deserialize_with = "bounded::<_, _, N>")] Vec<T>);

impl<T, const N: usize> List<T, N> {
    /// None when there are more than `N`.
    pub fn new(values: Vec<T>) -> Option<Self> {
        (values.len() <= N).then_some(Self(values))
    }

    /// Adds a value; returns it when the list is full.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.0.len() < N {
            self.0.push(value);
            Ok(())
        } else {
            Err(value)
        }
    }

    /// The values, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> std::ops::Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> From<List<T, N>> for Vec<T> {
    fn from(list: List<T, N>) -> Vec<T> {
        list.0
    }
}

impl<T, const N: usize> IntoIterator for List<T, N> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a List<T, N> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
