//! The servers of a run: started when they are first needed, stopped when they are not needed any more; `clean.sh` stops the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::broker::{BrokerServer, Variant};
use super::database::{DatabaseServer, Dialect};
use super::net::{Net, Side};
use super::receiver::Receiver;

/// What is at a side of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    RocketMq,
    Postgres,
    MariaDb,
    Http,
}

pub enum Server {
    Broker(BrokerServer),
    Database(DatabaseServer),
    Receiver(Receiver),
}

impl Server {
    fn start(kind: Kind, side: Side, variant: Variant, address: &str) -> Self {
        match kind {
            Kind::RocketMq => Self::Broker(BrokerServer::start(side, variant, address)),
            Kind::Postgres => Self::Database(DatabaseServer::start(Dialect::Postgres, side, variant, address)),
            Kind::MariaDb => Self::Database(DatabaseServer::start(Dialect::MariaDb, side, variant, address)),
            Kind::Http => Self::Receiver(Receiver::start(address)),
        }
    }

    /// Kills it with SIGKILL, or ends it with all of its connections.
    pub fn kill(&self) {
        match self {
            Self::Broker(broker) => broker.kill(),
            Self::Database(database) => database.kill(),
            Self::Receiver(receiver) => receiver.kill(),
        }
    }

    /// Starts it again with what it has; one that runs is ended in good order first.
    pub fn start_again(&self) {
        match self {
            Self::Broker(broker) => broker.start_again(),
            Self::Database(database) => database.start_again(),
            Self::Receiver(receiver) => receiver.start_again(),
        }
    }

    fn stop(&self) {
        match self {
            Self::Broker(broker) => broker.stop(),
            Self::Database(database) => database.stop(),
            Self::Receiver(receiver) => receiver.kill(),
        }
    }

    pub fn fill_disk(&self) {
        match self {
            Self::Broker(broker) => broker.fill_disk(),
            Self::Database(database) => database.fill_disk(),
            Self::Receiver(_) => unreachable!("the receiver of the test has no disk"),
        }
    }

    pub fn free_disk(&self) {
        match self {
            Self::Broker(broker) => broker.free_disk(),
            Self::Database(database) => database.free_disk(),
            Self::Receiver(_) => unreachable!("the receiver of the test has no disk"),
        }
    }
}

/// All servers.
pub struct Servers {
    /// None where workers run beside the servers.
    pub net: Option<Net>,
    running: Mutex<HashMap<(Kind, Side, Variant), Arc<Server>>>,
}

impl Servers {
    pub fn new(net: Option<Net>) -> Self {
        Self { net, running: Mutex::default() }
    }

    /// The server of a side.
    pub fn get(&self, kind: Kind, side: Side, variant: Variant) -> Arc<Server> {
        // Databases have users anyway.
        let variant = if variant == Variant::Users && kind != Kind::RocketMq { Variant::Plain } else { variant };
        let address = self.net.as_ref().map_or_else(|| "127.0.0.1".to_owned(), |_| Net::address(side));
        if kind == Kind::Http {
            return Arc::new(Server::start(kind, side, variant, &address));
        }
        let mut running = self.running();
        let start = || {
            println!("starting {kind:?} as {}, {variant:?}", side.name());
            Arc::new(Server::start(kind, side, variant, &address))
        };
        Arc::clone(running.entry((kind, side, variant)).or_insert_with(start))
    }

    /// Stops those that are not needed any more, whoever still has them.
    pub fn stop_unless(&self, keep: impl Fn(Kind, Side, Variant) -> bool) {
        self.running().retain(|(kind, side, variant), server| {
            let keep = keep(*kind, *side, *variant);
            if !keep {
                server.stop();
            }
            keep
        });
    }

    /// Those that run; also behind a server that did not start.
    fn running(&self) -> MutexGuard<'_, HashMap<(Kind, Side, Variant), Arc<Server>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
