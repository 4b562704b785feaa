//! TLS over an instrumented TCP connection: rustls on both sides, with certificates of the run's
//! own.
//!
//! The outcome of a handshake is an event, and so is every call, as those of a TCP connection are;
//! whether a close_notify was sent or came is said in their results. The secrets of every
//! connection are recorded, so that an export can be decrypted: nothing here is worth keeping secret.
//!
//! A [`TlsClient`] keeps what lets it resume (RFC 8446, section 2.2) from one connection to the
//! next, and a [`TlsServer`] its ticket keys: two servers are two backends that cannot take up each
//! other's sessions. What [`TlsOptions`] does not name is set on rustls' own configuration.

mod authority;
mod connection;
mod secrets;

use std::{io, sync::Arc};

use linger_shared::event::{Fact, HandshakeKind, HostName, Observer, TlsHandshake};
use rustls::{
    ClientConfig, CommonState, ProtocolVersion, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
    version,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use self::secrets::JournalKeyLog;
pub use self::{
    authority::{Authority, Validity},
    connection::TlsConnection,
};
use super::{Connection, errno_name};
use crate::lab::{LabError, Stack};

/// The name of the run's server in its certificate.
pub const SERVER_NAME: &str = "server";

/// What a side offers or accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// Protocols for ALPN (RFC 7301), the preferred one first; none for no ALPN.
    pub alpn: Vec<String>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
            alpn: Vec::new(),
        }
    }
}

impl TlsOptions {
    /// Both versions, and this protocol.
    pub fn alpn(protocol: &str) -> Self {
        Self {
            alpn: vec![protocol.to_owned()],
            ..Self::default()
        }
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let wanted = [(self.tls13, &version::TLS13), (self.tls12, &version::TLS12)];
        wanted
            .into_iter()
            .filter_map(|(wanted, version)| wanted.then_some(version))
            .collect()
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        let bytes = |name: &String| name.clone().into_bytes();
        self.alpn.iter().map(bytes).collect()
    }
}

/// The side that connects. A clone shares what is kept for resumption.
#[derive(Clone)]
pub struct TlsClient {
    stack: Stack,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// A client on a host that trusts a run's authority.
    ///
    /// # Errors
    /// [`LabError`] where rustls takes the options for nonsense, such as no version at all.
    pub fn new(
        stack: &Stack,
        authority: &Authority,
        options: &TlsOptions,
    ) -> Result<Self, LabError> {
        Self::tuned(stack, authority, options, |_| {})
    }

    /// As [`TlsClient::new`], with a hand on rustls' own configuration.
    ///
    /// # Errors
    /// Those of [`TlsClient::new`].
    pub fn tuned(
        stack: &Stack,
        authority: &Authority,
        options: &TlsOptions,
        tune: impl FnOnce(&mut ClientConfig),
    ) -> Result<Self, LabError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&options.versions())
            .map_err(|error| refused("client", &error))?
            .with_root_certificates(authority.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = options.protocols();
        config.key_log = Arc::new(JournalKeyLog::new(stack));
        tune(&mut config);
        Ok(Self {
            stack: stack.clone(),
            config: Arc::new(config),
        })
    }

    /// Shakes hands with the run's server over a connection that is open.
    ///
    /// # Errors
    /// What the handshake came to, which is recorded, too. The TCP connection is closed then.
    pub async fn handshake(&self, connection: Connection) -> io::Result<TlsConnection> {
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        self.handshake_with(connection, name).await
    }

    /// As [`TlsClient::handshake`], with a server of another name.
    ///
    /// # Errors
    /// Those of [`TlsClient::handshake`].
    pub async fn handshake_with(
        &self,
        connection: Connection,
        name: ServerName<'static>,
    ) -> io::Result<TlsConnection> {
        let attempt = Attempt::new(&self.stack);
        let stream = connection.into_stream()?;
        let addresses = (stream.local_addr().ok(), stream.peer_addr().ok());
        let asked = name.to_str().into_owned();
        let shaken = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .into_fallible()
            .await;
        attempt.ended(
            shaken.map(TlsStream::Client),
            |_| Some(asked.clone()),
            addresses,
        )
    }
}

/// The side that accepts. A clone shares its ticket keys.
#[derive(Clone)]
pub struct TlsServer {
    stack: Stack,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// A server on a host, with a certificate for the name `server` and the host's address.
    ///
    /// # Errors
    /// [`LabError`] where the certificate cannot be made, or rustls takes the options for nonsense.
    pub fn new(
        stack: &Stack,
        authority: &Authority,
        options: &TlsOptions,
    ) -> Result<Self, LabError> {
        Self::tuned(stack, authority, Validity::default(), options, |_| {})
    }

    /// As [`TlsServer::new`], with a certificate that expires, and a hand on rustls' own
    /// configuration.
    ///
    /// # Errors
    /// Those of [`TlsServer::new`].
    pub fn tuned(
        stack: &Stack,
        authority: &Authority,
        validity: Validity,
        options: &TlsOptions,
        tune: impl FnOnce(&mut ServerConfig),
    ) -> Result<Self, LabError> {
        let (chain, key) = authority.issue(SERVER_NAME, stack.address(), validity)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&options.versions())
            .map_err(|error| refused("server", &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| refused("server", &error))?;
        config.alpn_protocols = options.protocols();
        config.key_log = Arc::new(JournalKeyLog::new(stack));
        tune(&mut config);
        Ok(Self {
            stack: stack.clone(),
            config: Arc::new(config),
        })
    }

    /// Shakes hands with a client over a connection that was accepted.
    ///
    /// # Errors
    /// What the handshake came to, which is recorded, too. The TCP connection is closed then.
    pub async fn handshake(&self, connection: Connection) -> io::Result<TlsConnection> {
        let attempt = Attempt::new(&self.stack);
        let stream = connection.into_stream()?;
        let addresses = (stream.local_addr().ok(), stream.peer_addr().ok());
        let shaken = TlsAcceptor::from(Arc::clone(&self.config))
            .accept(stream)
            .into_fallible()
            .await;
        let asked = |stream: &TlsStream<TcpStream>| match stream {
            TlsStream::Server(server) => server.get_ref().1.server_name().map(str::to_owned),
            TlsStream::Client(_) => None,
        };
        attempt.ended(shaken.map(TlsStream::Server), asked, addresses)
    }
}

/// A handshake that has begun.
struct Attempt<'a> {
    stack: &'a Stack,
    began_us: u64,
}

type Addresses = (Option<std::net::SocketAddr>, Option<std::net::SocketAddr>);

impl<'a> Attempt<'a> {
    fn new(stack: &'a Stack) -> Self {
        Self {
            stack,
            began_us: stack.journal().now_us(),
        }
    }

    /// Records what came of it.
    fn ended(
        self,
        shaken: Result<TlsStream<TcpStream>, (io::Error, TcpStream)>,
        asked: impl Fn(&TlsStream<TcpStream>) -> Option<String>,
        (local, peer): Addresses,
    ) -> io::Result<TlsConnection> {
        let mut outcome = TlsHandshake {
            version: None,
            cipher_suite: None,
            group: None,
            handshake: None,
            alpn: None,
            server_name: None,
            error: None,
            began_us: self.began_us,
            local,
            peer,
        };
        let result = match shaken {
            Ok(stream) => {
                agreed(stream.get_ref().1, &mut outcome);
                outcome.server_name = asked(&stream);
                Ok(TlsConnection::new(self.stack, stream, local))
            }
            Err((error, stream)) => {
                outcome.error = Some(tls_error_name(&error));
                // What was received is not read any more; a close tells the peer so.
                drop(stream);
                Err(error)
            }
        };
        let seen_by = Observer::App(self.stack.name());
        self.stack
            .journal()
            .record(seen_by, Fact::Tls(Box::new(outcome)));
        result
    }
}

/// What both sides have agreed on.
fn agreed(state: &CommonState, outcome: &mut TlsHandshake) {
    outcome.version = state.protocol_version().map(|version| match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
        other => format!("{other:?}"),
    });
    outcome.cipher_suite = state.negotiated_cipher_suite().and_then(|suite| {
        // rustls tells the suites of TLS 1.3 apart by a prefix that IANA does not have.
        let name = suite.suite().as_str()?;
        Some(name.replacen("TLS13_", "TLS_", 1))
    });
    outcome.group = state
        .negotiated_key_exchange_group()
        .map(|group| format!("{:?}", group.name()));
    outcome.handshake = state.handshake_kind().map(|kind| match kind {
        rustls::HandshakeKind::Full => HandshakeKind::Full,
        rustls::HandshakeKind::FullWithHelloRetryRequest => HandshakeKind::FullWithRetry,
        rustls::HandshakeKind::Resumed => HandshakeKind::Resumed,
    });
    outcome.alpn = state
        .alpn_protocol()
        .map(|name| String::from_utf8_lossy(name).into_owned());
}

/// What went wrong, in a few words: the alert that came, what is wrong with the peer's certificate,
/// else the errno's name.
pub fn tls_error_name(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("alert received: {}", spaced(&format!("{alert:?}")))
        }
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let reason = format!("{reason:?}");
            // What stands behind the reason's name are its particulars.
            let name = reason.split([' ', '(', '{']).next().unwrap_or_default();
            format!("certificate refused: {}", spaced(name))
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "end of stream without close_notify".to_owned()
        }
        None => errno_name(error),
    }
}

/// `CertificateExpired` as `certificate expired`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn refused(side: &str, error: &rustls::Error) -> LabError {
    LabError::Unmet(format!("the TLS {side} cannot be configured: {error}"))
}

/// Whose call it was, and what it was.
fn failed(host: HostName, call: &'static str, error: &io::Error) -> LabError {
    LabError::Application {
        host,
        call,
        errno: tls_error_name(error),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    #[test]
    fn errors_say_which_side_refused_what() {
        let name = |error: rustls::Error| tls_error_name(&io::Error::other(error));
        assert_eq!(
            name(rustls::Error::AlertReceived(
                AlertDescription::CertificateExpired
            )),
            "alert received: certificate expired"
        );
        assert_eq!(
            name(CertificateError::Expired.into()),
            "certificate refused: expired"
        );
        assert_eq!(
            tls_error_name(&io::ErrorKind::UnexpectedEof.into()),
            "end of stream without close_notify"
        );
        assert_eq!(
            tls_error_name(&io::ErrorKind::ConnectionReset.into()),
            "ECONNRESET"
        );
    }
}
