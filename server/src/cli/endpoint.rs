//! `linger endpoint`: a server as a program of its own, for experiments that kill it.
//!
//! Experiments start it on a host of their run; nobody else needs it, so help does not list it.

use std::{io, net::Ipv4Addr, process::ExitCode};

use clap::{Args, Subcommand};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::CliError;
use crate::endpoints::errno_name;

/// Run an endpoint as a program of its own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger endpoint tcp-echo --port 7654
  linger endpoint tcp-hold --port 7654")]
pub(super) struct Arguments {
    #[command(subcommand)]
    endpoint: Endpoint,
}

#[derive(Debug, Subcommand)]
enum Endpoint {
    /// Sends every byte back to whoever sent it.
    TcpEcho {
        /// The port to listen on.
        #[arg(long)]
        port: u16,
    },
    /// Accepts connections and never reads from them.
    TcpHold {
        /// The port to listen on.
        #[arg(long)]
        port: u16,
    },
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    match arguments.endpoint {
        Endpoint::TcpEcho { port } => echo(listen(port).await?).await?,
        Endpoint::TcpHold { port } => hold(listen(port).await?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn listen(port: u16) -> Result<TcpListener, CliError> {
    let address = (Ipv4Addr::UNSPECIFIED, port).into();
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| CliError::Listen {
            address,
            source,
            advice: "Give another --port.".to_owned(),
        })?;
    println!("listening on {address}");
    Ok(listener)
}

/// Serves connections until accepting fails.
async fn echo(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            match send_back(stream).await {
                Ok(bytes) => println!("{peer} closed after {bytes} bytes"),
                Err(error) => println!("{peer}: {}", errno_name(&error)),
            }
        });
    }
}

/// Holds connections until accepting fails: what comes in stays unread.
async fn hold(listener: TcpListener) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        let (stream, peer) = listener.accept().await?;
        println!("{peer} is held, and nothing is read from it");
        held.push(stream);
    }
}

async fn send_back(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 16 * 1024];
    let mut bytes = 0;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(bytes);
        }
        stream.write_all(&buffer[..length]).await?;
        bytes += length as u64;
    }
}
