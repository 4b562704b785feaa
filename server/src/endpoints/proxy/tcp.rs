//! A TCP proxy: for each connection that it accepts it opens one to its backend, and copies.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use linger_shared::event::Call;
use socket2::SockRef;

use super::{
    super::{
        SocketOption, connect_recorded, leg::Leg, options::set_recorded, tcp::accept_recorded,
    },
    Closing,
    tunnel::{Limits, tunnel},
};
use crate::lab::{Crew, Listener, Stack};

/// A TCP proxy, as load balancers of the transport layer are. See the module.
#[derive(Debug, Clone)]
pub struct TcpProxy {
    /// Where its backend listens.
    pub backend: SocketAddr,
    /// After which silence in both directions it closes both connections; traffic in either
    /// direction resets the clock, keep-alive probes do not (the kernels keep them to themselves).
    pub idle: Option<Duration>,
    /// How it closes them then.
    pub idle_close: Closing,
    /// How it closes one connection when the other has failed, or the backend cannot be reached.
    pub error_close: Closing,
    /// How long it waits for the backend to accept; the kernel's own patience decides where it is
    /// absent.
    pub connect_timeout: Option<Duration>,
    /// What its sockets towards clients are told.
    pub front: Vec<SocketOption>,
    /// What its sockets towards the backend are told, before `connect()`.
    pub back: Vec<SocketOption>,
}

impl TcpProxy {
    /// A proxy that waits for ever, and closes with FIN.
    pub fn to(backend: SocketAddr) -> Self {
        Self {
            backend,
            idle: None,
            idle_close: Closing::Fin,
            error_close: Closing::Fin,
            connect_timeout: None,
            front: Vec::new(),
            back: Vec::new(),
        }
    }

    /// Serves a listener until the run is over.
    pub async fn serve(self, listener: Listener, crew: Crew) {
        let proxy = Arc::new(self);
        loop {
            let Ok(stream) = accept_recorded(&listener).await else {
                // The client gave up before it was accepted, or descriptors are short.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let front = Leg::new(&listener.stack, stream, None);
            let (proxy, stack) = (Arc::clone(&proxy), listener.stack.clone());
            crew.spawn(async move { proxy.carry(front, &stack).await });
        }
    }

    async fn carry(&self, front: Leg, stack: &Stack) {
        for option in &self.front {
            // What the kernel refuses is recorded; the connection is carried as it is.
            let _ = front.set(option);
        }
        let client = front.account().remote();
        match self.connect(stack, client).await {
            Some(back) => {
                let limits = Limits {
                    idle: self.idle,
                    idle_close: self.idle_close,
                    error_close: self.error_close,
                };
                tunnel(front, back, limits, (&[], &[])).await;
            }
            None => front.close(self.error_close, "no backend"),
        }
    }

    async fn connect(&self, stack: &Stack, client: Option<SocketAddr>) -> Option<Leg> {
        // Without a socket the laboratory is at its end, and the script's own sockets say so.
        let socket = stack.socket().await.ok()?;
        for option in &self.back {
            let about = Call {
                on_behalf_of: client,
                ..Call::default()
            };
            let _ = set_recorded(stack, &SockRef::from(&socket), option, about);
        }
        let stream = connect_recorded(stack, socket, self.backend, self.connect_timeout, client)
            .await
            .ok()?;
        Some(Leg::new(stack, stream, client))
    }
}
