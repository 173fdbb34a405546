//! Results of TLS negotiations, counted for each day and domain (RFC 8460). Runs inside the writer's transaction.

use pure_addr::{Domain, Text};
use rusqlite::{Connection, OptionalExtension, params};
use wire::{
    List,
    edge::send_deliver::{TlsFailure, TlsPolicy, TlsResult},
};

/// Different results of one day that are kept; more are not counted.
const MAX_RESULTS: i64 = 10_000;

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Days since 1970, UTC.
    pub(crate) day: i64,
    pub(crate) domain: Domain,
}

/// Sessions that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) policy: TlsPolicy,
    pub(crate) policy_text: List<Text<500>, 32>,
    pub(crate) mx: String,
    pub(crate) address: String,
    pub(crate) failure: Option<TlsFailure>,
    pub(crate) sessions: u64,
}

/// The next report to write.
#[derive(Debug, Default)]
pub(crate) struct Next {
    pub(crate) report: Option<(Key, Vec<Count>)>,
}

/// Policies and failures in the order of their numbers in the database, which must not change.
const POLICIES: [TlsPolicy; 3] = [TlsPolicy::Dane, TlsPolicy::MtaSts, TlsPolicy::None];
const FAILURES: [TlsFailure; 11] = [
    TlsFailure::StartTlsNotSupported,
    TlsFailure::CertificateHostMismatch,
    TlsFailure::CertificateNotTrusted,
    TlsFailure::CertificateExpired,
    TlsFailure::ValidationFailure,
    TlsFailure::TlsaInvalid,
    TlsFailure::DnssecInvalid,
    TlsFailure::DaneRequired,
    TlsFailure::StsPolicyFetchError,
    TlsFailure::StsPolicyInvalid,
    TlsFailure::StsWebpkiInvalid,
];

pub(super) fn add(db: &Connection, day: i64, result: &TlsResult) -> rusqlite::Result<()> {
    let policy = POLICIES.iter().position(|p| *p == result.policy).unwrap_or(2);
    // Zero is success.
    let failure = result.failure.and_then(|f| FAILURES.iter().position(|g| *g == f)).map_or(0, |n| n.saturating_add(1));
    let text = wire::encode(&result.policy_text).unwrap_or_default();
    let address = result.address.map(|a| a.to_string()).unwrap_or_default();
    let (policy, failure) = (i64::try_from(policy).unwrap_or(2), i64::try_from(failure).unwrap_or(0));
    let row = params![day, result.domain.as_str(), policy, text, result.mx.as_str(), address, failure];
    let known = db
        .prepare_cached(
            "UPDATE tls_results SET sessions = sessions + 1 WHERE day = ?1 AND domain = ?2 AND policy = ?3 AND policy_text = ?4 AND mx = ?5
             AND address = ?6 AND failure = ?7",
        )?
        .execute(row)?;
    if known == 0 {
        let full: bool =
            db.prepare_cached("SELECT count(*) >= ?2 FROM tls_results WHERE day = ?1")?.query_row([day, MAX_RESULTS], |r| r.get(0))?;
        if !full {
            db.prepare_cached("INSERT INTO tls_results VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)")?.execute(row)?;
        }
    }
    Ok(())
}

pub(super) fn next(db: &Connection, before: i64, now: i64) -> rusqlite::Result<Next> {
    let found: Option<(i64, String)> = db
        .prepare_cached(
            "SELECT r.day, r.domain FROM tls_results r LEFT JOIN tls_reports l ON l.day = r.day AND l.domain = r.domain
             WHERE r.day < ?1 AND coalesce(l.due, 0) <= ?2 LIMIT 1",
        )?
        .query_row([before, now], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((day, name)) = found else { return Ok(Next::default()) };
    let Ok(domain) = Domain::parse(&name) else {
        forget(db, day, &name)?;
        return Ok(Next::default());
    };
    let mut select =
        db.prepare_cached("SELECT policy, policy_text, mx, address, failure, sessions FROM tls_results WHERE day = ?1 AND domain = ?2")?;
    let counts = select.query_map(params![day, name], |row| {
        let number = |column: usize| row.get::<_, i64>(column).map(|n| usize::try_from(n).unwrap_or(0));
        Ok(Count {
            policy: POLICIES.get(number(0)?).copied().unwrap_or(TlsPolicy::None),
            policy_text: wire::decode(row.get_ref(1)?.as_blob().unwrap_or_default()).unwrap_or_default(),
            mx: row.get(2)?,
            address: row.get(3)?,
            failure: number(4)?.checked_sub(1).and_then(|n| FAILURES.get(n)).copied(),
            sessions: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        })
    })?;
    Ok(Next { report: Some((Key { day, domain }, counts.collect::<Result<_, _>>()?)) })
}

/// The report is written or not wanted. False when it was already.
pub(super) fn done(db: &Connection, key: &Key) -> rusqlite::Result<bool> {
    forget(db, key.day, key.domain.as_str())
}

fn forget(db: &Connection, day: i64, domain: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM tls_reports WHERE day = ?1 AND domain = ?2")?.execute(params![day, domain])?;
    Ok(db.prepare_cached("DELETE FROM tls_results WHERE day = ?1 AND domain = ?2")?.execute(params![day, domain])? > 0)
}

pub(super) fn later(db: &Connection, key: &Key, due: i64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO tls_reports VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET due = ?3")?.execute(params![
        key.day,
        key.domain.as_str(),
        due
    ])?;
    Ok(())
}
