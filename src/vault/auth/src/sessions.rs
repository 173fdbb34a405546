//! Sessions that auth has the store and the queue make for an account, and their end with what they were granted for.
//!
//! A session lives no longer than the verifier that opened it: whoever replaces a stolen password shuts the thief out, whatever
//! the front end wants. A change is first in the directory, then the sessions are ended; a login looks at the directory again
//! when it has its session. So a session that was granted on the old password is ended by one of the two.
//!
//! This process may end between the change and the end of the sessions, and the configuration may change while it does not run. So the
//! database keeps a mark of the verifiers that what is open was opened with, until the store and the queue have said that nothing older
//! is open. Whoever has other verifiers now, or none, is owed that, also by the next process.

use crate::{
    auth::Auth,
    database::Mark,
    exchanges::Attempt,
    limits::OWED_AGAIN,
    verifier::{Argon2id, ScramKeys, Verifiers, hmac_sha256},
};
use pure_addr::AccountId;
use std::{os::fd::OwnedFd, sync::Arc};
use wire::{
    Client, Edge, Error,
    edge::{
        auth_login::Failure,
        mail::{Owner, Protocol},
        queue_grant, store_grant,
    },
};
use zeroize::Zeroizing;

/// The verifier that a password was right for.
pub(crate) enum Proof {
    Argon2(Argon2id),
    Scram(ScramKeys),
}

impl Auth {
    /// Whether the account still has this verifier.
    pub(crate) fn is_proof(&self, account: AccountId, proof: &Proof) -> bool {
        self.directory().account(account).is_some_and(|account| match proof {
            Proof::Argon2(verifier) => account.verifiers.argon2.as_ref() == Some(verifier),
            Proof::Scram(keys) => account.verifiers.scram.as_ref() == Some(keys),
        })
    }

    /// A socket of the store or the queue for this account.
    pub(crate) async fn grant(&self, attempt: &Attempt, owner: Owner) -> Result<OwnedFd, Failure> {
        let session = attempt.session;
        let granted = match attempt.protocol {
            Protocol::Imap => {
                let reply = self.store.call(&store_grant::Request::Session { owner, session }, &[]).await;
                reply.map(|reply| (matches!(reply.body, store_grant::Response::Granted), reply.fds))
            }
            Protocol::Submission => {
                let reply = self.queue.call(&queue_grant::Request::Session { owner, session }, &[]).await;
                reply.map(|reply| (matches!(reply.body, queue_grant::Response::Granted), reply.fds))
            }
        };
        let problem = match granted {
            Ok((true, fds)) => match <[OwnedFd; 1]>::try_from(fds) {
                Ok([socket]) => return Ok(socket),
                Err(_) => "the grant brought no socket".to_owned(),
            },
            Ok((false, _)) => "too many sessions".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(%session, peer = %attempt.peer, protocol = ?attempt.protocol, problem, "no session was granted");
        Err(Failure::Unavailable)
    }

    /// What tells these verifiers from others; none when nobody can log in with them.
    pub(crate) fn mark(&self, verifiers: &Verifiers) -> Option<Mark> {
        mark(&self.decoy_secret, verifiers)
    }

    /// Accounts of which something may be open that was opened with other verifiers than they have now. Blocks.
    pub(crate) fn owed(&self) -> Vec<AccountId> {
        let in_force = self.database().in_force().inspect_err(|error| tracing::error!(%error, "nobody knows whose sessions must end"));
        let differs = |(id, mark): &(AccountId, Mark)| self.current(*id) != Some(*mark);
        in_force.unwrap_or_default().into_iter().filter(differs).map(|(id, _)| id).collect()
    }

    fn current(&self, id: AccountId) -> Option<Mark> {
        self.directory().account(id).and_then(|account| self.mark(&account.verifiers))
    }

    /// Ends what these accounts have open; false when the store or the queue does not say that it did. Then it is owed.
    pub(crate) async fn end_sessions(self: &Arc<Self>, accounts: &[AccountId]) -> bool {
        let mut all = true;
        for account in accounts {
            // Before anybody is asked: whoever changes it meanwhile has the rest ended.
            let current = self.current(*account);
            let (store, queue) = tokio::join!(
                insist(&self.store, store_grant::Request::End(*account)),
                insist(&self.queue, queue_grant::Request::End(*account)),
            );
            let ended = (matches!(store, Ok(store_grant::Response::Ended)), matches!(queue, Ok(queue_grant::Response::Ended)));
            if ended == (true, true) {
                let (auth, account) = (self.clone(), *account);
                let noted = tokio::task::spawn_blocking(move || {
                    // Nobody changes them while this is held.
                    let mut database = auth.database();
                    if auth.current(account) == current { database.put_in_force(account, current) } else { Ok(()) }
                });
                if !matches!(noted.await, Ok(Ok(()))) {
                    tracing::warn!(%account, "open sessions were ended, and will be once more");
                }
            } else {
                tracing::error!(%account, of_store = ended.0, of_queue = ended.1, "open sessions were not ended");
                all = false;
            }
        }
        if !all {
            self.left.notify_one();
        }
        all
    }

    /// Ends what an earlier process owed, and what could not be ended, again and again.
    pub(crate) async fn end_what_is_owed(self: Arc<Self>) {
        loop {
            let auth = self.clone();
            let owed = tokio::task::spawn_blocking(move || auth.owed()).await.unwrap_or_default();
            self.end_sessions(&owed).await;
            self.left.notified().await;
            tokio::time::sleep(OWED_AGAIN).await;
        }
    }
}

/// See [`Auth::mark`].
pub(crate) fn mark(secret: &[u8; 32], verifiers: &Verifiers) -> Option<Mark> {
    let (argon2, scram) = (verifiers.argon2.as_ref().map(Argon2id::to_phc), verifiers.scram.as_ref().map(ScramKeys::to_text));
    let text = |text: Option<Zeroizing<String>>| text.map(|text| Zeroizing::new(text.as_bytes().to_vec())).unwrap_or_default();
    verifiers.can_log_in().then(|| hmac_sha256(secret, &[b"in force\0", &text(argon2), b"\0", &text(scram)]))
}

/// A server that dies takes its sessions along, but the next one may already have granted others.
async fn insist<E: Edge>(client: &Client<E>, request: E::Request) -> Result<E::Response, Error> {
    let answer = match client.call(&request, &[]).await {
        Err(Error::Closed | Error::Io(_)) => client.call(&request, &[]).await,
        answer => answer,
    };
    answer.map(|reply| reply.body)
}
