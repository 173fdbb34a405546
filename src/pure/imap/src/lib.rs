//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) without input or output.
//!
//! * [`Framer`] finds where a command ends, across literals, and passes the messages of APPEND through unbuffered.
//! * [`parse`] turns a command into a [`Command`]; it is total, iterative and linear.
//! * [`Out`], [`response`], [`envelope`] and [`section`] write answers from `pure_index`'s view of a message; no message is parsed here.
//! * [`SeqMap`] is the numbering of the selected mailbox; [`sort`] and [`thread`] are RFC 5256.
//!
//! Invariants: no function recurses on input; every list, string and depth has a bound in [`limits`]; a byte from a message or a
//! peer reaches the output only through the choosers of [`Out`], so it cannot end a line.

mod command;
mod cursor;
mod date;
mod decode;
pub mod envelope;
mod flag;
mod framer;
pub mod limits;
mod literal;
mod out;
pub mod parse;
mod pattern;
pub mod response;
pub mod section;
mod seqmap;
mod sequence;
pub mod sort;
pub mod thread;
pub mod utf7;

pub use command::{
    Append, AppendMessage, Command, Fetch, FetchItem, List, Mailbox, Partial, QResync, Search, SearchKey, SearchReturn, Select, SortBy,
    SortKey, StatusItem, Store, StoreAction, Tag, ThreadAlgorithm, Transfer,
};
pub use date::{DAY, Date, DateTime};
pub use decode::{Decoder, UnknownEncoding};
pub use flag::{Flag, Keyword};
pub use framer::{Event, Fatal, Framer, Message};
pub use out::Out;
pub use pattern::Pattern;
pub use section::{Section, SectionText};
pub use seqmap::SeqMap;
pub use sequence::{Bound, Ranges, SequenceSet};
