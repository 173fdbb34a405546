//! What each account has sent, in slots of five minutes, and which accounts are held. Runs inside the writer's transaction.

use pure_addr::Address;
use pure_config::SendingLimits;
use rusqlite::{Connection, OptionalExtension, params};

const MINUTE: i64 = 60_000;
/// Milliseconds of one slot.
const SLOT: i64 = 5 * MINUTE;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A message that counts.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) account: u64,
    pub(crate) address: Address,
    pub(crate) recipients: u32,
    pub(crate) limits: SendingLimits,
}

/// May it enter?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    Yes,
    /// It enters and waits for the administrator.
    Held,
    /// Not now. With this one the account is held, and a notice is due.
    No {
        notice: bool,
    },
}

/// An account that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) account: u64,
    pub(crate) address: Address,
}

/// Numbers of accounts are random and use all bits; SQLite's integers have a sign.
fn stored(account: u64) -> i64 {
    account.cast_signed()
}

/// What an account may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Recipients of one more message; zero also when there may be no other message.
    pub(crate) recipients: u32,
    /// With this question the account is held, and a notice is due.
    pub(crate) notice: bool,
}

/// How many recipients a next message of the account may have. When those it has are too many, the limit counts as exceeded.
pub(super) fn allowance(db: &Connection, counted: &Counted, now: i64) -> rusqlite::Result<Allowance> {
    let limits = &counted.limits;
    let left = |span: i64, most: Option<u32>, most_recipients: Option<u32>| -> rusqlite::Result<i64> {
        let (messages, recipients) = sum(db, counted.account, now, span)?;
        let left = most_recipients.map_or(i64::MAX, |most| i64::from(most).saturating_sub(recipients));
        Ok(if most.is_some_and(|most| messages >= i64::from(most)) { 0 } else { left })
    };
    let hour = left(HOUR, limits.messages_per_hour, limits.recipients_per_hour)?;
    let day = left(DAY, limits.messages_per_day, limits.recipients_per_day)?;
    let notice = hour < i64::from(counted.recipients) && exceeded(db, counted, now)?;
    Ok(Allowance { recipients: u32::try_from(hour.min(day).max(0)).unwrap_or(u32::MAX), notice })
}

/// Messages and recipients of an account within so many milliseconds.
fn sum(db: &Connection, account: u64, now: i64, span: i64) -> rusqlite::Result<(i64, i64)> {
    db.prepare_cached(
        "SELECT coalesce(sum(messages), 0), coalesce(sum(recipients), 0) FROM sent WHERE account = ?1 AND slot > ?2 AND slot <= ?3",
    )?
    // What a clock counted that has been set back since is not in that time.
    .query_row(params![stored(account), now.saturating_sub(span).div_euclid(SLOT), now.div_euclid(SLOT)], |r| Ok((r.get(0)?, r.get(1)?)))
}

/// Counts a message if it is within the limits.
pub(super) fn count(db: &Connection, counted: &Counted, now: i64) -> rusqlite::Result<Allowed> {
    let account = stored(counted.account);
    let slot = now.div_euclid(SLOT);
    let limits = &counted.limits;
    let recipients = i64::from(counted.recipients);
    let over = |(messages, sent): (i64, i64), most: Option<u32>, most_recipients: Option<u32>| {
        most.is_some_and(|most| messages.saturating_add(1) > i64::from(most))
            || most_recipients.is_some_and(|most| sent.saturating_add(recipients) > i64::from(most))
    };
    let hour = over(sum(db, counted.account, now, HOUR)?, limits.messages_per_hour, limits.recipients_per_hour);
    let day = over(sum(db, counted.account, now, DAY)?, limits.messages_per_day, limits.recipients_per_day);
    if hour || day {
        return Ok(Allowed::No { notice: hour && exceeded(db, counted, now)? });
    }
    db.prepare_cached(
        "INSERT INTO sent VALUES (?1, ?2, 1, ?3)
         ON CONFLICT (account, slot) DO UPDATE SET messages = messages + 1, recipients = recipients + ?3",
    )?
    .execute(params![account, slot, recipients])?;
    db.prepare_cached("DELETE FROM sent WHERE account = ?1 AND (slot <= ?2 OR slot > ?3)")?.execute(params![
        account,
        now.saturating_sub(DAY).div_euclid(SLOT),
        slot
    ])?;
    let held: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM watched WHERE account = ?1 AND held_at IS NOT NULL)")?
        .query_row([account], |r| r.get(0))?;
    Ok(if held { Allowed::Held } else { Allowed::Yes })
}

/// An account is over its hourly limit. The second time within a day, at least an hour after the first, it is held: true then.
fn exceeded(db: &Connection, counted: &Counted, now: i64) -> rusqlite::Result<bool> {
    let account = stored(counted.account);
    let before: Option<(i64, Option<i64>)> = db
        .prepare_cached("SELECT exceeded_at, held_at FROM watched WHERE account = ?1")?
        .query_row([account], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    match before {
        Some((_, Some(_))) => Ok(false),
        Some((at, None)) if (HOUR..DAY).contains(&now.saturating_sub(at)) => {
            db.prepare_cached("UPDATE watched SET held_at = ?2, notice = 1 WHERE account = ?1")?.execute([account, now])?;
            Ok(true)
        }
        Some((at, None)) if (0..HOUR).contains(&now.saturating_sub(at)) => Ok(false),
        _ => {
            db.prepare_cached(
                "INSERT INTO watched VALUES (?1, ?2, ?3, NULL, 0) ON CONFLICT (account) DO UPDATE SET exceeded_at = ?3, address = ?2",
            )?
            .execute(params![account, counted.address.key(), now])?;
            Ok(false)
        }
    }
}

/// Accounts whose notice was not written yet.
pub(super) fn notices(db: &Connection) -> rusqlite::Result<Vec<Notice>> {
    let mut select = db.prepare_cached("SELECT account, address FROM watched WHERE notice = 1 LIMIT 16")?;
    let found = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut notices = Vec::new();
    for row in found {
        let (account, address) = row?;
        if let Ok(address) = Address::parse(&address) {
            notices.push(Notice { account: account.cast_unsigned(), address });
        }
    }
    Ok(notices)
}

/// The notice is written. False when it was already.
pub(super) fn noticed(db: &Connection, account: u64) -> rusqlite::Result<bool> {
    Ok(db.prepare_cached("UPDATE watched SET notice = 0 WHERE account = ?1 AND notice = 1")?.execute([stored(account)])? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let dir = tempfile::tempdir().unwrap();
        let files = super::super::Files::open(dir.path()).unwrap();
        super::super::schema::open(dir.path(), 1_000, &files, &crate::testing::settings()).unwrap().0
    }

    #[test]
    fn an_hour_slides_and_the_second_excess_of_a_day_holds_the_account() {
        let db = database();
        let limits = SendingLimits {
            messages_per_hour: Some(2),
            messages_per_day: Some(100),
            recipients_per_hour: Some(10),
            recipients_per_day: None,
        };
        let one = Counted { account: 7, address: crate::testing::address("a@mta.test"), recipients: 1, limits };
        let start = 1_000 * DAY;
        let at = |minutes: i64| count(&db, &one, start + minutes * MINUTE).unwrap();
        assert_eq!(at(0), Allowed::Yes);
        assert_eq!(at(30), Allowed::Yes);
        assert_eq!(at(31), Allowed::No { notice: false });
        // Whoever tries again at once has still exceeded it once.
        assert_eq!(at(32), Allowed::No { notice: false });
        assert_eq!(at(61), Allowed::Yes);
        assert_eq!(at(91), Allowed::Yes);
        assert_eq!(at(92), Allowed::No { notice: true });
        assert_eq!(notices(&db).unwrap(), [Notice { account: 7, address: one.address.clone() }]);
        assert!(noticed(&db, 7).unwrap() && !noticed(&db, 7).unwrap());
        assert_eq!(at(93), Allowed::No { notice: false });
        assert_eq!(at(200), Allowed::Held);
        let many = Counted { recipients: 11, ..one.clone() };
        assert_eq!(count(&db, &many, start + 400 * MINUTE).unwrap(), Allowed::No { notice: false });
        // Asked before: what is left, and too much is an excess like any other.
        let late = start + 400 * MINUTE;
        let left = |counted: &Counted| allowance(&db, counted, late).unwrap();
        assert_eq!(left(&one), Allowance { recipients: 10, notice: false });
        assert_eq!(count(&db, &one, late).unwrap(), Allowed::Held);
        assert_eq!(left(&one), Allowance { recipients: 9, notice: false });
        assert_eq!(count(&db, &one, late).unwrap(), Allowed::Held);
        assert_eq!(left(&one).recipients, 0);
        let third = Counted { account: 9, address: crate::testing::address("c@mta.test"), ..many.clone() };
        assert!(!allowance(&db, &third, late).unwrap().notice);
        assert!(allowance(&db, &third, late + 90 * MINUTE).unwrap().notice, "the second time in a day");
        let none = Counted {
            account: 10,
            limits: SendingLimits { messages_per_hour: None, messages_per_day: None, recipients_per_hour: None, recipients_per_day: None },
            ..one.clone()
        };
        assert_eq!(left(&none).recipients, u32::MAX);
        // Another account is not concerned.
        assert_eq!(count(&db, &Counted { account: 8, ..one.clone() }, start).unwrap(), Allowed::Yes);
    }

    #[test]
    fn accounts_with_large_numbers_have_limits_of_their_own() {
        let db = database();
        let limits =
            SendingLimits { messages_per_hour: Some(1), messages_per_day: None, recipients_per_hour: None, recipients_per_day: None };
        let of = |account| Counted { account, address: crate::testing::address("a@mta.test"), recipients: 1, limits };
        let start = 1_000 * DAY;
        for account in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
            assert_eq!(count(&db, &of(account), start).unwrap(), Allowed::Yes, "{account}");
            assert_eq!(count(&db, &of(account), start).unwrap(), Allowed::No { notice: false });
            // The second excess of a day holds it, and nobody else.
            assert_eq!(count(&db, &of(account), start + 70 * MINUTE).unwrap(), Allowed::Yes);
            assert_eq!(count(&db, &of(account), start + 71 * MINUTE).unwrap(), Allowed::No { notice: true });
            assert_eq!(notices(&db).unwrap().iter().map(|n| n.account).collect::<Vec<_>>(), [account]);
            assert!(noticed(&db, account).unwrap());
        }
    }
}
