//! Sessions that auth has the store and the queue make for an account, and their end with what they were granted for.
//!
//! A session lives no longer than the verifier that opened it: whoever replaces a stolen password shuts the thief out, whatever
//! the front end wants. A change is first in the directory, then the sessions are ended; a login looks at the directory again
//! when it has its session. So a session that was granted on the old password is ended by one of the two.

use crate::{
    auth::Auth,
    directory::Directory,
    exchanges::Attempt,
    verifier::{Argon2id, ScramKeys},
};
use pure_addr::AccountId;
use std::os::fd::OwnedFd;
use wire::{
    Client, Edge, Error,
    edge::{
        auth_login::Failure,
        mail::{Owner, Protocol},
        queue_grant, store_grant,
    },
};

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

    /// Ends what these accounts have open; false when the store or the queue does not say that it did.
    pub(crate) async fn end_sessions(&self, accounts: &[AccountId]) -> bool {
        let mut all = true;
        for account in accounts {
            let (store, queue) = tokio::join!(
                insist(&self.store, store_grant::Request::End(*account)),
                insist(&self.queue, queue_grant::Request::End(*account)),
            );
            let ended = (matches!(store, Ok(store_grant::Response::Ended)), matches!(queue, Ok(queue_grant::Response::Ended)));
            if ended != (true, true) {
                tracing::error!(%account, of_store = ended.0, of_queue = ended.1, "open sessions were not ended");
                all = false;
            }
        }
        all
    }
}

/// A server that dies takes its sessions along, but the next one may already have granted others.
async fn insist<E: Edge>(client: &Client<E>, request: E::Request) -> Result<E::Response, Error> {
    let answer = match client.call(&request, &[]).await {
        Err(Error::Closed | Error::Io(_)) => client.call(&request, &[]).await,
        answer => answer,
    };
    answer.map(|reply| reply.body)
}

/// Accounts that had verifiers in the one directory and have not the same ones in the other.
pub(crate) fn shut_out(before: &Directory, after: &Directory) -> Vec<AccountId> {
    let differs = |id: AccountId| {
        let verifiers = |directory: &Directory| directory.account(id).map(|account| account.verifiers.clone());
        verifiers(before) != verifiers(after)
    };
    before.accounts().map(|account| account.id).filter(|id| differs(*id)).collect()
}
