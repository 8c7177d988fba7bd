//! A way to a server on which connections can end, or die without a word.

use std::net::SocketAddr;
use std::pin::pin;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy)]
enum State {
    Whole,
    Cut,
    /// Connections of before carry nothing more; later ones do.
    Forgotten,
}

/// Hands connections on to a server.
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Relay {
    /// The way to `server`, a `host:port`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Self { address, state: watch::Sender::new(State::Whole) };
        let (state, server) = (relay.state.clone(), server.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(hand_on(client, server.clone(), state.subscribe()));
            }
        });
        relay
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and lets none through.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    /// What is open now carries nothing from now on, and stays open; what comes later is handed on.
    pub fn forget(&self) {
        self.state.send_replace(State::Forgotten);
    }
}

async fn hand_on(mut client: TcpStream, server: String, mut state: watch::Receiver<State>) {
    if matches!(*state.borrow_and_update(), State::Cut) {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let mut copying = pin!(copy_bidirectional(&mut client, &mut server));
    loop {
        tokio::select! {
            _ = &mut copying => return,
            _ = state.changed() => {}
        }
        let now = *state.borrow_and_update();
        match now {
            State::Whole => {}
            State::Cut => return,
            State::Forgotten => std::future::pending().await,
        }
    }
}
