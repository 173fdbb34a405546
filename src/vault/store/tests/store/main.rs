//! The store through its sockets, as the queue, auth and the front ends see it.

#[cfg(test)]
mod confined;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod mailboxes;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod search;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod world;
