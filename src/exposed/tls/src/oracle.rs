//! Signatures from `keys`, for code that can only wait.
//!
//! rustls asks for a signature synchronously, from within the task of a handshake. The connection to `keys` therefore has a thread and a
//! runtime of its own: however many handshakes wait at a time, the thread that their answers come by is not one of theirs.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc as answers},
    time::{Duration, Instant},
};
use tokio::{runtime, sync::mpsc};
use wire::{
    Client, Error,
    edge::keys_tls::{Handshakes, Request, Response},
};

/// After an answer that did not come, how long handshakes fail at once instead of waiting for their own.
const SICK: Duration = Duration::from_secs(2);

type Question = (Request, answers::SyncSender<Result<Response, Error>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Oracle {
    questions: mpsc::UnboundedSender<Question>,
    /// How long an answer may take.
    patience: Duration,
    sick_until: Mutex<Option<Instant>>,
}

impl Oracle {
    /// Starts the thread; it ends with the last handle.
    pub(crate) fn start<E: Handshakes>(keys: PathBuf) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        // As many questions as threads wait for an answer.
        let (questions, mut asked) = mpsc::unbounded_channel::<Question>();
        std::thread::Builder::new().name("keys".into()).spawn(move || {
            runtime.block_on(async {
                let client = std::sync::Arc::new(Client::<E>::new(keys));
                while let Some((request, answer)) = asked.recv().await {
                    let client = client.clone();
                    tokio::spawn(async move {
                        let result = client.call(&request, &[]).await.map(|reply| reply.body);
                        // Who asked may have given up.
                        let _gone = answer.send(result);
                    });
                }
            });
        })?;
        // A little more than the question itself is given.
        let patience = E::PATIENCE.saturating_add(Duration::from_secs(1));
        Ok(Self { questions, patience, sick_until: Mutex::new(None) })
    }

    /// Asks and waits; to be called where blocking is allowed.
    pub(crate) fn ask(&self, request: Request) -> Result<Response, Error> {
        if self.sick_until().is_some_and(|until| Instant::now() < until) {
            return Err(Error::Timeout);
        }
        let (answer, answered) = answers::sync_channel(1);
        self.questions.send((request, answer)).map_err(|_| Error::Closed)?;
        let result = answered.recv_timeout(self.patience).unwrap_or(Err(Error::Timeout));
        if let Err(Error::Timeout) = result {
            *self.sick_until() = Instant::now().checked_add(SICK);
        }
        result
    }

    fn sick_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.sick_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
