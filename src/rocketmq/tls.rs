//! TLS settings turned into a rustls connector. The crypto provider is given explicitly: nothing global is installed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::config::TlsConfig;
use super::error::{Error, ErrorKind, Result};

/// Builds the connector.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] that names the PEM that cannot be used.
pub(crate) fn connector(config: &TlsConfig) -> Result<TlsConnector> {
    client_config(config, None).map(|client| TlsConnector::from(Arc::new(client)))
}

/// Builds the settings of a TLS client; `system` are the authorities to trust where `config` names none.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] that names the PEM that cannot be used, or that there are no authorities.
pub(crate) fn client_config(config: &TlsConfig, system: Option<RootCertStore>) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("tls", &error))?;
    let builder = if config.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAnything(provider)))
    } else {
        let trusted = match (system, &config.ca_pem) {
            (Some(system), None) => system,
            _ => roots(config)?,
        };
        builder.with_root_certificates(trusted)
    };
    match (&config.client_certificate_pem, &config.client_key_pem) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("tls.clientCertificate", certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid("tls.clientKey", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| invalid("tls.clientCertificate", &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// The name to verify for a dialled `host:port`.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] when the name is neither a DNS name nor an address.
pub(crate) fn server_name(config: &TlsConfig, address: &str) -> Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = config.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|error| invalid(&format!("tls.serverName: {name:?}"), &error))
}

/// A failed handshake, with the remedy that its cause asks for.
pub(crate) fn failed(address: &str, error: &std::io::Error) -> Error {
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let message = format!("TLS handshake with {address} failed: {error}");
    Error::with_remedy(ErrorKind::Tls, message, Some(remedy(cause).to_owned()))
}

fn remedy(cause: Option<&rustls::Error>) -> &'static str {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Cause};
    match cause {
        Some(Cause::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. })) => {
            "the server's certificate has expired: renew it on the server, and check the clock here"
        }
        Some(Cause::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. })) => {
            "the server's certificate is not valid yet: check the clocks of the server and here"
        }
        Some(Cause::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. })) => {
            "set tls.serverName to a name that is in the server's certificate, or have a certificate made for this host"
        }
        Some(Cause::InvalidCertificate(_)) => {
            "put the PEM of the authority that signed the server's certificate into tls.ca"
        }
        Some(Cause::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA | Alert::HandshakeFailure,
        )) => {
            "the server wants another client certificate: set tls.clientCertificate and tls.clientKey, signed by an authority that it trusts"
        }
        Some(Cause::InvalidMessage(_)) => {
            "the server does not speak TLS on this port: remove tls, or switch TLS on at the server"
        }
        _ => {
            "the server ended the handshake: check that it speaks TLS on this port (tls.server.mode), and whether it wants a client certificate"
        }
    }
}

fn roots(config: &TlsConfig) -> Result<RootCertStore> {
    let Some(pem) = &config.ca_pem else {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            "tls.ca: is missing; give the PEM of the authority that signed the servers' certificates",
        ));
    };
    let mut store = RootCertStore::empty();
    for certificate in certificates("tls.ca", pem)? {
        store.add(certificate).map_err(|error| invalid("tls.ca", &error))?;
    }
    Ok(store)
}

fn certificates(field: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| invalid(field, &error))?;
    if certificates.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("{field}: holds no certificate; give PEM text with BEGIN CERTIFICATE"),
        ));
    }
    Ok(certificates)
}

fn invalid(field: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("{field}: {error}"))
}

/// Accepts every certificate but still checks handshake signatures; for `insecure_skip_verify` only.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
