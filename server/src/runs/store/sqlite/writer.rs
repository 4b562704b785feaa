//! The thread that writes: what all runs have to record, together, every [`GATHER`].
//!
//! One transaction for all of them costs hardly more than one for each would, and a kill loses what
//! was gathered and not yet committed: some tens of milliseconds. The time that a transaction takes
//! counts towards the next one's, so that a slow disk does not add to it. What the database refuses
//! breaks the records that were part of it and no others; their runs go on.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use linger_shared::event::Header;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use tokio::sync::watch;

use super::{
    super::{Batch, End, Kept, StoreError},
    key,
    pack::{PACK_BYTES, pack},
    recover,
};

/// How long events are gathered before they are written, from the beginning of one transaction to
/// that of the next.
const GATHER: Duration = Duration::from_millis(20);

/// How long another process may hold the database before its lock counts as a failure: longer than
/// any of our transactions by far.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be written.
pub(super) enum Order {
    Create {
        id: Arc<str>,
        header: Box<Header>,
        kept: watch::Sender<Kept>,
    },
    Append(Arc<str>, Batch),
    Finish(Arc<str>, End),
}

/// A way to the writing thread, which ends with it.
pub(super) struct Writer {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    orders: Vec<Order>,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for orders, and gathers them until it is time to write; none where there will be none
    /// any more.
    fn take(&self, earliest: Instant) -> Vec<Order> {
        let mut waiting = self
            .changed
            .wait_while(self.lock(), |waiting| {
                waiting.orders.is_empty() && !waiting.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        while !waiting.closed {
            let left = earliest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self
                .changed
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        std::mem::take(&mut waiting.orders)
    }
}

impl Writer {
    pub(super) fn start(connection: Connection, path: PathBuf, owner: String) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let orders = Arc::clone(&inbox);
        let mut desk = Desk {
            connection,
            path,
            owner,
            runs: HashMap::new(),
        };
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || {
                let mut earliest = Instant::now();
                loop {
                    let taken = orders.take(earliest);
                    if taken.is_empty() {
                        break;
                    }
                    earliest = Instant::now() + GATHER;
                    desk.write(taken);
                }
            })?;
        Ok(Self {
            inbox,
            thread: Some(thread),
        })
    }

    /// Hands over; never waits for the disk.
    pub(super) fn order(&self, order: Order) {
        let mut waiting = self.inbox.lock();
        let first = waiting.orders.is_empty();
        waiting.orders.push(order);
        drop(waiting);
        if first {
            self.inbox.changed.notify_one();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox.lock().closed = true;
        self.inbox.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // What was ordered is written before it ends.
            let _ = thread.join();
        }
    }
}

/// What the thread keeps from transaction to transaction.
struct Desk {
    connection: Connection,
    path: PathBuf,
    owner: String,
    runs: HashMap<Arc<str>, Open>,
}

/// A record without an end.
struct Open {
    /// `None` until its row is there.
    number: Option<i64>,
    /// Written, or part of the transaction that is being written.
    next: u64,
    finished: bool,
    kept: watch::Sender<Kept>,
}

impl Desk {
    fn write(&mut self, orders: Vec<Order>) {
        let mut touched = Vec::new();
        let mut places = HashMap::new();
        for order in orders {
            self.sort(order, &mut touched, &mut places);
        }
        touched.retain(|(id, _)| {
            self.runs
                .get(id)
                .is_some_and(|run| run.kept.borrow().broken.is_none())
        });
        if let Err(error) = self.attempt(&touched) {
            if touched.len() == 1 {
                self.give_up(&touched, &error);
            } else {
                // What is wrong with one record is not to break the others.
                for alone in touched.chunks(1) {
                    if let Err(error) = self.attempt(alone) {
                        self.give_up(alone, &error);
                    }
                }
            }
        }
        self.runs
            .retain(|_, run| !run.finished && run.kept.borrow().broken.is_none());
    }

    /// Writes all of it, or nothing; another process may hold the database for a while.
    fn attempt(&mut self, touched: &[(Arc<str>, Work)]) -> rusqlite::Result<()> {
        let began = Instant::now();
        loop {
            match self.transact(touched) {
                Err(error) if is_busy(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => break Err(error),
                Ok(()) => {
                    self.tell(touched);
                    break Ok(());
                }
            }
        }
    }

    /// What is to be done for each run, in the order in which they were first told of.
    fn sort(
        &mut self,
        order: Order,
        touched: &mut Vec<(Arc<str>, Work)>,
        places: &mut HashMap<Arc<str>, usize>,
    ) {
        let id = match &order {
            Order::Create { id, .. } | Order::Append(id, _) | Order::Finish(id, _) => id,
        };
        let place = *places.entry(Arc::clone(id)).or_insert_with(|| {
            touched.push((Arc::clone(id), Work::default()));
            touched.len() - 1
        });
        let work = &mut touched[place].1;
        match order {
            Order::Create { id, header, kept } => {
                work.header = Some(header);
                let open = Open {
                    number: None,
                    next: 0,
                    finished: false,
                    kept,
                };
                self.runs.insert(id, open);
            }
            Order::Append(_, batch) => {
                work.first.get_or_insert(batch.first);
                work.lines.extend(batch.lines);
                work.last_us = batch.last_us;
            }
            Order::Finish(_, end) => {
                work.last_us = end.last_us;
                work.end = Some(end);
            }
        }
    }

    fn transact(&mut self, touched: &[(Arc<str>, Work)]) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut numbers = Vec::new();
        for (id, work) in touched {
            let Some(run) = self.runs.get(id) else {
                continue;
            };
            let number = match (run.number, &work.header) {
                (Some(number), _) => number,
                (None, Some(header)) => create(&transaction, id, header, &self.owner)?,
                (None, None) => continue,
            };
            numbers.push((Arc::clone(id), number));
            work.write(&transaction, number)?;
        }
        transaction.commit()?;
        for (id, number) in numbers {
            if let Some(run) = self.runs.get_mut(&id) {
                run.number = Some(number);
            }
        }
        Ok(())
    }

    /// Tells what has been written.
    fn tell(&mut self, touched: &[(Arc<str>, Work)]) {
        for (id, work) in touched {
            if let Some(run) = self.runs.get_mut(id) {
                run.next += work.lines.len() as u64;
                run.finished = work.end.is_some();
                let (next, finished) = (run.next, run.finished);
                run.kept.send_modify(|kept| {
                    kept.next = next;
                    kept.finished = finished;
                });
            }
        }
    }

    /// Tells that these records are broken, and tries to end them where they are.
    fn give_up(&mut self, touched: &[(Arc<str>, Work)], error: &rusqlite::Error) {
        // Viewers learn why, but a path of this machine is its owner's to know.
        let why: Arc<str> = format!("the disk refuses: {error}").into();
        eprintln!(
            "linger: cannot record in {}: {error}; the runs go on, and are kept in memory only",
            self.path.display()
        );
        for (id, _) in touched {
            let Some(run) = self.runs.get(id) else {
                continue;
            };
            if let Some(number) = run.number {
                let message = format!("the recording ends here: {error}");
                // Where this fails, too, the next to open the database does it.
                let _: Result<(), StoreError> =
                    recover::end(&mut self.connection, &self.path, number, &message);
            }
            run.kept
                .send_modify(|kept| kept.broken = Some(Arc::clone(&why)));
        }
    }
}

/// What is to be written of one run.
#[derive(Default)]
struct Work {
    header: Option<Box<Header>>,
    first: Option<u64>,
    lines: Vec<Arc<str>>,
    last_us: u64,
    end: Option<End>,
}

impl Work {
    fn write(&self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        let mut insert = connection
            .prepare_cached("INSERT INTO pack (key, count, lines) VALUES (?1, ?2, ?3)")?;
        let mut first = self.first.unwrap_or_default();
        let mut stored = 0;
        for lines in packs(&self.lines) {
            let packed = pack(lines);
            let count = lines.len() as u64;
            insert.execute(params![
                key(number, first.cast_signed()),
                count.cast_signed(),
                packed
            ])?;
            first += count;
            stored += packed.len();
        }
        let bytes: usize = self.lines.iter().map(|line| line.len()).sum();
        connection
            .prepare_cached(
                "UPDATE run SET events = events + ?2, bytes = bytes + ?3, stored = stored + ?4, \
                 last_us = ?5, state = coalesce(?6, state) WHERE number = ?1",
            )?
            .execute(params![
                number,
                self.lines.len() as i64,
                bytes as i64,
                stored as i64,
                self.last_us.cast_signed(),
                self.end.map(|end| end.state.as_str())
            ])?;
        Ok(())
    }
}

fn create(
    connection: &Connection,
    id: &str,
    header: &Header,
    owner: &str,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO run (id, experiment, state, owner, started_unix_ms) \
             VALUES (?1, ?2, 'running', ?3, ?4)",
        )?
        .execute(params![
            id,
            header.experiment,
            owner,
            header.started_unix_ms.cast_signed()
        ])?;
    let number = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO header (run, json) VALUES (?1, ?2)")?
        // Every field is a plain value with text keys, so this cannot fail.
        .execute(params![
            number,
            serde_json::to_string(header).unwrap_or_default()
        ])?;
    Ok(number)
}

/// Runs of lines of about [`PACK_BYTES`] each.
fn packs(mut lines: &[Arc<str>]) -> impl Iterator<Item = &[Arc<str>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let count = lines
            .iter()
            .take_while(|line| {
                let fits = bytes < PACK_BYTES;
                bytes += line.len();
                fits
            })
            .count();
        let (pack, rest) = lines.split_at(count);
        lines = rest;
        (!pack.is_empty()).then_some(pack)
    })
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_packed_in_their_order_and_in_packs_of_bounded_size() {
        let lines: Vec<Arc<str>> = (0..1_000).map(|n| format!("{n:0>200}").into()).collect();
        let packed: Vec<&[Arc<str>]> = packs(&lines).collect();
        assert_eq!(packed.concat(), lines);
        assert!(packed.len() > 2);
        for pack in packed {
            assert!(pack.len() * 200 < PACK_BYTES + 200);
        }
        assert_eq!(packs(&[]).count(), 0);
    }
}
