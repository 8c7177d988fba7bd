//! The network between workers and servers: workers run in a namespace of their own, with one link to the source and one to
//! the target. Needs root and iproute2; without them workers run beside the servers, and no fault of the network can be made.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// The namespace; one run at a time has it.
const NAME: &str = "rmq-faults";

/// A side of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Source, Self::Target];

    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    fn link(self) -> &'static str {
        match self {
            Self::Source => "rmqfs",
            Self::Target => "rmqft",
        }
    }

    fn inner_link(self) -> String {
        format!("{}w", self.link())
    }

    fn host(self, number: u8) -> String {
        match self {
            Self::Source => format!("10.213.1.{number}"),
            Self::Target => format!("10.213.2.{number}"),
        }
    }
}

/// Last part of the address that workers have.
static WORKER: AtomicU8 = AtomicU8::new(2);

/// The namespace and its links; `clean.sh` removes them.
pub struct Net(());

/// Whether a command could be run.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn ip(arguments: &str) -> Result<(), String> {
    run(Command::new("ip").args(arguments.split(' ')))
}

impl Net {
    /// Makes the namespace and its links; or tells why that cannot be.
    pub fn new() -> Result<Self, String> {
        ip(&format!("netns add {NAME}"))?;
        ip(&format!("-n {NAME} link set lo up"))?;
        for side in Side::BOTH {
            let (link, inner) = (side.link(), side.inner_link());
            ip(&format!("link add {link} type veth peer name {inner} netns {NAME}"))?;
            ip(&format!("addr add {}/24 dev {link}", side.host(1)))?;
            ip(&format!("link set {link} up"))?;
            ip(&format!("-n {NAME} addr add {}/24 dev {inner}", side.host(2)))?;
            ip(&format!("-n {NAME} link set {inner} up"))?;
        }
        Ok(Self(()))
    }

    /// Address of the servers of a side.
    pub fn address(side: Side) -> String {
        side.host(1)
    }

    /// Address of the workers on the link to a side.
    pub fn worker_address(side: Side) -> String {
        side.host(WORKER.load(Ordering::Relaxed))
    }

    /// A command that runs in the namespace; its process is that of the program.
    pub fn command(program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAME]).arg(program);
        command
    }

    /// Takes the link of a side down: nothing gets through, and nobody is told.
    pub fn cut(side: Side) {
        ip(&format!("link set {} down", side.link())).unwrap();
    }

    /// Brings the link up again.
    pub fn mend(side: Side) {
        ip(&format!("link set {} up", side.link())).unwrap();
    }

    /// Gives the workers another address: every open connection is half open from then on, at both of its ends, for good.
    pub fn move_workers() {
        let before = WORKER.fetch_add(1, Ordering::Relaxed);
        for side in Side::BOTH {
            let inner = side.inner_link();
            ip(&format!("-n {NAME} addr del {}/24 dev {inner}", side.host(before))).unwrap();
            ip(&format!("-n {NAME} addr add {}/24 dev {inner}", side.host(before + 1))).unwrap();
        }
    }
}

/// A file system in memory that is full when it is told to. The name in front of its folder is by which `clean.sh` finds it.
pub struct Disk {
    folder: std::path::PathBuf,
}

impl Disk {
    /// Mounts `megabytes` at a folder, which is emptied.
    pub fn mount(folder: &std::path::Path, megabytes: u32) -> Self {
        let disk = Self { folder: folder.to_owned() };
        disk.unmount();
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={megabytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "rmq-faults"]).arg(folder)).unwrap();
        disk
    }

    /// Gives the folder back.
    pub fn unmount(&self) {
        let _ = run(Command::new("umount").arg(&self.folder));
    }

    fn filler(&self) -> std::path::PathBuf {
        self.folder.join("filler")
    }

    /// Uses up all but `free` hundredths of the space.
    pub fn fill(&self, free: u64) {
        let output = Command::new("df").args(["--block-size=1M", "--output=size,avail"]).arg(&self.folder).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let megabytes = numbers[1].saturating_sub(numbers[0] * free / 100);
        let mut command = Command::new("dd");
        command.args(["if=/dev/zero", "bs=1M", &format!("count={megabytes}")]);
        // With nothing to be left free it ends with the error that the disk is full.
        let filled = run(command.arg(format!("of={}", self.filler().display())));
        assert!(filled.is_ok() || free == 0, "{filled:?}");
        if free == 0 {
            let mut command = Command::new("dd");
            command.args(["if=/dev/zero", "bs=4k", "oflag=append", "conv=notrunc"]);
            let _ = run(command.arg(format!("of={}", self.filler().display())));
        }
    }

    /// Gives the space back.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}
