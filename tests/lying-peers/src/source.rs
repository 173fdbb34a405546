//! Valid values of any type, from its `Deserialize` alone.

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor, value::U32Deserializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Tries before a type is given up: names and addresses have their rules, and a value is made without knowing them.
const TRIES: usize = 400;
/// Nearly every kind of name takes the first of these; the others are there to be refused, or taken.
const STRINGS: [&str; 6] = ["b.test", "mta.test", "INBOX", "", "\u{fc}.test", "x@y\r\n\0"];

/// Deterministic numbers, and the values that are made of them.
#[derive(Debug)]
pub struct Source {
    state: u64,
    /// How long lists are, by their depth; the last for all below. None: short, as it comes.
    lengths: Option<Vec<usize>>,
    depth: usize,
    /// Elements that this value may still have.
    left: usize,
    variants: BTreeMap<&'static str, &'static [&'static str]>,
    seen: BTreeSet<(&'static str, &'static str)>,
}

impl Source {
    /// All that follows is decided by this.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, lengths: None, depth: 0, left: 0, variants: BTreeMap::new(), seen: BTreeSet::new() }
    }

    /// Lists of these lengths, by their depth, of the smallest values there are.
    pub fn with_lengths(seed: u64, lengths: Vec<usize>) -> Self {
        Self { lengths: Some(lengths), ..Self::new(seed) }
    }

    /// The next number: splitmix64.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 below 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end.max(1) as u64) as usize
    }

    /// A value, or none when no try was valid.
    pub fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        let tries = if self.lengths.is_some() { 8 } else { TRIES };
        (0..tries).find_map(|_| {
            (self.depth, self.left) = (0, if self.lengths.is_some() { 2_000_000 } else { 200 });
            T::deserialize(&mut *self).ok()
        })
    }

    /// Variants of enums that were never part of a value, among those that were offered.
    pub fn unseen(&self) -> Vec<(&'static str, &'static str)> {
        let all = self.variants.iter().flat_map(|(name, variants)| variants.iter().map(|variant| (*name, *variant)));
        all.filter(|both| !self.seen.contains(both)).collect()
    }

    /// Mostly small, sometimes at an end.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            _ if self.lengths.is_some() => 1,
            0 => 0,
            1 => u64::MAX,
            2 => self.draw(),
            _ => self.draw() % 5 + 1,
        }
    }

    fn text(&mut self) -> &'static str {
        if self.lengths.is_some() {
            return "b";
        }
        let at = if self.below(12) == 0 { self.below(STRINGS.len()) } else { self.below(2) };
        STRINGS.get(at).copied().unwrap_or_default()
    }

    fn length(&mut self) -> usize {
        match &self.lengths {
            Some(lengths) => lengths.get(self.depth).or(lengths.last()).copied().unwrap_or(0),
            None => self.below(4),
        }
    }
}

/// No value of this type can be made.
#[derive(Debug)]
pub struct Impossible(String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

impl de::Error for Impossible {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
            visitor.$visit(self.number() as $type)
        })*
    };
}

macro_rules! strings {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
            let text = self.text();
            visitor.visit_str(text)
        })*
    };
}

macro_rules! bytes {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
            let count = if self.lengths.is_some() { 1 } else { self.below(40) };
            let bytes: Vec<u8> = (0..count).map(|_| self.draw() as u8).collect();
            visitor.visit_byte_buf(bytes)
        })*
    };
}

macro_rules! refused {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Impossible> {
            Err(Impossible("frames have none of this".into()))
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Source {
    type Error = Impossible;

    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    }
    strings! { deserialize_str deserialize_string }
    bytes! { deserialize_bytes deserialize_byte_buf }
    refused! { deserialize_any deserialize_f32 deserialize_f64 deserialize_char deserialize_map deserialize_identifier deserialize_ignored_any }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_bool(self.draw() & 1 == 1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        if self.below(3) == 0 { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Impossible> {
        let count = self.length();
        self.depth += 1;
        let result = visitor.visit_seq(Elements { source: self, count, listed: true });
        self.depth -= 1;
        result
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Impossible> {
        visitor.visit_seq(Elements { source: self, count, listed: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _name: &'static str, count: usize, visitor: V) -> Result<V::Value, Impossible> {
        self.deserialize_tuple(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Impossible> {
        self.variants.insert(name, variants);
        let at = self.below(variants.len());
        let variant = variants.get(at).ok_or_else(|| Impossible(format!("{name} has no values")))?;
        let value = visitor.visit_enum(Variant { source: self, at: at as u32, both: (name, variant) })?;
        Ok(value)
    }
}

struct Elements<'a> {
    source: &'a mut Source,
    count: usize,
    /// A list, whose elements count.
    listed: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Impossible;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Impossible> {
        if self.count == 0 {
            return Ok(None);
        }
        self.count -= 1;
        if self.listed {
            let Some(left) = self.source.left.checked_sub(1) else { return Ok(None) };
            self.source.left = left;
        }
        seed.deserialize(&mut *self.source).map(Some)
    }
}

struct Variant<'a> {
    source: &'a mut Source,
    at: u32,
    both: (&'static str, &'static str),
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = Impossible;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Impossible> {
        let number: U32Deserializer<Impossible> = self.at.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl Variant<'_> {
    /// What is inside was made.
    fn made<T>(both: (&'static str, &'static str), source: &mut Source, value: T) -> Result<T, Impossible> {
        source.seen.insert(both);
        Ok(value)
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Impossible;

    fn unit_variant(self) -> Result<(), Impossible> {
        Self::made(self.both, self.source, ())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Impossible> {
        let value = seed.deserialize(&mut *self.source)?;
        Self::made(self.both, self.source, value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Impossible> {
        let value = self.source.deserialize_tuple(count, visitor)?;
        Self::made(self.both, self.source, value)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Impossible> {
        let value = self.source.deserialize_tuple(fields.len(), visitor)?;
        Self::made(self.both, self.source, value)
    }
}
