//! Two connections joined: bytes are copied both ways, an end of stream is carried over as one, and
//! an idle limit watches both directions together.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use super::{
    super::{leg::Leg, tcp::whole},
    Closing,
};

/// How many bytes are copied at once.
const BUFFER: usize = 16 * 1024;

/// How a tunnel ends when nobody ends it in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// After which silence, in both directions at once, both connections are closed.
    pub(super) idle: Option<Duration>,
    /// How both are closed then.
    pub(super) idle_close: Closing,
    /// How one is closed when the other has failed.
    pub(super) error_close: Closing,
}

/// Which of the two failed.
enum Failed {
    Front,
    Back,
}

/// Carries bytes between two connections until both have ended, one fails, or both are idle for too
/// long. `to_back` and `to_front` were read already and go first.
pub(super) async fn tunnel(
    front: Leg,
    back: Leg,
    limits: Limits,
    (to_back, to_front): (&[u8], &[u8]),
) {
    let accounts = [front.account(), back.account()];
    let quiet = || accounts[0].quiet().min(accounts[1].quiet());
    let (mut front_read, mut front_write) = split(front);
    let (mut back_read, mut back_write) = split(back);
    let ending = {
        let there = pump(&mut front_read, &mut back_write, to_back, &accounts[1]);
        let back = pump(&mut back_read, &mut front_write, to_front, &accounts[0]);
        let both = async {
            tokio::try_join!(
                async {
                    there
                        .await
                        .map_err(|side| side.of(Failed::Front, Failed::Back))
                },
                async {
                    back.await
                        .map_err(|side| side.of(Failed::Back, Failed::Front))
                },
            )
        };
        tokio::select! {
            ended = both => Some(ended),
            () = idle(limits.idle, quiet) => None,
        }
    };
    let front = front_read.unsplit(front_write);
    let back = back_read.unsplit(back_write);
    match ending {
        Some(Ok(_)) => {
            front.close(Closing::Fin, "");
            back.close(Closing::Fin, "");
        }
        Some(Err(Failed::Front)) => {
            front.close(Closing::Fin, "");
            back.close(limits.error_close, "the other connection failed");
        }
        Some(Err(Failed::Back)) => {
            back.close(Closing::Fin, "");
            front.close(limits.error_close, "the other connection failed");
        }
        None => {
            let reason = format!("idle for {}", whole(limits.idle.unwrap_or_default()));
            front.close(limits.idle_close, &reason);
            back.close(limits.idle_close, &reason);
        }
    }
}

/// Returns once nothing has gone through for as long as the limit.
async fn idle(limit: Option<Duration>, quiet: impl Fn() -> Duration) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        let quiet = quiet();
        if quiet >= limit {
            return;
        }
        tokio::time::sleep_until((Instant::now() + (limit - quiet)).into()).await;
    }
}

/// Which end of one direction failed.
enum End {
    Reading,
    Writing,
}

impl End {
    fn of(self, reading: Failed, writing: Failed) -> Failed {
        match self {
            Self::Reading => reading,
            Self::Writing => writing,
        }
    }
}

/// One direction, to its end of stream.
async fn pump(
    from: &mut ReadHalf<Leg>,
    to: &mut WriteHalf<Leg>,
    first: &[u8],
    to_account: &super::super::leg::Account,
) -> Result<(), End> {
    let writing = |_: io::Error| End::Writing;
    to.write_all(first).await.map_err(writing)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => to.write_all(&buffer[..length]).await.map_err(writing)?,
            Err(_) => return Err(End::Reading),
        }
    }
    to.shutdown().await.map_err(writing)?;
    to_account.called("shutdown", "SHUT_WR".to_owned(), "ok".to_owned(), None);
    Ok(())
}
