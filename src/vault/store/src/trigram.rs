//! The index behind text searches: which messages contain which three characters in a row.
//!
//! * It only rules messages out: whoever contains a text contains all its trigrams. What is left is looked at itself, so the
//!   substring semantics of IMAP stay exact.
//! * It is fed in the background, in the order of arrival, never within a delivery; what it does not know yet is looked at.
//! * Small accounts have none: reading a few hundred texts is as fast.

use crate::{
    account::Account,
    error::Result,
    limits::{FEED_BYTES, FEED_MESSAGES, MAX_CANDIDATES, MAX_TRIGRAMS, MIN_BACKLOG},
};
use rusqlite::params;

/// `detail=none` keeps no positions, and `content=''` no second copy of the text. The hash that collects new entries is kept small.
const CREATE: &str = "
    CREATE VIRTUAL TABLE IF NOT EXISTS trigram USING
        fts5(text, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1');
    INSERT INTO trigram(trigram, rank) VALUES('hashsize', 262144);
";

/// What the index says of the messages that it knows.
#[derive(Debug)]
pub(crate) enum Candidates {
    /// Nothing: every text must be looked at.
    Unknown,
    /// Of the emails up to `upto`, only these can match; ascending.
    Only { emails: Vec<i64>, upto: i64 },
}

impl Candidates {
    /// Whether the email cannot match.
    pub(crate) fn rule_out(&self, email: i64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Only { emails, upto } => email <= *upto && emails.binary_search(&email).is_err(),
        }
    }
}

/// A query for the trigrams of a folded text; none when it has none. Not all are needed of a long text, and the rarest are not
/// known, so they are taken from all over it.
pub(crate) fn query(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let count = chars.len().checked_sub(2).filter(|n| *n > 0)?;
    let step = count.div_ceil(MAX_TRIGRAMS).max(1);
    let mut terms: Vec<String> = Vec::new();
    for trigram in chars.windows(3).step_by(step).chain(chars.windows(3).last()) {
        let term = format!("\"{}\"", trigram.iter().collect::<String>().replace('"', "\"\""));
        // FTS5 takes a NUL for the end of the query.
        if !trigram.contains(&'\0') && !terms.contains(&term) {
            terms.push(term);
        }
    }
    (!terms.is_empty()).then(|| terms.join(" AND "))
}

impl Account {
    /// What the index knows about a query.
    pub(crate) fn candidates(&self, query: &str) -> Result<Candidates> {
        if self.state.indexed_email == 0 {
            return Ok(Candidates::Unknown);
        }
        let mut statement = self.db.prepare_cached("SELECT rowid FROM trigram WHERE trigram MATCH ? LIMIT ?")?;
        let limit = i64::try_from(MAX_CANDIDATES).unwrap_or(i64::MAX);
        let mut emails: Vec<i64> = statement.query_map(params![query, limit], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if emails.len() >= MAX_CANDIDATES {
            return Ok(Candidates::Unknown);
        }
        emails.sort_unstable();
        Ok(Candidates::Only { emails, upto: self.state.indexed_email })
    }

    /// Whether there is enough that the index does not know.
    pub(crate) fn wants_feed(&self) -> bool {
        self.behind() >= MIN_BACKLOG && i64::try_from(self.state.messages).unwrap_or(i64::MAX) >= MIN_BACKLOG
    }

    fn behind(&self) -> i64 {
        self.state.next_email.saturating_sub(1).saturating_sub(self.state.indexed_email)
    }

    /// Adds some messages to the index; true when more wait.
    pub(crate) fn feed(&mut self) -> Result<bool> {
        self.write(|account| {
            if account.state.indexed_email == 0 {
                account.db.execute_batch(CREATE)?;
            }
            let (mut last, mut bytes, mut count) = (account.state.indexed_email, 0usize, 0usize);
            let mut select = account.db.prepare_cached("SELECT email, headers, body FROM search WHERE email > ? ORDER BY email")?;
            let mut insert = account.db.prepare_cached("INSERT INTO trigram(rowid, text) VALUES(?, ?)")?;
            let mut rows = select.query([last])?;
            let mut whole = true;
            while let Some(row) = rows.next()? {
                if count >= FEED_MESSAGES || bytes >= FEED_BYTES {
                    whole = false;
                    break;
                }
                let text = format!("{}\n{}", row.get_ref(1)?.as_str().unwrap_or_default(), row.get_ref(2)?.as_str().unwrap_or_default());
                last = row.get(0)?;
                insert.execute(params![last, text])?;
                (bytes, count) = (bytes.saturating_add(text.len()), count.saturating_add(1));
            }
            // What lies between was expunged already.
            account.state.indexed_email = if whole { account.state.next_email.saturating_sub(1) } else { last };
            Ok(())
        })?;
        Ok(self.behind() > 0)
    }

    /// Takes an email out of the index, within a transaction.
    pub(crate) fn unindex(&mut self, email: i64) -> Result<()> {
        if email <= self.state.indexed_email {
            self.db.prepare_cached("DELETE FROM trigram WHERE rowid = ?")?.execute([email])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{prepare::Prepared, search::Program, segment::Body};
    use pure_addr::MailboxName;
    use pure_index::{MessageIndex, fold};
    use std::path::Path;
    use wire::{
        MessageWriter,
        edge::store_session::{SearchKey as K, UidRange},
    };

    #[test]
    fn a_query_is_made_of_trigrams() {
        assert_eq!(query("ab"), None);
        assert_eq!(query("größe").as_deref(), Some("\"grö\" AND \"röß\" AND \"öße\""));
        assert_eq!(query("a\"b").as_deref(), Some("\"a\"\"b\""));
        assert_eq!(query("aaaaa").as_deref(), Some("\"aaa\""));
        assert_eq!(query("\0\0\0"), None);
        let long: String = ('a'..='z').cycle().take(4000).collect();
        assert!(query(&long).unwrap().matches(" AND ").count() <= MAX_TRIGRAMS);
    }

    fn open(path: &Path) -> Account {
        Account::open(path, 1_790_000_000, Some(1), true).unwrap()
    }

    fn deliver(account: &mut Account, texts: &[String]) {
        account
            .write(|account| {
                let inbox = account.boxes.target(&MailboxName::inbox()).unwrap();
                for text in texts {
                    let body = Body::new(b"", MessageWriter::sealed(text.as_bytes()).unwrap()).unwrap();
                    let mut index = MessageIndex::default();
                    index.search.body = fold(text);
                    index.search.headers = vec![("subject".into(), fold(&text.chars().rev().collect::<String>()))];
                    let prepared = Prepared::new(index, body.len()).unwrap();
                    account.reserve(body.len(), None).unwrap();
                    let email = account.insert_email(&body, &prepared)?;
                    account.insert_message(inbox, email, 0, None, prepared.dates(0), body.len())?;
                }
                Ok(())
            })
            .unwrap();
    }

    fn search(account: &mut Account, keys: &[K], indexed: bool) -> Vec<UidRange> {
        let program = Program::compile(keys, account).unwrap();
        let known = match &program.contains {
            Some(query) if indexed => account.candidates(query).unwrap(),
            _ => Candidates::Unknown,
        };
        let inbox = account.boxes.target(&MailboxName::inbox()).unwrap();
        let (mut found, mut next) = (Vec::new(), Some(1));
        while let Some(first) = next {
            next = account.search(inbox, &program, &known, first, &mut found).unwrap();
        }
        found
    }

    fn texts(from: u32, to: u32) -> Vec<String> {
        (from..to).map(|n| format!("Größe {} \"quoted\" {:x} Straße end", n % 37, n.wrapping_mul(2_654_435_761))).collect()
    }

    fn programs() -> Vec<Vec<K>> {
        let mut programs = vec![
            vec![K::Body("größe 1".into())],
            vec![K::Body("\"QUOTED\"".into())],
            vec![K::Body("ß".into())],
            vec![K::Body("nowhere to be found".into())],
            vec![K::Header("Subject".into(), "DNE eß".into())],
            vec![K::Text("e 3".into()), K::Not],
            vec![K::Body("e 3".into()), K::Body("e 30".into()), K::Or],
            vec![K::Body("e 3".into()), K::Text("abc".into()), K::And],
        ];
        programs.extend(
            (0..200u32)
                .map(|n| vec![K::Body(format!("{:x}", n.wrapping_mul(2_654_435_761)).chars().skip(1).take(3 + n as usize % 3).collect())]),
        );
        programs
    }

    /// Whatever the index knows, the answer is that of looking at every text.
    #[test]
    fn the_index_changes_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1");
        let mut account = open(&path);
        deliver(&mut account, &texts(0, 100));
        assert!(!account.wants_feed(), "a small account needs no index");
        deliver(&mut account, &texts(100, 500));
        assert!(account.wants_feed());
        let mut steps = 1;
        while account.feed().unwrap() {
            steps += 1;
        }
        assert!(steps > 1 && account.state.indexed_email > 0);
        // Some that the index does not know, and some that are gone.
        deliver(&mut account, &texts(500, 600));
        let inbox = account.boxes.target(&MailboxName::inbox()).unwrap();
        account.write(|account| (1..=40).step_by(2).try_for_each(|uid| account.remove_uid(inbox, uid))).unwrap();
        for round in 0..2 {
            let (mut narrowed, mut found) = (0, 0);
            for keys in programs() {
                let plain = search(&mut account, &keys, false);
                assert_eq!(search(&mut account, &keys, true), plain, "{keys:?}");
                let program = Program::compile(&keys, &account).unwrap();
                narrowed += u32::from(program.contains.is_some_and(|q| matches!(account.candidates(&q), Ok(Candidates::Only { .. }))));
                found += u32::from(!plain.is_empty());
            }
            assert!(narrowed > 200 && found > 150, "{narrowed} {found} {round}");
            drop(account);
            account = open(&path);
        }
    }

    #[test]
    fn what_is_expunged_leaves_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let mut account = open(&dir.path().join("1"));
        deliver(&mut account, &texts(0, 400));
        while account.feed().unwrap() {}
        let before = account.candidates("\"str\"").unwrap();
        assert!(matches!(before, Candidates::Only { emails, .. } if emails.len() >= 256));
        let inbox = account.boxes.target(&MailboxName::inbox()).unwrap();
        account.write(|account| (1..=400).try_for_each(|uid| account.remove_uid(inbox, uid))).unwrap();
        let after = account.candidates("\"str\"").unwrap();
        assert!(matches!(after, Candidates::Only { emails, .. } if emails.is_empty()));
    }
}
