//! The real process in its jail: a system call or a path that the jail does not allow would end it or make it unavailable.

use crate::world::{DELIVERED, Front, Mail, Sockets, World, flags, name, uids};
use std::{
    fs,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Child, Command},
};
use wire::edge::store_session::{FlagChange, Request, Response, SystemFlags};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(world: &World, sockets: &Sockets) -> Running {
    let credentials = world.dir.path().join("credentials");
    fs::create_dir_all(&credentials).unwrap();
    let config = "hostname = \"mail.example.test\"\nallow_weak_sandbox = true\n[domains.\"example.test\"]\n";
    fs::write(credentials.join("postern.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-store"));
    command.env("CREDENTIALS_DIRECTORY", &credentials).env("STATE_DIRECTORY", world.dir.path().join("state"));
    command.env("POSTERN_EDGES", &sockets.edges).env_remove("NOTIFY_SOCKET");
    let fds = [("store-deliver", sockets.deliver.as_fd()), ("store-grant", sockets.grant.as_fd())];
    Running(jail::spawn::spawn(&mut command, &fds).unwrap())
}

/// Everything that reaches the disk in another way: deliveries, one sync of many accounts, appends, checkpoints, expunges, new segments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jail_leaves_it_all_it_needs() {
    let (world, sockets) = World::outside();
    let mut process = start(&world, &sockets);
    for account in 1..=12 {
        assert_eq!(world.deliver_to(account, 1, &Mail::new("x", "small"), "INBOX").await, DELIVERED);
    }
    world.sync().await;
    let large = "large ".repeat(400_000);
    for n in 2..6 {
        assert_eq!(world.deliver_to(1, n, &Mail::new("x", &large), "INBOX").await, DELIVERED);
    }
    let mut front: Front = world.session_of(1).await;
    let inbox = front.id("INBOX").await;
    assert_eq!(front.bodies(inbox, &[(1, u32::MAX)]).await.len(), 5);
    let appended = front.append("Sent", &[(Mail::new("sent", "text"), flags(&[SystemFlags::SEEN], &["k"]))]).await;
    assert!(matches!(appended, Response::Appended { .. }));
    front.call(&Request::Create { name: name("a/b"), role: None }).await;
    front.call(&Request::Copy { mailbox: inbox, uids: uids(&[(1, 2)]), to: name("a/b"), r#move: true }).await;
    let deleted = flags(&[SystemFlags::DELETED], &[]);
    let all = uids(&[(1, u32::MAX)]);
    front.rows(&Request::SetFlags { mailbox: inbox, uids: all, change: FlagChange::Add, flags: deleted, unchanged_since: None }).await;
    assert_eq!(front.parts(&Request::Expunge { mailbox: inbox, uids: None }).await.len(), 2);
    front.done(&Request::Rename { from: name("a"), to: name("c") }).await;

    // Killed and started again on the same sockets: nobody loses more than a connection.
    process.0.kill().unwrap();
    assert_eq!(process.0.wait().unwrap().signal(), Some(9), "it was alive until then");
    let mut process = start(&world, &sockets);
    let mut front = world.session_of(1).await;
    assert_eq!(front.mailbox("c/b").await.messages, 2);
    assert_eq!(front.mailbox("INBOX").await.messages, 0);
    assert_eq!(world.deliver_to(1, 5, &Mail::new("x", &large), "INBOX").await, DELIVERED);
    assert_eq!(front.mailbox("INBOX").await.messages, 0, "it had been delivered before");
    assert!(process.0.try_wait().unwrap().is_none());
}
