//! A gate between a browser and the server that a test can shut: every connection through it is
//! then cut, and none is let in until it opens again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A gate; it listens on an address of its own.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// An open gate in front of a server.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn before(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen for the gate")?;
        let address = listener.local_addr().context("the gate's address")?;
        let (sender, receiver) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let state = receiver.clone();
                if *state.borrow() {
                    tokio::spawn(carry(browser, server, state));
                }
            }
        });
        Ok(Self {
            address,
            open: Arc::new(sender),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection, and every new one as soon as it is made.
    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    /// Lets new connections through again.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn carry(mut browser: TcpStream, server: SocketAddr, mut state: watch::Receiver<bool>) {
    let Ok(mut upstream) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut browser, &mut upstream) => {}
        _ = state.wait_for(|open| !open) => {}
    }
}
