//! Calls over the control edges, and what went wrong with them in one line.

use crate::Failure;
use std::{
    future::Future,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};
use wire::{Client, Edge};

/// Bytes of a socket path that fit into `sockaddr_un`, without the closing NUL.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

/// Runs one command to its end.
pub(crate) fn run<F: Future<Output = Result<(), Failure>>>(command: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Failure::new("cannot start", e))?;
    runtime.block_on(command)
}

/// The client of an edge below `edges`.
#[derive(Debug)]
pub(crate) struct Control<E: Edge> {
    client: Client<E>,
    path: PathBuf,
}

impl<E: Edge> Control<E> {
    pub(crate) fn new(edges: &Path) -> Self {
        let path = socket(edges, E::NAME);
        Self { client: Client::new(&path), path }
    }

    /// One request, one answer.
    pub(crate) async fn call(&self, request: &E::Request) -> Result<E::Response, Failure> {
        match self.client.call(request, &[]).await {
            Ok(reply) => Ok(reply.body),
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn explain(&self, error: &wire::Error) -> Failure {
        let place = self.path.display();
        match error {
            wire::Error::Io(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ConnectionRefused) => {
                Failure::new(place, format_args!("{}; is postern running, and are you root or in group postern-admin?", plain(e)))
            }
            wire::Error::OtherBuild => Failure::new(place, "the running service is of another build than this command"),
            other => Failure::new(place, other),
        }
    }
}

/// Where an edge's socket is. A path that is too long for the kernel may lead over a symbolic link to a shorter one.
pub(crate) fn socket(edges: &Path, name: &str) -> PathBuf {
    let path = edges.join(name).join("sock");
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return path;
    }
    path.canonicalize().unwrap_or(path)
}

/// A system error without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::edge::{
        mail::QueueId,
        queue_control::{QueueControl, Request},
    };

    #[test]
    fn a_missing_socket_is_explained_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::<QueueControl>::new(dir.path());
        let result = run(async { control.call(&Request::Show(QueueId(1))).await.map(|_| ()) });
        let Err(Failure::Because(line)) = result else { panic!("{result:?}") };
        assert!(line.contains("is postern running") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn numbers_are_left_out_of_system_errors() {
        assert_eq!(plain(&io::Error::from_raw_os_error(2)), "No such file or directory");
    }
}
