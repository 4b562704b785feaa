//! How promptly the hub's thread gets its turn: its priority, and when it does not sleep at all.

use std::time::{Duration, Instant};

/// Makes the calling thread as prompt as is permitted.
pub(super) fn begin() {
    // Sleeping no longer than was asked for, for what does not sleep on the timer.
    let _ = nix::sys::prctl::set_timerslack(1);
    raise();
}

/// Puts the calling thread before ordinary ones, where that is permitted.
///
/// With `CAP_SYS_NICE` it gets the lowest real-time priority, so that a woken hub need not wait for
/// a compiler's or a browser's time slice to end; children of the thread would not inherit it.
/// Without, it stays as it is, and packets are as late as the scheduler makes them: their stamps
/// tell. The kernel gives ordinary threads their share even beside a real-time thread that never
/// sleeps (`sched_rt_runtime_us`, 95 % by default).
pub(super) fn raise() {
    priority::set(libc::SCHED_FIFO, 1);
}

/// Lets the calling thread take its turn like any other.
pub(super) fn lower() {
    priority::set(libc::SCHED_OTHER, 0);
}

mod priority {
    // sched_setscheduler has no safe wrapper.
    #![allow(unsafe_code)]

    pub(super) fn set(policy: libc::c_int, priority: libc::c_int) {
        let parameters = libc::sched_param {
            sched_priority: priority,
        };
        // SAFETY: pid 0 is the calling thread, and the structure lives until after the call.
        // Where it fails, nothing has changed.
        let _ =
            unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &parameters) };
    }
}

/// How shortly before something is due the hub stays awake: about as long as waking takes.
const LEAD: Duration = Duration::from_micros(60);

/// What part of the time the hub may be awake for nothing: one in so many.
const SHARE: u32 = 10;

/// How much of it can be saved up.
const MOST_CREDIT: Duration = Duration::from_millis(5);

/// When the hub sleeps, and when it rather stays awake for what comes next.
///
/// Waking takes longer than most errors that a delay may have, so shortly before something is due
/// the hub polls instead of sleeping; but only for a tenth of the time, so that many runs do not
/// keep a core busy with waiting. It does not wait like that for a host's answer: the host may need
/// the core to give one.
pub(super) struct Patience {
    /// How long it may still stay awake for nothing.
    credit: Duration,
    looked: Instant,
    polled: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            credit: MOST_CREDIT,
            looked: Instant::now(),
            polled: false,
        }
    }
}

impl Patience {
    /// Until when to sleep where `due` is the next thing to do: `None` for not at all, and
    /// `Some(None)` for as long as nothing comes.
    pub(super) fn sleep_until(
        &mut self,
        due: Option<Instant>,
        now: Instant,
    ) -> Option<Option<Instant>> {
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        if self.polled {
            self.credit = self.credit.saturating_sub(passed);
        } else {
            self.credit = MOST_CREDIT.min(self.credit + passed / SHARE);
        }
        self.polled = false;
        if self.credit < LEAD {
            return Some(due);
        }
        if due.is_some_and(|due| due <= now + LEAD) {
            self.polled = true;
            return None;
        }
        Some(due.map(|due| due - LEAD))
    }
}
