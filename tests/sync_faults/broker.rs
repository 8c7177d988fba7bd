//! A name server and broker of this run only.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::net::{Disk, Side};
use super::worker_support::Broker;

/// Size of the disk of a broker whose disk is to be full.
const DISK: u32 = 512;
/// Hundredths of the disk that stay free: brokers refuse messages from nine tenths on, and end when they cannot write.
const LEFT_FREE: u64 = 6;

/// How an instance is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    Plain,
    /// With users: ACL 1.0 at the source, 2.0 at the target.
    Users,
    /// With a small disk.
    SmallDisk,
}

/// An instance: 4.9.7 as a source, 5.4.0 as a target.
pub struct BrokerServer {
    version: &'static str,
    instance: String,
    port: u16,
    address: String,
    variant: Variant,
    disk: Option<Disk>,
}

impl BrokerServer {
    pub fn start(side: Side, variant: Variant, address: &str) -> Self {
        let (version, first) = match side {
            Side::Source => ("4.9.7", 19_300),
            Side::Target => ("5.4.0", 29_300),
        };
        let port = first + 100 * variant as u16;
        let instance = format!("faults-{}-{variant:?}", side.name());
        let folder = run_folder().join(&instance);
        let disk = (variant == Variant::SmallDisk).then(|| Disk::mount(&folder, DISK));
        let server = Self { version, instance, port, address: address.to_owned(), variant, disk };
        server.up("all", server.disk.is_some());
        server
    }

    fn script(name: &str) -> Command {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/rocketmq").join(name))
    }

    /// Starts `all`, the `broker` or the name server (`ns`); what runs is ended in good order first.
    fn up(&self, what: &str, keep: bool) {
        let mut command = Self::script("up.sh");
        let variant = if self.variant == Variant::Users { "acl" } else { "plain" };
        command.args([self.version, variant, &self.port.to_string()]);
        command.envs([("INSTANCE", self.instance.as_str()), ("PROXY", "none"), ("WHAT", what)]);
        command.env("BIND_ADDRESS", &self.address);
        if keep {
            command.env("KEEP", "1");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "up.sh: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn folder(&self) -> PathBuf {
        run_folder().join(&self.instance)
    }

    fn kill_part(&self, part: &str) {
        let pid = std::fs::read_to_string(self.folder().join(part).join("pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    pub fn kill(&self) {
        self.kill_part("broker-a-0");
    }

    pub fn start_again(&self) {
        self.up("broker", true);
    }

    pub fn kill_name_server(&self) {
        self.kill_part("name-server");
    }

    pub fn start_name_server_again(&self) {
        self.up("ns", true);
    }

    pub fn stop(&self) {
        let _ = Self::script("down.sh").arg(&self.instance).status();
        self.disk.iter().for_each(Disk::unmount);
    }

    pub fn fill_disk(&self) {
        self.disk.as_ref().unwrap().fill(LEFT_FREE);
    }

    pub fn free_disk(&self) {
        self.disk.as_ref().unwrap().free();
    }

    pub fn broker(&self) -> Broker {
        Broker::named(&self.instance)
    }

    pub fn has_users(&self) -> bool {
        self.variant == Variant::Users
    }

    /// Lets workers in as `users`, each with a password made of the name, and nobody else but the administrator.
    pub fn let_in(&self, users: &[&str], gone: &[&str]) {
        let broker = self.broker();
        if self.version.starts_with("4.") {
            let path = self.folder().join("broker-a-0/conf/plain_acl.yml");
            let admin = (broker.setting("ADMIN_ACCESS_KEY").to_owned(), broker.setting("ADMIN_SECRET_KEY").to_owned());
            let accounts = users.iter().map(|user| ((*user).to_owned(), password(user))).chain([admin]);
            let account = |(user, password)| {
                format!("- accessKey: {user}\n  secretKey: {password}\n  whiteRemoteAddress:\n  admin: true\n")
            };
            let text: String = accounts.map(account).collect();
            std::fs::write(path, format!("globalWhiteRemoteAddresses: []\naccounts:\n{text}")).unwrap();
            return;
        }
        let remoting = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/rocketmq/remoting.py"));
            command.args(["--access-key", broker.setting("ADMIN_ACCESS_KEY")]);
            command.args(["--secret-key", broker.setting("ADMIN_SECRET_KEY")]).args(arguments);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let address = broker.setting("BROKER");
        for user in users {
            remoting(&["create-user", address, user, &password(user)]);
            remoting(&["allow", address, user, "Topic:*", "Pub,Sub,Get"]);
            remoting(&["allow", address, user, "Group:*", "Sub,Get"]);
        }
        for user in gone {
            remoting(&["delete-user", address, user]);
        }
    }
}

/// The password of a user.
pub fn password(user: &str) -> String {
    format!("{user}-password")
}

fn run_folder() -> PathBuf {
    PathBuf::from(std::env::var("ROCKETMQ_TEST_RUN").expect("ROCKETMQ_TEST_RUN should name the folder of the brokers"))
}
