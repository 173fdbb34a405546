//! auth/login: SASL exchanges. Success brings a socket of the store or the queue that is good for one account.
//!
//! A user that does not exist, one that has no password, and a wrong password cost the same work and get the same answer.

use crate::{
    auth::Auth,
    exchanges::{Attempt, Begun},
    limits::{MAX_PASSWORD, NONCE_ENTROPY, SALT, SCRAM_ITERATIONS},
    scram::{ClientFirst, Refused},
    sessions::Proof,
    verifier::{Argon2id, ScramKeys, prepare},
};
use data_encoding::BASE64;
use pure_addr::{AccountId, Address, Text};
use std::os::fd::OwnedFd;
use wire::{
    Error, Reply, Service,
    edge::{
        auth_login::{AuthForImap, AuthForSubmission, Failure, Login, MAX_SASL, Mechanism, Request, Response},
        mail::Protocol,
    },
};

/// Bytes of a `tls-exporter` value (RFC 9266 2).
const EXPORTER: usize = 32;

impl Service<AuthForImap> for Auth {
    async fn call(&self, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply<AuthForImap>, Error> {
        self.login(request).await
    }
}

impl Service<AuthForSubmission> for Auth {
    async fn call(&self, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply<AuthForSubmission>, Error> {
        self.login(request).await
    }
}

impl Auth {
    async fn login<E: Login>(&self, request: Request) -> Result<Reply<E>, Error> {
        let answer = match request {
            Request::Start { session, peer, mechanism, initial, channel_binding } => {
                if initial.len() > MAX_SASL || channel_binding.as_ref().is_some_and(|value| value.len() != EXPORTER) {
                    return Err(Error::Malformed("a SASL message or channel binding of impossible length"));
                }
                let attempt = Attempt { protocol: E::PROTOCOL, session, peer, name: String::new() };
                match mechanism {
                    Mechanism::Plain => self.plain(attempt, &initial).await,
                    Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                        let bound = channel_binding.as_ref().map(|value| value.as_slice());
                        self.scram_start(attempt, mechanism, &initial, bound)
                    }
                }
            }
            Request::Continue { exchange, response } => self.scram_finish(E::PROTOCOL, exchange, &response).await,
            Request::Abort { exchange } => {
                drop(self.exchanges().take(exchange, self.now()));
                Ok((Response::Aborted, None))
            }
        };
        let (body, socket) = answer.unwrap_or_else(|failure| (Response::Failure(failure), None));
        Ok(Reply { body, fds: socket.into_iter().collect() })
    }
}

/// As whom to act, name and password (RFC 4616 2).
pub fn plain(message: &[u8]) -> Option<(&str, &str, &str)> {
    let mut fields = std::str::from_utf8(message).ok()?.split('\0');
    let (authzid, authcid, password) = (fields.next()?, fields.next()?, fields.next()?);
    (fields.next().is_none() && !authcid.is_empty() && !password.is_empty()).then_some((authzid, authcid, password))
}

/// What is said, and the session that comes with it.
type Answer = Result<(Response, Option<OwnedFd>), Failure>;

impl Auth {
    /// RFC 4616.
    async fn plain(&self, mut attempt: Attempt, message: &[u8]) -> Answer {
        let (authzid, authcid, password) = plain(message).ok_or(Failure::Malformed)?;
        let address = self.name_attempt(&mut attempt, authcid, (!authzid.is_empty()).then_some(authzid))?;
        if password.len() > MAX_PASSWORD {
            return Err(self.refuse(&attempt, "the password is too long"));
        }
        let (account, verifier) = self.plain_verifier(address.as_ref(), &attempt.name);
        let password = prepare(password);
        if let Some(account) = account.filter(|account| self.remembered().knows(*account, &verifier, &password, self.now())) {
            return self.admit(&attempt, account, &Proof::Argon2(verifier), None).await;
        }
        let turn = self.hasher.turn(Some(attempt.network()), verifier.cost().memory_kib()).await.map_err(|_| self.busy(&attempt))?;
        // What was allowed when it began to wait may not be any more: a thousand guesses at once are a thousand guesses.
        self.check(&attempt)?;
        let checked = turn.run(move || verifier.verify(password.as_bytes()).then_some((verifier, password))).await;
        match (account, checked.map_err(|_| Failure::Unavailable)?) {
            (Some(account), Some((verifier, password))) => {
                self.remembered().remember(account, &verifier, &password, self.now());
                self.admit(&attempt, account, &Proof::Argon2(verifier), None).await
            }
            _ => Err(self.refuse(&attempt, "wrong name or password")),
        }
    }

    fn plain_verifier(&self, address: Option<&Address>, name: &str) -> (Option<AccountId>, Argon2id) {
        let [a, b, c, d, e, f, g, h, ..] = self.decoy("cost", name);
        let directory = self.directory();
        let account = address.and_then(|address| directory.by_login(address));
        match account.and_then(|account| Some((account.id, account.verifiers.argon2.clone()?))) {
            Some((id, verifier)) => (Some(id), verifier),
            None => (None, Argon2id::decoy(directory.decoy_cost(u64::from_be_bytes([a, b, c, d, e, f, g, h])))),
        }
    }

    /// RFC 5802 5, the first half.
    fn scram_start(&self, mut attempt: Attempt, mechanism: Mechanism, message: &[u8], bound: Option<&[u8]>) -> Answer {
        let client = ClientFirst::parse(message).map_err(|why| self.scram_refused(&attempt, why))?;
        let address = self.name_attempt(&mut attempt, &client.username, client.authzid.as_deref())?;
        let (account, keys) = self.scram_keys(address.as_ref(), &attempt.name);
        let account = account.map(|account| (account, Proof::Scram(keys.clone())));
        let mut entropy = [0; NONCE_ENTROPY];
        getrandom::fill(&mut entropy).map_err(|_| Failure::Unavailable)?;
        let nonce = BASE64.encode(&entropy);
        let (exchange, challenge) = client.challenge(mechanism, bound, keys, &nonce).map_err(|why| self.scram_refused(&attempt, why))?;
        let begun = Begun { attempt: attempt.clone(), account, exchange };
        let exchange = self.exchanges().begin(begun, self.now()).map_err(|_| self.busy(&attempt))?;
        Ok((Response::Challenge { exchange, data: challenge.into_bytes().into() }, None))
    }

    /// The keys of the account, or keys that nobody has with a salt that always belongs to the name.
    fn scram_keys(&self, address: Option<&Address>, name: &str) -> (Option<AccountId>, ScramKeys) {
        let salt = self.decoy("scram salt", name);
        let more_salt = self.decoy("scram salt, continued", name);
        let [a, b, c, d, e, f, g, h, ..] = self.decoy("scram shape", name);
        let directory = self.directory();
        let account = address.and_then(|address| directory.by_login(address));
        if let Some((id, keys)) = account.and_then(|account| Some((account.id, account.verifiers.scram.clone()?))) {
            return (Some(id), keys);
        }
        let shape = directory.decoy_scram_shape(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let (length, iterations) = shape.unwrap_or((SALT, SCRAM_ITERATIONS));
        let salt = salt.into_iter().chain(more_salt).take(length).collect();
        let (stored_key, server_key) = (self.decoy("stored key", name), self.decoy("server key", name));
        (None, ScramKeys { iterations, salt, stored_key, server_key })
    }

    /// RFC 5802 5, the second half. The exchange is gone whatever comes of it.
    async fn scram_finish(&self, protocol: Protocol, exchange: u64, message: &[u8]) -> Answer {
        let begun = self.exchanges().take(exchange, self.now()).ok_or(Failure::Malformed)?;
        let attempt = begun.attempt;
        // What was begun for one service ends there.
        if attempt.protocol != protocol {
            return Err(Failure::Malformed);
        }
        self.check(&attempt)?;
        let signature = begun.exchange.finish(message).map_err(|why| self.scram_refused(&attempt, why))?;
        match begun.account {
            Some((account, proof)) => self.admit(&attempt, account, &proof, Some(signature)).await,
            None => Err(self.refuse(&attempt, "wrong name or password")),
        }
    }

    /// Notes whom the client wants to be; an address if it can be one. Acting as somebody else is refused for everybody.
    fn name_attempt(&self, attempt: &mut Attempt, authcid: &str, authzid: Option<&str>) -> Result<Option<Address>, Failure> {
        let address = Address::parse(authcid).ok();
        attempt.name = address.as_ref().map_or_else(|| authcid.to_lowercase(), Address::key);
        self.check(attempt)?;
        let same = |given: &str| match (&address, Address::parse(given)) {
            (Some(own), Ok(other)) => own.key() == other.key(),
            _ => given == authcid,
        };
        if authzid.is_some_and(|given| !same(given)) {
            return Err(self.refuse(attempt, "asked to act as another user"));
        }
        Ok(address)
    }

    fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        if self.allows(attempt.network(), &attempt.name) {
            return Ok(());
        }
        log_refused(attempt, "too many failures, has to wait");
        Err(Failure::TooMany)
    }

    fn refuse(&self, attempt: &Attempt, why: &'static str) -> Failure {
        self.failed(attempt.network(), &attempt.name);
        log_refused(attempt, why);
        Failure::Credentials
    }

    fn scram_refused(&self, attempt: &Attempt, why: Refused) -> Failure {
        match why {
            Refused::Malformed => Failure::Malformed,
            Refused::Credentials => self.refuse(attempt, "wrong name, password or channel binding"),
        }
    }

    fn busy(&self, attempt: &Attempt) -> Failure {
        log_refused(attempt, "too many logins are waiting");
        Failure::Unavailable
    }

    /// The password was right: asks for the account's socket.
    async fn admit(&self, attempt: &Attempt, account: AccountId, proof: &Proof, signature: Option<String>) -> Answer {
        let owner = {
            let directory = self.directory();
            directory.account(account).map(|account| directory.owner(account))
        };
        // Removed while the password was being checked.
        let Some(owner) = owner else { return Err(self.refuse(attempt, "the account is gone")) };
        self.succeeded(attempt.network(), &attempt.name);
        let socket = self.grant(attempt, owner.clone()).await?;
        if !self.is_proof(account, proof) {
            log_refused(attempt, "the password was changed meanwhile");
            return Err(Failure::Credentials);
        }
        let (session, peer, protocol) = (attempt.session, attempt.peer, attempt.protocol);
        tracing::info!(%session, %peer, account = %owner.address, ?protocol, scram = signature.is_some(), "login");
        let data = signature.map(|text| text.into_bytes().into());
        Ok((Response::Success { owner, data }, Some(socket)))
    }
}

/// A name is logged only if it is an address: people type passwords into the wrong field.
fn log_refused(attempt: &Attempt, why: &'static str) {
    let account = Address::parse(&attempt.name).map_or_else(|_| "-".into(), |address| address.to_string());
    let account = Text::<320>::lossy(account.as_bytes());
    tracing::warn!(session = %attempt.session, peer = %attempt.peer, %account, protocol = ?attempt.protocol, why, "login refused");
}
