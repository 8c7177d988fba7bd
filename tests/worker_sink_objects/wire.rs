//! The way from a worker to a broker, which can be cut: the broker sees the worker's connections end, as when its node is gone.

use std::collections::BTreeMap;

use rocketmq_connector::worker_config::SyncConfig;
use rocketmq_connector::worker_config::sync::SourceConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::worker_support::Broker;

pub struct Wire {
    address: String,
    broker: String,
    is_whole: watch::Sender<bool>,
}

impl Wire {
    /// A way to a broker.
    pub async fn to(broker: &Broker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (is_whole, broker) = (watch::Sender::new(true), broker.setting("BROKER").to_owned());
        let (state, to) = (is_whole.clone(), broker.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut state, to) = (state.subscribe(), to.clone());
                tokio::spawn(async move {
                    if !*state.borrow_and_update() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.changed() => {}
                    }
                });
            }
        });
        Self { address, broker, is_whole }
    }

    /// The sync, with a source that goes this way.
    pub fn through(&self, config: &SyncConfig) -> SyncConfig {
        let mut config = config.clone();
        if let SourceConfig::RocketMq(source) = &mut config.source {
            source.cluster.broker_addresses = BTreeMap::from([(self.broker.clone(), self.address.clone())]);
        }
        config
    }

    /// Ends all connections, and lets none through.
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}
