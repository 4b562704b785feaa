//! Both ends of the connection while the path is cut and healed: what they meet, beside what theory
//! says of it.

use std::time::Duration;

use linger_shared::{
    event::HostName,
    experiment::Params,
    theory::{
        retransmission::{Ladder, Sender},
        wheel::Spread,
    },
    units::human,
};
use tokio::time::timeout;

use super::MESSAGE;
use crate::{
    endpoints::{Connection, ReadOutcome, errno_name},
    lab::{Lab, LabError},
    wire::Cut,
};

/// Both ends, and what theory says of each.
pub(super) struct Scene {
    pub(super) client: Connection,
    pub(super) server: Connection,
    /// Since when the server's data is in flight, on the run's clock in microseconds.
    pub(super) sent_us: u64,
    pub(super) server_ladder: Ladder,
    pub(super) server_sender: Sender,
    /// Since when the client waits in vain, and when it gives up.
    pub(super) client_since_us: u64,
    pub(super) client_gives_up: Spread,
    /// When the client's RST arrives, after the server's data was first sent, where the way is open
    /// for it still.
    pub(super) reset_us: Option<u64>,
    pub(super) client_is_over: bool,
    pub(super) server_is_over: bool,
}

impl Scene {
    /// Says what will happen as far as it follows from what is known at the first cut.
    pub(super) fn foresee(&self, lab: &Lab, params: &Params, because: String) {
        let heal = params.choice("heal");
        let client_us = self.client_gives_up.expected_us;
        if heal != "early" {
            lab.expect_after("client_gives_up", self.client_since_us, client_us, because);
        }
        if let Some(reset_us) = self.reset_us {
            let because = "the way to the server is still open: the client's RST arrives";
            lab.expect_after("server_reset", self.sent_us, reset_us, because.to_owned());
        }
        let server_us = self.server_ladder.gives_up.expected_us;
        let before_healing = server_us < client_us + params.duration_us("heal_after");
        if heal == "never" || (heal == "late" && before_healing) {
            let because = format!(
                "RTO {}, doubling; the first expiry that is {} (tcp_retries2 {}) or more after the \
                 first counted retransmission",
                human(self.server_sender.rto_us),
                human(self.server_sender.patience_us()),
                self.server_sender.retries
            );
            lab.expect_after("server_gives_up", self.sent_us, server_us, because);
        }
    }

    /// Lets both ends wait, and measures what they meet, until the time is over; or, without a time,
    /// until the client has met its end, or the server where the client is over.
    pub(super) async fn watch(
        &mut self,
        lab: &Lab,
        span: Option<Duration>,
        for_client: bool,
    ) -> Result<(), LabError> {
        // Beyond what theory says, in case it errs.
        let longest = self.client_gives_up.latest_us + self.server_ladder.gives_up.latest_us;
        let span = span.unwrap_or(Duration::from_micros(longest + 5_000_000));
        let waiting = async {
            loop {
                let done = match for_client {
                    true => self.client_is_over,
                    false => self.client_is_over && self.server_is_over,
                };
                if done {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    ending = self.client.read(), if !self.client_is_over => {
                        let fails = "the client";
                        failed(fails, ending)?;
                        self.client_is_over = true;
                        let predicted = Some(self.client_gives_up.expected_us);
                        measure(lab, "client_gives_up", self.client_since_us, predicted);
                    }
                    ending = self.server.read(), if !self.server_is_over => {
                        let errno = failed("the server", ending)?;
                        self.server_is_over = true;
                        if errno == "ETIMEDOUT" {
                            let predicted = Some(self.server_ladder.gives_up.expected_us);
                            measure(lab, "server_gives_up", self.sent_us, predicted);
                        } else {
                            measure(lab, "server_reset", self.sent_us, self.reset_us);
                        }
                    }
                }
            }
        };
        // That the time is over is what was wanted, or shows in what was not measured.
        timeout(span, waiting).await.unwrap_or(Ok(()))
    }

    /// The server's next retransmission: when it leaves, after its data was first sent.
    async fn next_step(&self, lab: &Lab) -> Option<Spread> {
        let asked = Duration::from_secs(1);
        lab.connections_until(HostName::Server, asked, |_| true)
            .await;
        let sockets = lab.connections(HostName::Server);
        let retries = usize::from(sockets.first()?.retries);
        // The kernel counts its retransmissions, and the loss probe not among them.
        let sent = retries + usize::from(self.server_sender.loss_probe);
        self.server_ladder.retransmissions.get(sent).copied()
    }

    /// Heals the path before anybody has given up: the message arrives, late.
    pub(super) async fn deliver(
        &mut self,
        lab: &Lab,
        cuts: [Cut; 2],
        delay: u64,
    ) -> Result<(), LabError> {
        let next = self.next_step(lab).await;
        lab.chapter("Heal the path");
        drop(cuts);
        let predicted = next.map(|spread| spread.plus(delay).expected_us);
        if let Some(predicted) = predicted {
            lab.expect_after(
                "delivered",
                self.sent_us,
                predicted,
                "the server's next retransmission, and its way".to_owned(),
            );
        }
        self.client.read_exactly(MESSAGE.len()).await?;
        measure(lab, "delivered", self.sent_us, predicted);
        lab.sender_at_rest(HostName::Server).await?;
        lab.sender_at_rest(HostName::Client).await?;
        lab.remark("Everything is acknowledged, and neither application has seen an error.");
        Ok(())
    }

    /// Heals the path when the client's socket is gone: the next retransmission meets nobody.
    pub(super) async fn reset(
        &mut self,
        lab: &Lab,
        cuts: [Cut; 2],
        delay: u64,
    ) -> Result<(), LabError> {
        if self.server_is_over {
            drop(cuts);
            lab.remark("Both ends had met their end before the path was healed.");
            return Ok(());
        }
        let next = self.next_step(lab).await;
        lab.chapter("Heal the path");
        drop(cuts);
        let spread = next.unwrap_or(self.server_ladder.gives_up).plus(2 * delay);
        lab.expect_after(
            "server_reset",
            self.sent_us,
            spread.expected_us,
            format!(
                "the server's next retransmission, {} to {} after the data was first sent, and the \
                 RST's way back",
                human(spread.earliest_us - 2 * delay),
                human(spread.latest_us - 2 * delay)
            ),
        );
        let now = lab.now_us().saturating_sub(self.sent_us);
        let patience = spread.latest_us.saturating_sub(now) + spread.latest_us / 8 + 2_000_000;
        match timeout(Duration::from_micros(patience), self.server.read()).await {
            Ok(ending) => {
                failed("the server", ending)?;
                measure(lab, "server_reset", self.sent_us, Some(spread.expected_us));
                lab.remark(
                    "The client's kernel knows no such connection any more: it answers the \
                     retransmission with an RST.",
                );
            }
            Err(_) => lab.measure("server_reset", Some(spread.expected_us), None, lab.now_us()),
        }
        Ok(())
    }
}

/// The errno of a read that was to fail.
fn failed(who: &str, ending: ReadOutcome) -> Result<String, LabError> {
    match ending {
        ReadOutcome::Failed(error) => Ok(errno_name(&error)),
        other => Err(LabError::Unmet(format!(
            "{who} was to hear nothing, and had {other:?}"
        ))),
    }
}

fn measure(lab: &Lab, name: &str, since_us: u64, predicted_us: Option<u64>) {
    let now = lab.now_us();
    let span = now.saturating_sub(since_us);
    lab.measure(name, predicted_us, Some(span), now);
}
