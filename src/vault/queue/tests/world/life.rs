//! A queue that runs, and what its clients do.

use super::{MESSAGE, World, address, envelope, later, listener, owner, soon, taken};
use postern_queue::{Options, Queue};
use pure_addr::ReversePath;
use std::{os::fd::AsFd, sync::Arc};
use tokio::task::AbortHandle;
use wire::{
    Client, Error, MessageWriter, Session,
    edge::{
        mail::{Envelope, Owner, QueueId, SessionId, Submitted},
        queue_control::{self, Action, Filter, QueueControl},
        queue_grant::{self, QueueGrant},
        queue_inbound::{self, QueueInbound},
        queue_submit::{self, QueueSubmit},
        store_deliver,
    },
    serve,
};

/// A queue that runs, and connections to it.
pub struct Life {
    pub queue: Option<Queue>,
    pub inbound: Arc<Client<QueueInbound>>,
    pub grant: Client<QueueGrant>,
    pub control: Client<QueueControl>,
    pub sockets: tempfile::TempDir,
    serving: Vec<AbortHandle>,
}

impl Life {
    pub fn start(options: Options) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let queue = Queue::open(options).unwrap();
        let path = |name: &str| sockets.path().join(name);
        let serving = vec![
            tokio::spawn(serve::<QueueInbound, _>(listener(&path("inbound")), queue.inbound())).abort_handle(),
            tokio::spawn(serve::<QueueGrant, _>(listener(&path("grant")), queue.grant())).abort_handle(),
            tokio::spawn(serve::<QueueControl, _>(listener(&path("control")), queue.control())).abort_handle(),
        ];
        Self {
            queue: Some(queue),
            inbound: Arc::new(Client::new(path("inbound"))),
            grant: Client::new(path("grant")),
            control: Client::new(path("control")),
            sockets,
            serving,
        }
    }

    pub fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    /// Stops without finishing anything.
    pub fn stop(mut self) {
        for task in &self.serving {
            task.abort();
        }
        self.queue.take().unwrap().stop();
    }

    pub async fn submit(&self, envelope: Box<Envelope>, message: &[u8]) -> Submitted {
        submit(&self.inbound, envelope, message).await
    }

    pub async fn accepted(&self, to: &[&str]) -> QueueId {
        match self.submit(envelope("x@remote.test", to), MESSAGE).await {
            Submitted::Accepted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub async fn verdict(&self, to: &str) -> wire::edge::mail::RecipientVerdict {
        let request = queue_inbound::Request::Recipient { reverse_path: ReversePath::Null, recipient: address(to) };
        match self.inbound.call(&request, &[]).await.unwrap().body {
            queue_inbound::Response::Recipient(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    }

    pub async fn ask(&self, request: queue_control::Request) -> queue_control::Response {
        self.control.call(&request, &[]).await.unwrap().body
    }

    pub async fn change(&self, action: Action, filter: Filter) -> u64 {
        match self.ask(queue_control::Request::Change { action, filter }).await {
            queue_control::Response::Done(n) => n,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a recipient of a message was tried so often, or until the message has come so far that it is not there any more.
    pub async fn tried(&self, id: QueueId, attempts: u32) -> queue_control::Recipient {
        soon("an attempt", async {
            loop {
                if let Some(found) = self.recipients(id).await.into_iter().find(|r| r.attempts >= attempts && r.next_attempt.is_some()) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// A message waits for alice, and one for elsewhere; nothing hinders them any more.
    pub async fn put_off(&self, world: &World) {
        world.store.refuse.lock().unwrap().insert(1, store_deliver::Response::OverQuota { room: 0 });
        world.send.says("slow@remote.test", &[later(), taken(false)]);
        let id = self.accepted(&["alice@mta.test"]).await;
        self.status(id, "deferred: the mailbox is full").await;
        let mut alice = self.login(owner(1, "alice@mta.test")).await.unwrap();
        let remote = alice.accepted(&["slow@remote.test"]).await;
        self.tried(remote, 1).await;
        world.store.refuse.lock().unwrap().clear();
    }

    pub async fn list(&self) -> Vec<queue_control::Message> {
        match self.ask(queue_control::Request::List { after: QueueId(0), filter: queue_control::Filter::default() }).await {
            queue_control::Response::Messages(list) => list.into_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn recipients(&self, id: QueueId) -> Vec<queue_control::Recipient> {
        match self.ask(queue_control::Request::Show(id)).await {
            queue_control::Response::Message(shown) => shown.1.into_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the spool holds so many messages.
    pub async fn keeps(&self, n: usize) {
        soon("messages in the spool", async {
            while self.list().await.len() != n {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until a recipient's status is this.
    pub async fn status(&self, id: QueueId, status: &str) -> queue_control::Recipient {
        soon(status, async {
            loop {
                if let Some(found) = self.recipients(id).await.into_iter().find(|r| r.status.as_str() == status) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// A session as auth gets it for a login.
    pub async fn login(&self, owner: Owner) -> Option<Submission> {
        let request = queue_grant::Request::Session { owner, session: SessionId(7) };
        let mut reply = self.grant.call(&request, &[]).await.unwrap();
        match reply.body {
            queue_grant::Response::Granted => Some(Submission(Session::new(reply.fds.remove(0)).await.unwrap())),
            queue_grant::Response::Busy | queue_grant::Response::Ended => None,
        }
    }
}

pub async fn submit(client: &Client<QueueInbound>, envelope: Box<Envelope>, message: &[u8]) -> Submitted {
    let message = MessageWriter::sealed(message).unwrap();
    match client.call(&queue_inbound::Request::Submit(envelope), &[message.as_fd()]).await.unwrap().body {
        queue_inbound::Response::Submitted(submitted) => submitted,
        other => panic!("{other:?}"),
    }
}

/// The client's end of queue/submit, as submission has it.
pub struct Submission(Session<QueueSubmit>);

impl Submission {
    pub async fn call(&mut self, request: &queue_submit::Request, message: Option<&[u8]>) -> Result<queue_submit::Response, Error> {
        let sealed = message.map(|m| MessageWriter::sealed(m).unwrap());
        let fds: Vec<_> = sealed.iter().map(|s| s.as_fd()).collect();
        Ok(self.0.call(request, &fds).await?.body)
    }

    pub async fn submit(&mut self, from: &str, to: &[&str]) -> Submitted {
        self.submit_whole(envelope(from, to), MESSAGE).await
    }

    pub async fn accepted(&mut self, to: &[&str]) -> QueueId {
        match self.submit("alice@mta.test", to).await {
            Submitted::Accepted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub async fn submit_whole(&mut self, envelope: Box<Envelope>, message: &[u8]) -> Submitted {
        match self.call(&queue_submit::Request::Submit(envelope), Some(message)).await.unwrap() {
            queue_submit::Response::Submitted(submitted) => submitted,
            other => panic!("{other:?}"),
        }
    }
}
