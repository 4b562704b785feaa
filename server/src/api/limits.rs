//! What bounds one visitor and all of them together.
//!
//! [`Limits`] are the figures, [`Visitors`] keep count. Whoever works on the server's own machine is
//! spared the bounds for each address (but for guesses of the join code): it is the user who started
//! the server, and a browser there cannot be used by other sites, see [`Guard`](super::Guard).

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{
    bucket::{Buckets, Rate},
    places::{Full, Place, Places, household},
    problem::ApiError,
};
use crate::runs::Visitor;

/// The largest body that is read, in bytes. A request to run something is a few hundred.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The longest path and query that are read, in bytes.
pub const URI_LIMIT: usize = 2 * 1024;

/// The largest head of a request that is read, in bytes. Other servers on the same host name may
/// have left many cookies.
pub const HEAD_LIMIT: usize = 32 * 1024;

/// How much of what may be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections that may be open at once, over all.
    pub connections: usize,
    /// Connections that one address may have open at once.
    pub connections_per_address: usize,
    /// Event streams that one address may have open at once; an export on its way is one.
    pub streams_per_address: usize,
    /// Requests of one address.
    pub requests: Rate,
    /// Actions on one run, whoever asks for them.
    pub actions: Rate,
    /// Wrong join codes from one address.
    pub attempts: Rate,
    /// How long a client may take to send the head of a request, and how long a connection may
    /// rest between two requests.
    pub head_time: Duration,
    /// How long a client may take to send the body of a request.
    pub body_time: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub stall_time: Duration,
    /// Whether loopback addresses are spared the bounds for each address.
    pub spare_loopback: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 256,
            streams_per_address: 64,
            requests: Rate {
                burst: 400,
                per_second: 50.0,
            },
            actions: Rate {
                burst: 20,
                per_second: 5.0,
            },
            attempts: Rate {
                burst: 10,
                per_second: 0.1,
            },
            head_time: Duration::from_secs(20),
            body_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(30),
            spare_loopback: true,
        }
    }
}

/// Keeps count of what visitors do.
#[derive(Debug)]
pub(super) struct Visitors {
    connections: Places,
    streams: Places,
    requests: Buckets<IpAddr>,
    actions: Buckets<String>,
    attempts: Buckets<IpAddr>,
    spare_loopback: bool,
}

impl Visitors {
    /// Nobody is there yet.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            connections: Places::new(limits.connections, limits.connections_per_address),
            streams: Places::new(limits.connections, limits.streams_per_address),
            requests: Buckets::new(limits.requests),
            actions: Buckets::new(limits.actions),
            attempts: Buckets::new(limits.attempts),
            spare_loopback: limits.spare_loopback,
        }
    }

    /// A connection from this address comes in.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn connect(&self, address: IpAddr) -> Result<Place, Full> {
        self.connections.enter(address, self.spares(address))
    }

    /// This address opens a stream.
    ///
    /// # Errors
    /// [`ApiError::TooManyStreams`].
    pub(super) fn watch(&self, address: IpAddr) -> Result<Place, ApiError> {
        self.streams
            .enter(address, self.spares(address))
            .map_err(|_| ApiError::TooManyStreams {
                limit: self.streams.most_each(),
            })
    }

    /// As whom this address starts runs.
    pub(super) fn runner(&self, address: IpAddr) -> Visitor {
        if self.spares(address) {
            return Visitor::LOCAL;
        }
        Visitor::from(address)
    }

    /// This address sends a request.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`].
    pub(super) fn request(&self, address: IpAddr) -> Result<(), ApiError> {
        if self.spares(address) {
            return Ok(());
        }
        self.requests
            .take(household(address), Instant::now())
            .map_err(|wait| ApiError::TooManyRequests { wait })
    }

    /// Somebody acts on this run.
    ///
    /// # Errors
    /// [`ApiError::TooManyActions`].
    pub(super) fn act(&self, run: &str) -> Result<(), ApiError> {
        self.actions
            .take(run.to_owned(), Instant::now())
            .map_err(|wait| ApiError::TooManyActions {
                run: run.to_owned(),
                wait,
            })
    }

    /// Whether this address may try a join code.
    ///
    /// # Errors
    /// [`ApiError::TooManyAttempts`].
    pub(super) fn may_try(&self, address: IpAddr) -> Result<(), ApiError> {
        self.attempts
            .look(&household(address), Instant::now())
            .map_err(|wait| ApiError::TooManyAttempts { wait })
    }

    /// This address has tried a wrong join code.
    pub(super) fn tried_in_vain(&self, address: IpAddr) {
        // Whoever is over the limit was turned away before.
        let _ = self.attempts.take(household(address), Instant::now());
    }

    fn spares(&self, address: IpAddr) -> bool {
        self.spare_loopback && address.to_canonical().is_loopback()
    }
}

/// The two ends of the connection that a request came over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The client's.
    pub(super) peer: SocketAddr,
    /// The server's.
    pub(super) own: SocketAddr,
}

impl<S: Sync> FromRequestParts<S> for Ends {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The door writes them on every request.
        parts.extensions.get().copied().ok_or(ApiError::Nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_own_machine_is_spared_and_others_are_not() {
        let limits = Limits {
            requests: Rate {
                burst: 2,
                per_second: 0.001,
            },
            ..Limits::default()
        };
        let visitors = Visitors::new(&limits);
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            for _ in 0..5 {
                visitors.request(ip(own)).unwrap();
            }
        }
        let passed = (0..5)
            .filter(|_| visitors.request(ip("192.0.2.1")).is_ok())
            .count();
        assert_eq!(passed, 2);
    }

    #[test]
    fn nobody_is_spared_when_codes_are_guessed() {
        let visitors = Visitors::new(&Limits::default());
        let address = ip("127.0.0.1");
        for _ in 0..10 {
            visitors.may_try(address).unwrap();
            visitors.tried_in_vain(address);
        }
        let Err(ApiError::TooManyAttempts { wait }) = visitors.may_try(address) else {
            panic!("the eleventh attempt passes");
        };
        assert!(wait > Duration::from_secs(5), "{wait:?}");
        visitors.may_try(ip("192.0.2.1")).unwrap();
    }
}
