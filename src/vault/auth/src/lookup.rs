//! auth/directory: the queue asks who lives at an address, and who may write from it.

use crate::{auth::Auth, directory::Resolution};
use pure_addr::Address;
use std::os::fd::OwnedFd;
use wire::{
    Error, Reply, Service,
    edge::auth_directory::{AuthDirectory, Request, Response},
};

impl Service<AuthDirectory> for Auth {
    async fn call(&self, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply<AuthDirectory>, Error> {
        let answer = match request {
            Request::Resolve(address) => match self.directory().resolve(&address) {
                Ok(Resolution::NotLocal) => Response::NotLocal,
                Ok(Resolution::Unknown) => Response::Unknown,
                Ok(Resolution::Targets(targets)) => Response::Targets(targets),
                Err(error) => {
                    tracing::error!(recipient = %address, %error, "mail for it has to wait");
                    return Err(Error::Refused);
                }
            },
            Request::MaySend { account, addresses } => {
                let directory = self.directory();
                let own = |text: &str| Address::parse(text).is_ok_and(|address| directory.may_send(account, &address));
                Response::MaySend(!addresses.is_empty() && addresses.iter().all(|text| own(text.as_str())))
            }
            Request::Changed(known) => Response::Generation(self.generation_after(known).await),
        };
        Ok(Reply::new(answer))
    }
}
