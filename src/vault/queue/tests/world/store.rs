//! The fake of store: remembers what it was given.

use super::{Gate, soon};
use pure_index::MessageIndex;
use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;
use wire::{
    Error, Reply, SealedMessage, Service,
    edge::store_deliver::{self, DeliveryId, Life as StoreLife, StoreDeliver},
};

/// One message in an account.
#[derive(Debug, Clone)]
pub struct Stored {
    pub account: u64,
    pub quota: Option<u64>,
    pub text: Vec<u8>,
    pub index: MessageIndex,
    pub mailbox: String,
    pub received_at: i64,
}

pub struct Store {
    pub stored: Mutex<BTreeMap<(u64, u32), Stored>>,
    /// How many times each delivery was asked for.
    pub asked: Mutex<HashMap<DeliveryId, u32>>,
    pub refuse: Mutex<HashMap<u64, store_deliver::Response>>,
    pub deliver_gate: Gate,
    pub sync_gate: Gate,
    pub syncs: watch::Sender<u64>,
    pub settled: watch::Sender<u64>,
    pub changed: watch::Sender<usize>,
    /// Deliveries that were asked for, counted before the gate.
    pub arrived: watch::Sender<u64>,
    /// Counts the starts of the store.
    pub life: AtomicU64,
    pub fast: bool,
}

impl Service<StoreDeliver> for Store {
    async fn call(&self, request: store_deliver::Request, fds: Vec<OwnedFd>) -> Result<Reply<StoreDeliver>, Error> {
        Ok(Reply::new(match request {
            store_deliver::Request::Deliver(delivery) => {
                if !self.fast {
                    *self.asked.lock().unwrap().entry(delivery.id).or_insert(0) += 1;
                }
                self.arrived.send_modify(|n| *n += 1);
                self.deliver_gate.pass().await;
                let life = StoreLife(self.life.load(Ordering::Relaxed));
                let account = delivery.owner.account.get();
                if let Some(refusal) = self.refuse.lock().unwrap().get(&account) {
                    return Ok(Reply::new(*refusal));
                }
                let message = SealedMessage::from_fd(fds.into_iter().next().unwrap(), 1 << 30).unwrap();
                if self.fast {
                    self.changed.send_modify(|n| *n += 1);
                    return Ok(Reply::new(store_deliver::Response::Delivered(life)));
                }
                let mut text = delivery.prefix.to_vec();
                text.extend(message.read_all()?);
                let mut stored = self.stored.lock().unwrap();
                let quota = delivery.owner.quota;
                stored.entry((delivery.id.message.0, delivery.id.number)).or_insert(Stored {
                    account,
                    quota,
                    text,
                    index: delivery.index,
                    mailbox: delivery.mailbox.as_str().to_owned(),
                    received_at: delivery.received_at,
                });
                self.changed.send_replace(stored.len());
                store_deliver::Response::Delivered(life)
            }
            store_deliver::Request::Sync => {
                self.syncs.send_modify(|n| *n += 1);
                self.sync_gate.pass().await;
                store_deliver::Response::Synced(StoreLife(self.life.load(Ordering::Relaxed)))
            }
            store_deliver::Request::Settled(id) => {
                self.settled.send_replace(id.0);
                store_deliver::Response::Settled
            }
        }))
    }
}

impl Store {
    /// Waits until so many messages are in accounts.
    pub async fn holds(&self, n: usize) {
        soon("deliveries", self.changed.subscribe().wait_for(|have| *have >= n)).await.unwrap();
    }

    pub fn all(&self) -> Vec<Stored> {
        self.stored.lock().unwrap().values().cloned().collect()
    }
}
