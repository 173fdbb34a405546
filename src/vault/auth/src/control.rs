//! auth/control: the operator's accounts, domains and aliases that are not declared in the configuration.
//!
//! A change is checked against the whole directory, committed, and only then seen; changes happen one at a time.

use crate::{
    auth::Auth,
    database::{Database, DatabaseError},
    directory::{Account, Alias},
    limits::{ARGON2_MEMORY_KIB, MAX_ENTRIES, SALT},
    verifier::{Verifiers, acceptable},
};
use pure_addr::{AccountId, Address, Domain};
use std::{os::fd::OwnedFd, sync::Arc};
use wire::{
    Edge, Error, List, Reply, Service,
    edge::auth_control::{self, AuthControl, Password, Refusal, Request, Response},
};

/// [`Auth`] behind an Arc of its own: changes run to their end even if their client goes away.
pub(crate) struct Control(pub(crate) Arc<Auth>);

impl Service<AuthControl> for Control {
    async fn call(&self, request: Request, _fds: Vec<OwnedFd>) -> Result<Reply<AuthControl>, Error> {
        let change = match request {
            Request::Accounts => return listed(Response::Accounts(self.accounts()?)),
            Request::Domains => return listed(Response::Domains(self.domains()?)),
            Request::Aliases => return listed(Response::Aliases(self.aliases()?)),
            Request::AddAccount { address, password, quota } => match self.verifiers(password).await? {
                Some(verifiers) => Change::AddAccount { address, quota, verifiers },
                None => return Ok(Reply::new(Response::Refused(Refusal::Password))),
            },
            Request::SetPassword { address, password } => match self.verifiers(Some(password)).await? {
                Some(verifiers) => Change::SetVerifiers { address, verifiers },
                None => return Ok(Reply::new(Response::Refused(Refusal::Password))),
            },
            Request::RemoveAccount(address) => Change::RemoveAccount(address),
            Request::AddDomain(domain) => Change::AddDomain(domain),
            Request::RemoveDomain(domain) => Change::RemoveDomain(domain),
            Request::AddAlias { address, targets } => Change::AddAlias { address, targets },
            Request::RemoveAlias(address) => Change::RemoveAlias(address),
        };
        let auth = self.0.clone();
        let done = tokio::spawn(async move {
            let changing = auth.clone();
            let shut_out = tokio::task::spawn_blocking(move || changing.change(change)).await.map_err(|_| Failed::Lost)??;
            let ended = auth.end_sessions(shut_out.as_slice()).await;
            Ok(if ended { Response::Done } else { Response::SessionsLeft })
        });
        match done.await.map_err(|_| Error::Refused)? {
            Ok(done) => Ok(Reply::new(done)),
            Err(Failed::Lost) => Err(Error::Refused),
            Err(Failed::Refused(refusal)) => Ok(Reply::new(Response::Refused(refusal))),
            Err(Failed::Database(error)) => {
                tracing::error!(%error, "a change could not be stored");
                Ok(Reply::new(Response::Refused(Refusal::NotStored)))
            }
        }
    }
}

impl Control {
    /// None when the password may not be set; no verifiers for no password.
    async fn verifiers(&self, password: Option<Password>) -> Result<Option<Verifiers>, Error> {
        let Some(password) = password else { return Ok(Some(Verifiers::default())) };
        if !acceptable(&password.0) {
            return Ok(None);
        }
        let mut salts = [[0; SALT]; 2];
        salts.iter_mut().try_for_each(|salt| getrandom::fill(salt)).map_err(|_| Error::Refused)?;
        let turn = self.0.hasher.turn(None, ARGON2_MEMORY_KIB).await.map_err(|_| Error::Refused)?;
        let made = turn.run(move || Verifiers::make(&password.0, salts));
        // No verifiers from an acceptable password: out of memory.
        made.await.ok().flatten().map(Some).ok_or(Error::Refused)
    }

    fn accounts(&self) -> Result<List<auth_control::Account, MAX_ENTRIES>, Error> {
        let directory = self.0.directory();
        let mut accounts: Vec<&Account> = directory.accounts().collect();
        accounts.sort_by_cached_key(|account| account.address.key());
        let shown = accounts.into_iter().map(|account| auth_control::Account {
            address: account.address.clone(),
            id: account.id,
            declared: account.declared,
            can_log_in: account.verifiers.can_log_in(),
            quota: account.quota,
        });
        List::new(shown.collect()).ok_or(Error::TooLarge)
    }

    fn domains(&self) -> Result<List<(Domain, bool), MAX_ENTRIES>, Error> {
        let directory = self.0.directory();
        List::new(directory.domains().map(|(name, hosted)| (name.clone(), hosted.declared)).collect()).ok_or(Error::TooLarge)
    }

    fn aliases(&self) -> Result<List<auth_control::Alias, MAX_ENTRIES>, Error> {
        let directory = self.0.directory();
        let mut aliases: Vec<&Alias> = directory.aliases().collect();
        aliases.sort_by_cached_key(|alias| alias.address.key());
        let shown = aliases.into_iter().map(|alias| auth_control::Alias {
            address: alias.address.clone(),
            targets: alias.targets.clone(),
            declared: alias.declared,
        });
        List::new(shown.collect()).ok_or(Error::TooLarge)
    }
}

/// A list that does not fit the edge is refused here, so that its connection survives.
fn listed(response: Response) -> Result<Reply<AuthControl>, Error> {
    if wire::encode(&response)?.len() > AuthControl::MAX_BODY { Err(Error::TooLarge) } else { Ok(Reply::new(response)) }
}

enum Change {
    AddAccount { address: Address, quota: Option<u64>, verifiers: Verifiers },
    SetVerifiers { address: Address, verifiers: Verifiers },
    RemoveAccount(Address),
    AddDomain(Domain),
    RemoveDomain(Domain),
    AddAlias { address: Address, targets: crate::database::Targets },
    RemoveAlias(Address),
}

enum Failed {
    Refused(Refusal),
    Database(DatabaseError),
    /// Nobody knows whether it was done.
    Lost,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl Auth {
    /// Returns the account whose sessions must end. Blocks.
    fn change(&self, change: Change) -> Result<Option<AccountId>, Failed> {
        // Nobody else changes the directory while this is held.
        let mut database = self.database();
        match change {
            Change::AddAccount { address, quota, verifiers } => self.add_account(&mut database, address, quota, verifiers)?,
            Change::SetVerifiers { address, verifiers } => return self.set_verifiers(&mut database, &address, verifiers).map(Some),
            Change::RemoveAccount(address) => return self.remove_account(&mut database, &address).map(Some),
            Change::AddDomain(domain) => self.add_domain(&mut database, domain)?,
            Change::RemoveDomain(domain) => self.remove_domain(&mut database, &domain)?,
            Change::AddAlias { address, targets } => self.add_alias(&mut database, address, targets)?,
            Change::RemoveAlias(address) => self.remove_alias(&mut database, &address)?,
        }
        Ok(None)
    }

    fn add_account(&self, database: &mut Database, address: Address, quota: Option<u64>, verifiers: Verifiers) -> Result<(), Failed> {
        self.check_free(&address)?;
        if self.directory().accounts().count() >= MAX_ENTRIES {
            return Err(Refusal::TooMany.into());
        }
        let id = database.add_account(&address, quota, &verifiers, self.mark(&verifiers))?;
        tracing::info!(account = %address, id = %id, "account added");
        self.directory_mut().add_account(Account { id, address, quota, declared: false, verifiers_declared: false, verifiers });
        Ok(())
    }

    /// Declared accounts have their passwords set here too, unless their verifier is declared as well.
    fn set_verifiers(&self, database: &mut Database, address: &Address, verifiers: Verifiers) -> Result<AccountId, Failed> {
        let account = self.directory().by_login(address).map(|account| (account.id, account.verifiers_declared));
        let (id, declared) = account.ok_or(Refusal::NotFound)?;
        if declared {
            return Err(Refusal::Declared.into());
        }
        database.set_verifiers(id, &verifiers, self.mark(&verifiers))?;
        tracing::info!(account = %address, "password set");
        self.directory_mut().set_verifiers(id, verifiers);
        Ok(id)
    }

    fn remove_account(&self, database: &mut Database, address: &Address) -> Result<AccountId, Failed> {
        let account = self.directory().by_login(address).map(|account| (account.id, account.declared));
        let (id, declared) = account.ok_or(Refusal::NotFound)?;
        if declared {
            return Err(Refusal::Declared.into());
        }
        // Who sends to them would not hear that one is missing.
        if self.directory().is_led_to(id) {
            return Err(Refusal::LedTo.into());
        }
        database.remove_account(id)?;
        tracing::info!(account = %address, id = %id, "account removed");
        self.directory_mut().remove_account(id);
        Ok(id)
    }

    fn add_domain(&self, database: &mut Database, domain: Domain) -> Result<(), Failed> {
        if domain.is_literal() {
            return Err(Refusal::DomainNotHosted.into());
        }
        if self.directory().domain(&domain).is_some() {
            return Err(Refusal::Taken.into());
        }
        if self.directory().domains().count() >= MAX_ENTRIES {
            return Err(Refusal::TooMany.into());
        }
        database.add_domain(&domain)?;
        tracing::info!(%domain, "domain added");
        self.directory_mut().add_domain(domain);
        Ok(())
    }

    fn remove_domain(&self, database: &mut Database, domain: &Domain) -> Result<(), Failed> {
        let declared = self.directory().domain(domain).map(|hosted| hosted.declared).ok_or(Refusal::NotFound)?;
        if declared {
            return Err(Refusal::Declared.into());
        }
        if self.directory().is_used(domain) {
            return Err(Refusal::InUse.into());
        }
        database.remove_domain(domain)?;
        tracing::info!(%domain, "domain removed");
        self.directory_mut().remove_domain(domain);
        Ok(())
    }

    fn add_alias(&self, database: &mut Database, address: Address, targets: crate::database::Targets) -> Result<(), Failed> {
        self.check_free(&address)?;
        if targets.is_empty() {
            return Err(Refusal::NotFound.into());
        }
        if self.directory().would_loop(&address, &targets) {
            return Err(Refusal::AliasLoop.into());
        }
        if self.directory().aliases().count() >= MAX_ENTRIES {
            return Err(Refusal::TooMany.into());
        }
        database.add_alias(&address, &targets)?;
        tracing::info!(alias = %address, targets = targets.len(), "alias added");
        self.directory_mut().insert_alias(Alias { address, targets, declared: false });
        Ok(())
    }

    fn remove_alias(&self, database: &mut Database, address: &Address) -> Result<(), Failed> {
        let declared = self.directory().alias(address).map(|alias| alias.declared).ok_or(Refusal::NotFound)?;
        if declared {
            return Err(Refusal::Declared.into());
        }
        database.remove_alias(address)?;
        tracing::info!(alias = %address, "alias removed");
        self.directory_mut().remove_alias(address);
        Ok(())
    }

    fn check_free(&self, address: &Address) -> Result<(), Refusal> {
        let directory = self.directory();
        if directory.domain(&address.domain).is_none() {
            return Err(Refusal::DomainNotHosted);
        }
        // The configuration says that nothing is there.
        if directory.is_alias_domain(&address.domain) {
            return Err(Refusal::Declared);
        }
        if directory.is_taken(address) { Err(Refusal::Taken) } else { Ok(()) }
    }
}
