//! What becomes of records that were cut off: they are given an end that says so.

use std::path::Path;

use linger_shared::{
    event::{Event, Fact, Observer},
    protocol::RunState,
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{
    super::StoreError,
    key, owner,
    pack::{pack, unpack},
    text,
};

/// What the last event of a record that was cut off says.
pub(super) const CUT_OFF: &str =
    "the recording ends here: the server was killed, or its disk was full";

/// Ends the records whose owner is gone.
pub(super) fn end_the_abandoned(
    connection: &mut Connection,
    path: &Path,
    data: &Path,
) -> Result<(), StoreError> {
    let fail = |error| StoreError::database("read", path, error);
    let at_work: Vec<(i64, String)> = connection
        .prepare("SELECT number, owner FROM run WHERE state = 'running'")
        .and_then(|mut rows| {
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .map_err(fail)?;
    for (number, name) in at_work {
        if !owner::is_there(data, &name) {
            end(connection, path, number, CUT_OFF)?;
        }
    }
    Ok(())
}

/// Ends a record that has no end: as its last events say, or else as a failure with `message`.
pub(super) fn end(
    connection: &mut Connection,
    path: &Path,
    number: i64,
    message: &str,
) -> Result<(), StoreError> {
    let fail = |error| StoreError::database("end a record in", path, error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(fail)?;
    cut_the_damaged(&transaction, path, number)?;
    let row = transaction
        .query_row(
            "SELECT events, last_us FROM run WHERE number = ?1 AND state = 'running'",
            [number],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )
        .optional()
        .map_err(fail)?;
    let Some((events, last_us)) = row else {
        return Ok(()); // Another process was faster.
    };
    let state = match state_by_events(&transaction, path, number)? {
        Some(state) => state,
        None => {
            let line = failure(events, last_us, message);
            let packed = pack([&line]);
            transaction
                .execute(
                    "INSERT INTO pack (key, count, lines) VALUES (?1, 1, ?2)",
                    params![key(number, events), packed],
                )
                .and_then(|_| {
                    transaction.execute(
                        "UPDATE run SET events = events + 1, bytes = bytes + ?2, \
                         stored = stored + ?3 WHERE number = ?1",
                        params![number, line.len() as i64, packed.len() as i64],
                    )
                })
                .map_err(fail)?;
            RunState::Failed
        }
    };
    transaction
        .execute(
            "UPDATE run SET state = ?2 WHERE number = ?1",
            params![number, state.as_str()],
        )
        .map_err(fail)?;
    transaction.commit().map_err(fail)
}

/// Cuts packs off the end of a record until the last one can be read.
fn cut_the_damaged(connection: &Connection, path: &Path, number: i64) -> Result<(), StoreError> {
    let fail = |error| StoreError::database("mend a record in", path, error);
    loop {
        let last = connection
            .query_row(
                "SELECT key, count, lines FROM pack WHERE key BETWEEN ?1 AND ?2 \
                 ORDER BY key DESC LIMIT 1",
                [key(number, 0), key(number, i64::from(u32::MAX))],
                |row| {
                    let packed: Vec<u8> = row.get(2)?;
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, packed))
                },
            )
            .optional()
            .map_err(fail)?;
        let Some((at, count, packed)) = last else {
            return Ok(());
        };
        let Err(found) = unpack(&packed, count.cast_unsigned()) else {
            return Ok(());
        };
        eprintln!(
            "linger: {}: {count} events at the end of a record cannot be read ({found}), and are cut",
            path.display()
        );
        connection
            .execute("DELETE FROM pack WHERE key = ?1", [at])
            .and_then(|_| {
                connection.execute(
                    "UPDATE run SET events = ?2, stored = max(0, stored - ?3) WHERE number = ?1",
                    params![number, at - key(number, 0), packed.len() as i64],
                )
            })
            .map_err(fail)?;
    }
}

fn failure(seq: i64, at_us: i64, message: &str) -> std::sync::Arc<str> {
    let event = Event {
        seq: seq.cast_unsigned(),
        at_us: at_us.cast_unsigned(),
        seen_by: Observer::Experiment,
        fact: Fact::Failure {
            message: message.to_owned(),
        },
    };
    // Every field is a plain value with text keys, so this cannot fail.
    serde_json::to_string(&event).unwrap_or_default().into()
}

/// How the run ended, if its last event tells: a kill may come between it and the end.
fn state_by_events(
    connection: &Connection,
    path: &Path,
    number: i64,
) -> Result<Option<RunState>, StoreError> {
    let fail = |error| StoreError::database("read", path, error);
    let mut packs = connection
        .prepare("SELECT key, count, lines FROM pack WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC")
        .map_err(fail)?;
    let mut packs = packs
        .query([key(number, 0), key(number, i64::from(u32::MAX))])
        .map_err(fail)?;
    let mut verdict = false;
    while let Some(row) = packs.next().map_err(fail)? {
        let (at, count): (i64, i64) = (row.get(0).map_err(fail)?, row.get(1).map_err(fail)?);
        let packed = text(row, 2).map_err(fail)?;
        let lines = unpack(packed, count.cast_unsigned()).map_err(|found| StoreError::Damaged {
            path: path.to_owned(),
            found: format!("the events at {at:x}: {found}"),
        })?;
        for line in lines.iter().rev() {
            match serde_json::from_str::<Event>(line).map(|event| event.fact) {
                Ok(Fact::Failure { .. }) if !verdict => return Ok(Some(RunState::Failed)),
                Ok(Fact::Verdict(_)) if !verdict => verdict = true,
                // What settles after a stop is recorded between it and the verdict.
                Ok(Fact::Stopped { .. }) if verdict => return Ok(Some(RunState::Cancelled)),
                _ if verdict => {}
                _ => return Ok(None),
            }
        }
    }
    Ok(verdict.then_some(RunState::Finished))
}
