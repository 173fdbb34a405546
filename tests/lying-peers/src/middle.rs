//! In the place of a server: what clients say is passed on to the real one, unless something else is to be answered.

use crate::{HELLO, Packet, Peer, REQUEST};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen, socket_with, socketpair};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, PermissionsExt},
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use test_support::Appliance;

/// Frames of an answer without an end: what a client keeps of them all shows in its memory.
const FLOOD: usize = 20_000;

/// A request, as the one in the middle sees it.
#[derive(Debug)]
pub struct Asked {
    /// Its number.
    pub id: u32,
    /// The request, encoded; empty when it is in a descriptor.
    pub body: Vec<u8>,
    /// What came along.
    pub fds: Vec<OwnedFd>,
}

type Answer<T> = Box<dyn Fn(&Asked) -> T + Send>;

/// What is said instead of the truth.
pub enum Say {
    /// Nothing is.
    Truth,
    /// To a greeting. Then it is for the client to end the connection; one that was greeted before is ended at its next request.
    Greeting(Vec<Packet>),
    /// To a request; nothing at all ends the connection, otherwise that is for the client. None: the server is asked.
    Answer(Answer<Option<Vec<Packet>>>),
    /// To a request, as long as the client listens; none: the server is asked.
    Flood(Answer<Option<Packet>>),
    /// To a request, and the connection goes on; none: the server is asked.
    Instead(Answer<Option<Packet>>),
}

impl std::fmt::Debug for Say {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Say")
    }
}

/// A frame that passed, with what was in its descriptors.
#[derive(Debug)]
pub struct Seen {
    /// Whether it is of the client.
    pub of_client: bool,
    /// All bytes.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct State {
    say: Mutex<Say>,
    seen: Mutex<Vec<Seen>>,
    told: AtomicUsize,
    ended: AtomicUsize,
}

/// See the module.
#[derive(Debug)]
pub struct Middle(Arc<State>);

impl Middle {
    /// Takes a server's place on one of its edges; the server is started again, so that everybody comes here.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start(appliance: &Appliance, edge: &str) -> Self {
        Self::on_each(appliance, &[edge]).remove(0)
    }

    /// The same on several edges, before anybody is started again.
    ///
    /// # Panics
    /// When it cannot.
    pub fn on_each(appliance: &Appliance, edges: &[&str]) -> Vec<Self> {
        let all = edges.iter().map(|edge| Self::on(appliance, edge, false)).collect();
        end_servers(appliance, edges);
        all
    }

    /// The same on the sockets that the answers of an edge bring.
    ///
    /// # Panics
    /// When it cannot.
    pub fn of_sessions(appliance: &Appliance, edge: &str) -> Self {
        let middle = Self::on(appliance, edge, true);
        end_servers(appliance, &[edge]);
        middle
    }

    fn on(appliance: &Appliance, edge: &str, of_sessions: bool) -> Self {
        let counted = || AtomicUsize::new(0);
        let state = Arc::new(State { say: Mutex::new(Say::Truth), seen: Mutex::default(), told: counted(), ended: counted() });
        let path = appliance.state().join("run").join(edge).join("sock");
        let (real, mine) = (path.with_extension("real"), path.with_extension("lie"));
        let listener = seqpacket();
        bind(&listener, &SocketAddrUnix::new(&mine).unwrap()).unwrap();
        listen(&listener, 128).unwrap();
        // Whose the daemons are depends on who runs the test.
        fs::set_permissions(&mine, fs::Permissions::from_mode(0o777)).unwrap();
        fs::rename(&path, &real).unwrap();
        fs::rename(&mine, &path).unwrap();
        let own = state.clone();
        thread::spawn(move || {
            while let Ok(client) = accept(&listener) {
                let (real, own) = (real.clone(), own.clone());
                thread::spawn(move || own.stand_between(client, dial(&real), of_sessions));
            }
        });
        Self(state)
    }

    /// What is said from now on.
    ///
    /// # Panics
    /// When a lie has panicked.
    pub fn says(&self, say: Say) {
        *self.0.say.lock().unwrap() = say;
    }

    /// How many lies were told, and how many of those who heard them have ended the connection since.
    pub fn told(&self) -> (usize, usize) {
        (self.0.told.load(Ordering::SeqCst), self.0.ended.load(Ordering::SeqCst))
    }

    /// All that has passed so far.
    ///
    /// # Panics
    /// When a lie has panicked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.seen.lock().unwrap())
    }
}

/// Each once: who was connected to one comes back to who is there now.
fn end_servers(appliance: &Appliance, edges: &[&str]) {
    let servers: BTreeSet<&str> = edges.iter().filter_map(|edge| edge.split('-').next()).collect();
    for server in servers {
        appliance.kill(server);
    }
}

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn dial(path: &Path) -> OwnedFd {
    let socket = seqpacket();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

impl State {
    fn stand_between(self: &Arc<Self>, client: OwnedFd, server: OwnedFd, of_sessions: bool) {
        let (client, server) = (Arc::new(Peer::without_limit(client)), Arc::new(Peer::without_limit(server)));
        let answers = {
            let (state, client, server) = (self.clone(), client.clone(), server.clone());
            thread::spawn(move || {
                while let Some(mut packet) = server.recv() {
                    state.note(false, &packet);
                    if of_sessions {
                        packet.fds = packet.fds.into_iter().map(|fd| state.within(fd)).collect();
                    }
                    if !client.send(&packet) {
                        break;
                    }
                }
                client.end();
            })
        };
        while let Some(packet) = client.recv() {
            self.note(true, &packet);
            if !of_sessions && self.lies(&client, &packet) {
                continue;
            }
            if !server.send(&packet) {
                break;
            }
        }
        server.end();
        answers.join().unwrap();
    }

    /// A session that was granted, through the middle.
    fn within(self: &Arc<Self>, session: OwnedFd) -> OwnedFd {
        let (given, kept) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let state = self.clone();
        thread::spawn(move || state.stand_between(kept, session, false));
        given
    }

    fn note(&self, of_client: bool, packet: &Packet) {
        let mut bytes = packet.bytes.clone();
        for fd in &packet.fds {
            let file = File::from(fd.try_clone().unwrap());
            let length = file.metadata().ok().filter(|meta| meta.is_file() && meta.len() < 1 << 26).map_or(0, |meta| meta.len());
            let mut content = vec![0; usize::try_from(length).unwrap()];
            // A file that is not to be read has nothing to say.
            if file.read_exact_at(&mut content, 0).is_ok() {
                bytes.extend(content);
            }
        }
        self.seen.lock().unwrap().push(Seen { of_client, bytes });
    }

    /// Whether the server does not hear of it.
    fn lies(&self, client: &Peer, packet: &Packet) -> bool {
        let Some((head, body)) = packet.bytes.split_first_chunk::<6>() else { return false };
        let fds = || packet.fds.iter().map(|fd| fd.try_clone().unwrap()).collect();
        let asked = || Asked { id: u32::from_le_bytes([head[2], head[3], head[4], head[5]]), body: body.to_vec(), fds: fds() };
        let mut end = false;
        {
            let say = self.say.lock().unwrap();
            match (&*say, head[0]) {
                (Say::Greeting(packets), HELLO) => {
                    self.told.fetch_add(1, Ordering::SeqCst);
                    packets.iter().all(|packet| client.send(packet));
                }
                // Who was greeted before comes again.
                (Say::Greeting(_), REQUEST) => {
                    client.end();
                    return true;
                }
                (Say::Answer(answer), REQUEST) => {
                    let Some(packets) = answer(&asked()) else { return false };
                    self.told.fetch_add(1, Ordering::SeqCst);
                    end = packets.is_empty() || !packets.iter().all(|packet| client.send(packet));
                }
                (Say::Flood(answer), REQUEST) => {
                    let Some(packet) = answer(&asked()) else { return false };
                    self.told.fetch_add(1, Ordering::SeqCst);
                    // Who has heard all of it has not ended it, and is left.
                    for _ in 0..FLOOD {
                        if !client.send(&packet) {
                            break;
                        }
                    }
                    end = true;
                }
                (Say::Instead(answer), REQUEST) => {
                    let Some(packet) = answer(&asked()) else { return false };
                    self.told.fetch_add(1, Ordering::SeqCst);
                    return client.send(&packet);
                }
                _ => return false,
            }
        }
        if end {
            client.end();
        }
        while client.recv().is_some() {}
        self.ended.fetch_add(1, Ordering::SeqCst);
        true
    }
}
