//! Between the protocol's types and those of the edges.

use pure_smtp as smtp;
use wire::edge::mail;

pub(crate) fn body(body: smtp::Body) -> mail::Body {
    match body {
        smtp::Body::SevenBit => mail::Body::SevenBit,
        smtp::Body::EightBitMime => mail::Body::EightBitMime,
        smtp::Body::BinaryMime => mail::Body::BinaryMime,
    }
}

pub(crate) fn ret(ret: smtp::Ret) -> mail::Ret {
    match ret {
        smtp::Ret::Full => mail::Ret::Full,
        smtp::Ret::Headers => mail::Ret::Headers,
    }
}

pub(crate) fn recipient(recipient: smtp::Recipient) -> mail::Recipient {
    mail::Recipient {
        address: recipient.address,
        notify: recipient.notify.map(|n| mail::Notify { success: n.success, failure: n.failure, delay: n.delay }),
        orcpt: recipient.original.map(|o| (o.kind, o.address)),
    }
}

pub(crate) fn recipient_verdict(verdict: mail::RecipientVerdict) -> smtp::RecipientVerdict {
    match verdict {
        mail::RecipientVerdict::Accept => smtp::RecipientVerdict::Accept,
        mail::RecipientVerdict::Unknown => smtp::RecipientVerdict::Unknown,
        mail::RecipientVerdict::NoRelay => smtp::RecipientVerdict::NoRelay,
        mail::RecipientVerdict::MailboxFull => smtp::RecipientVerdict::MailboxFull,
        mail::RecipientVerdict::Unavailable => smtp::RecipientVerdict::Unavailable,
        mail::RecipientVerdict::RateLimited => smtp::RecipientVerdict::RateLimited,
    }
}

pub(crate) fn commit_verdict(submitted: mail::Submitted) -> smtp::CommitVerdict {
    match submitted {
        mail::Submitted::Accepted(id) => smtp::CommitVerdict::Accepted(pure_addr::Text::lossy(id.to_string().as_bytes())),
        mail::Submitted::Rejected(mail::Reason::Loop) => smtp::CommitVerdict::Loop,
        mail::Submitted::Rejected(mail::Reason::Identity) => smtp::CommitVerdict::Identity,
        mail::Submitted::Rejected(mail::Reason::Size) => smtp::CommitVerdict::TooLarge,
        mail::Submitted::Rejected(mail::Reason::NoRecipient) => smtp::CommitVerdict::NoRecipient,
        mail::Submitted::Rejected(mail::Reason::Sender) => smtp::CommitVerdict::Sender,
        mail::Submitted::Rejected(mail::Reason::Unauthenticated) => smtp::CommitVerdict::Unauthenticated,
        mail::Submitted::Rejected(mail::Reason::Policy) => smtp::CommitVerdict::Policy,
        mail::Submitted::Rejected(mail::Reason::NotPassedOn) => smtp::CommitVerdict::NotPassedOn,
        mail::Submitted::Deferred => smtp::CommitVerdict::Deferred,
        mail::Submitted::RateLimited => smtp::CommitVerdict::RateLimited,
    }
}
