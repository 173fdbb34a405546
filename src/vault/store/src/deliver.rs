//! The queue's edge: local delivery, at most once for each id.

use crate::{
    account::Account,
    cell::{Cell, blocking},
    error::{Result, StoreError},
    limits::{MAX_MESSAGES, SETTLED_SLACK},
    prepare::Prepared,
    segment::Body,
    store::Store,
};
use pure_addr::MailboxName;
use rusqlite::params;
use std::{os::fd::OwnedFd, sync::Arc};
use tokio::sync::oneshot;
use wire::{
    Error, Reply, SealedMessage, Service,
    edge::{
        mail::MAX_MESSAGE,
        store_deliver::{Delivery, DeliveryId, Life, Request, Response, StoreDeliver},
        store_session::Refusal,
    },
};

/// A delivery ready for its transaction, and who wants to know of it.
#[derive(Debug)]
pub(crate) struct Waiting {
    message: i64,
    number: u32,
    mailbox: MailboxName,
    quota: Option<u64>,
    received_at: i64,
    body: Body,
    prepared: Prepared,
    verdict: oneshot::Sender<Response>,
}

impl Waiting {
    pub(crate) fn answer(self, verdict: Response) {
        // A caller that gave up will ask again under the same id.
        let _ = self.verdict.send(verdict);
    }
}

/// The service behind the queue's connection.
#[derive(Debug)]
pub struct Deliver(pub Arc<Store>);

impl Service<StoreDeliver> for Deliver {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> std::result::Result<Reply<StoreDeliver>, Error> {
        let mut fds = fds.into_iter();
        Ok(Reply::new(match (request, fds.next(), fds.next()) {
            (Request::Deliver(delivery), Some(fd), None) => self.deliver(*delivery, fd).await?,
            (Request::Sync, None, None) => {
                self.0.sync_all().await;
                Response::Synced(self.0.options.life)
            }
            (Request::Settled(below), None, None) => {
                self.0.settle(ordered(below.0));
                Response::Settled
            }
            _ => return Err(Error::Malformed("descriptors that do not belong to the request")),
        }))
    }
}

impl Deliver {
    async fn deliver(&self, delivery: Delivery, fd: OwnedFd) -> std::result::Result<Response, Error> {
        let Delivery { id: DeliveryId { message, number }, owner, mailbox, received_at, prefix, index } = delivery;
        let sealed = SealedMessage::from_fd(fd, MAX_MESSAGE).map_err(|_| Error::Malformed("no sealed message"))?;
        let body = Body::new(&prefix, sealed)?;
        let Ok(prepared) = Prepared::new(index, body.len()) else {
            tracing::error!(MESSAGE = %message, account = %owner.account, "the index is not one of this message");
            return Ok(Response::Unavailable);
        };
        let large = body.is_large();
        let (verdict, answer) = oneshot::channel();
        let cell = self.0.cell(owner.account);
        let id = message;
        let message = ordered(id.0);
        cell.enqueue(Waiting { message, number, mailbox, quota: owner.quota, received_at, body, prepared, verdict });
        // Lets the deliveries that came along with this one join its transaction.
        tokio::task::yield_now().await;
        self.drain(&cell, large);
        let verdict = answer.await.map_err(|_| Error::Refused)?;
        tracing::info!(MESSAGE = %id, account = %owner.account, number, ?verdict, "stored");
        Ok(verdict)
    }

    fn drain(&self, cell: &Arc<Cell>, large: bool) {
        if large {
            blocking(|| cell.drain(&self.0));
        } else {
            cell.drain(&self.0);
        }
    }
}

/// Spool numbers in SQLite's signed integers, in the same order.
fn ordered(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

impl Account {
    /// Delivers a batch in one transaction; one after the other when that fails, so that one cannot spoil it for all.
    pub(crate) fn deliver_all(&mut self, batch: &[Waiting], settled: i64, life: Life) -> Vec<Response> {
        let together = self.write(|account| {
            account.forget_settled(settled, batch.len())?;
            batch.iter().map(|waiting| account.deliver(waiting, life)).collect::<Result<Vec<_>>>()
        });
        match together {
            Ok(verdicts) => verdicts,
            Err(error) if batch.len() == 1 => {
                tracing::error!(%error, "delivery failed");
                vec![Response::Unavailable]
            }
            Err(error) => {
                tracing::warn!(%error, deliveries = batch.len(), "a batch failed; trying them one by one");
                let each = |waiting| {
                    self.write(|account| account.deliver(waiting, life)).unwrap_or_else(|error| {
                        tracing::error!(%error, "delivery failed");
                        Response::Unavailable
                    })
                };
                batch.iter().map(each).collect()
            }
        }
    }

    fn forget_settled(&mut self, settled: i64, more: usize) -> Result<()> {
        self.settled_slack = self.settled_slack.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        if self.settled_slack > SETTLED_SLACK {
            self.db.prepare_cached("DELETE FROM delivery WHERE message < ?")?.execute([settled])?;
            self.settled_slack = 0;
        }
        Ok(())
    }

    fn deliver(&mut self, waiting: &Waiting, life: Life) -> Result<Response> {
        let email = self.state.next_email;
        let new = self.db.prepare_cached("INSERT OR IGNORE INTO delivery(message, number, email) VALUES(?, ?, ?)")?.execute(params![
            waiting.message,
            waiting.number,
            email
        ])?;
        if new == 0 {
            return Ok(Response::Delivered(life));
        }
        let size = waiting.body.len();
        if self.reserve(size, waiting.quota).is_err() {
            self.db
                .prepare_cached("DELETE FROM delivery WHERE message = ? AND number = ?")?
                .execute(params![waiting.message, waiting.number])?;
            // Out of numbers for messages, or of bytes.
            let is_out_of_bytes = self.state.messages < MAX_MESSAGES;
            let room = waiting.quota.filter(|_| is_out_of_bytes).map_or(0, |quota| quota.saturating_sub(self.state.used));
            return Ok(Response::OverQuota { room });
        }
        let mailbox = match self.boxes.target(&waiting.mailbox) {
            Ok(mailbox) => mailbox,
            Err(_) => self.boxes.target(&MailboxName::inbox()).map_err(|_| StoreError::Damaged("no INBOX"))?,
        };
        let email = self.insert_email(&waiting.body, &waiting.prepared)?;
        match self.insert_message(mailbox, email, 0, None, waiting.prepared.dates(waiting.received_at), size) {
            Ok(_uid) => Ok(Response::Delivered(life)),
            Err(StoreError::Refused(Refusal::Limit)) => Err(StoreError::Damaged("no UID is left")),
            Err(error) => Err(error),
        }
    }
}
