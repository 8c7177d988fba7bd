//! Open connections by address: one each, dialled by the first request that needs it, and again after it ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::config::{ClientConfig, TlsConfig};
use super::connection::{BrokerRequest, Connection};
use super::error::{Error, ErrorKind, Result};
use super::tls;

/// The connections of one client.
pub(crate) struct Pool {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    tls: Option<(TlsConnector, TlsConfig)>,
    reachable: BTreeMap<String, String>,
    connect_timeout: Duration,
    requests: mpsc::Sender<BrokerRequest>,
    token: CancellationToken,
}

#[derive(Default)]
struct Slot {
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while dialling, so that many requests dial once; keeps the newest failure for those who waited for it.
    dialling: tokio::sync::Mutex<Option<(Instant, Error)>>,
}

impl Pool {
    /// A pool whose connections end with `token`.
    ///
    /// # Errors
    /// The TLS settings cannot be used.
    pub fn new(config: &ClientConfig, requests: mpsc::Sender<BrokerRequest>, token: CancellationToken) -> Result<Self> {
        let tls = config
            .tls
            .as_ref()
            .map(|settings| Ok::<_, Error>((tls::connector(settings)?, settings.clone())))
            .transpose()?;
        Ok(Self {
            slots: Mutex::default(),
            tls,
            reachable: config.broker_addresses.clone(),
            connect_timeout: config.connect_timeout,
            requests,
            token,
        })
    }

    /// The open connection to an advertised address, dialled if need be.
    ///
    /// # Errors
    /// The connection cannot be opened, or the client has been shut down.
    pub async fn get(&self, advertised: &str) -> Result<Arc<Connection>> {
        let slot = self.lock_slots().entry(advertised.to_owned()).or_default().clone();
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        let asked = Instant::now();
        let mut failure = slot.dialling.lock().await;
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        if let Some((at, error)) = failure.as_ref()
            && *at >= asked
        {
            return Err(error.clone());
        }
        if self.token.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the client has been shut down"));
        }
        let address = self.reachable.get(advertised).map_or(advertised, String::as_str);
        let tls = self.tls.as_ref().map(|(connector, config)| (connector, config));
        match Connection::open(address, tls, self.connect_timeout, self.requests.clone(), &self.token).await {
            Ok(connection) => {
                *slot.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn lock_slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn open(&self) -> Option<Arc<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|connection| !connection.is_closed())
    }
}
