//! A way to a server on which connections can die without a word.

use std::net::SocketAddr;

use rocketmq_connector::worker_config::sync::DatabaseConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Hands connections on to a server.
pub struct Gate {
    address: SocketAddr,
    forgotten: watch::Sender<()>,
}

impl Gate {
    /// The way to `server`.
    pub async fn before(server: &DatabaseConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (forgotten, server) = (watch::Sender::new(()), (server.host.clone(), server.port));
        let gate = Self { address, forgotten: forgotten.clone() };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut forgotten, server) = (forgotten.subscribe(), server.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Both stay open.
                        _ = forgotten.changed() => std::future::pending().await,
                    }
                });
            }
        });
        gate
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is open now carries nothing from now on; what comes later does.
    pub fn forget(&self) {
        self.forgotten.send_replace(());
    }
}
