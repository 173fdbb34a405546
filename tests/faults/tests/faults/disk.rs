//! A small file system in an image, whose power can be cut, and which can fail.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Bytes of the file system.
const SIZE: u64 = 64 * 1024 * 1024;
/// The same of what holds the image, while nothing is wrong with it.
const ROOM: u64 = 2 * SIZE;
/// What is written and allocated at a time, at least.
const BLOCK: u64 = 4096;
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
        fs::create_dir(disk.below()).unwrap();
        let size = format!("size={ROOM}");
        assert!(succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.below())), "mount tmpfs");
        fs::File::create(disk.image()).unwrap().set_len(SIZE).unwrap();
        assert!(succeeds(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096", "-J", "size=4"]).arg(disk.image())), "mkfs.ext4");
        fs::create_dir(disk.path()).unwrap();
        disk.mount();
        disk
    }

    /// What holds the image.
    fn below(&self) -> PathBuf {
        self.dir.path().join("below")
    }

    fn image(&self) -> PathBuf {
        self.below().join(format!("image-{}", self.cuts))
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
        // What is written at a time lies in one page of what holds the image: the loop device says of a write that was done in part that it
        // was done, which no disk does.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let path = self.path();
        let device = mounts.lines().map(|line| line.split(' ')).find_map(|mut fields| {
            let device = fields.next()?;
            (fields.next()? == path.to_str()?).then_some(device.strip_prefix("/dev/")?)
        });
        fs::write(format!("/sys/block/{}/queue/max_sectors_kb", device.unwrap()), "4").unwrap();
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
        // What was never written is not there, see [`Self::break_new_blocks`].
        let file = fs::File::create(self.image()).unwrap();
        file.set_len(SIZE).unwrap();
        for (block, at) in image.chunks(BLOCK as usize).zip((0..).step_by(BLOCK as usize)).filter(|(b, _)| *b != [0; BLOCK as usize]) {
            file.write_all_at(block, at).unwrap();
        }
        self.mount();
    }

    /// From now on whatever is asked of it fails with EIO, and what was not synced is gone; see [`Self::mount_again`].
    pub fn fail(&self) {
        // FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH, `fs/ext4/ext4.h`.
        const SCRIPT: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        assert!(succeeds(Command::new("python3").args(["-c", SCRIPT]).arg(self.path())), "FS_IOC_SHUTDOWN");
    }

    /// A file system that has given up is mounted again, as after a start of the machine. Nobody may use it now.
    pub fn mount_again(&self) {
        self.umount();
        // It repairs what a crash leaves; 1 is that it did (fsck(8)).
        let status = Command::new("e2fsck").arg("-fy").arg(self.image()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.code().is_some_and(|code| code <= 1), "e2fsck: {status}");
        self.mount();
    }

    /// All blocks but those that were written before, and so many more, fail when they are written, until [`Self::mend_blocks`].
    pub fn break_new_blocks(&self, but: u64) {
        let used = || {
            let stat = rustix::fs::statvfs(self.below()).unwrap();
            (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        };
        // Somebody may have written more meanwhile, and then there cannot be less.
        assert!((0..100).any(|_| self.limit(used() + but * BLOCK)), "remount");
    }

    pub fn mend_blocks(&self) {
        assert!(self.limit(ROOM), "remount");
    }

    fn limit(&self, size: u64) -> bool {
        succeeds(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.below()))
    }

    /// Whether it still takes what it is given.
    pub fn is_sound(&self) -> bool {
        let file = self.path().join("probe");
        let written = fs::write(&file, b"probe").and_then(|()| fs::File::open(&file)?.sync_all());
        written.and_then(|()| fs::remove_file(&file)).is_ok()
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
        for mounted in [self.path(), self.below()] {
            let _ = Command::new("umount").arg("-l").arg(mounted).status();
        }
    }
}

/// Not a test of anything but this machine, see [`Disk::is_possible`].
#[test]
fn probe() {
    if std::env::var_os(super::INSIDE).is_some_and(|value| value == "probe") {
        drop(Disk::new());
    }
}
