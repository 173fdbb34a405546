//! A small file system in an image, whose power can be cut.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Bytes of the file system.
const SIZE: u64 = 64 * 1024 * 1024;
/// Where images lie: in memory, where there is such a place, so that a sync costs nothing.
const PLACES: [&str; 2] = ["/dev/shm", "/tmp"];

pub struct Disk {
    dir: tempfile::TempDir,
    cuts: u32,
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Disk {
    pub fn is_possible() -> bool {
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
        Path::new("/dev/loop-control").exists() && succeeds(probe.args(["--exact", "disk::probe"]).env(super::INSIDE, "probe"))
    }

    pub fn new() -> Self {
        let place = PLACES.into_iter().find(|place| Path::new(place).is_dir()).unwrap();
        let disk = Self { dir: tempfile::tempdir_in(place).unwrap(), cuts: 0 };
        fs::File::create(disk.image()).unwrap().set_len(SIZE).unwrap();
        assert!(succeeds(Command::new("mkfs.ext4").args(["-q", "-F", "-J", "size=4"]).arg(disk.image())), "mkfs.ext4");
        fs::create_dir(disk.path()).unwrap();
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join(format!("image-{}", self.cuts))
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount(&self) {
        // Nothing is written back because time passes: what is not synced is lost.
        let mut command = Command::new("mount");
        command.args(["-o", "loop,commit=900,noatime"]).arg(self.image()).arg(self.path());
        assert!(succeeds(&mut command), "mount");
    }

    fn umount(&self) {
        assert!(succeeds(Command::new("umount").arg(self.path())), "umount");
    }

    /// All that was not synced is gone. Nobody may use the file system now.
    pub fn cut(&mut self) {
        let mut image = fs::read(self.image()).unwrap();
        loop {
            // What is on its way to the disk arrives before or not at all.
            let again = fs::read(self.image()).unwrap();
            if again == image {
                break;
            }
            image = again;
        }
        self.umount();
        fs::remove_file(self.image()).unwrap();
        self.cuts += 1;
        fs::write(self.image(), image).unwrap();
        self.mount();
    }

    /// Changes bytes on the disk, wherever they are, behind the back of the file system.
    pub fn change(&self, from: &[u8], to: &[u8]) {
        let at = fs::read(self.image()).unwrap().windows(from.len()).position(|w| w == from).unwrap();
        let image = fs::OpenOptions::new().write(true).open(self.image()).unwrap();
        image.write_all_at(to, at as u64).unwrap();
    }

    /// Leaves so many bytes free, until [`Self::make_room`].
    pub fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let file = fs::File::create(self.path().join("filler")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free.saturating_sub(leave).max(1)).unwrap();
    }

    pub fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Not a test of anything but this machine, see [`Disk::is_possible`].
#[test]
fn probe() {
    if std::env::var_os(super::INSIDE).is_some_and(|value| value == "probe") {
        drop(Disk::new());
    }
}
