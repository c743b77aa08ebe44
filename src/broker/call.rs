//! Sending a call until it is answered, and what its error means.

use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind};
use tokio::time::{Instant, sleep};

use super::connection::Link;
use crate::error::{Error, Result};
use crate::runtime;

/// The pause before a call is repeated that Redis answers with "not now".
const NOT_NOW: Duration = Duration::from_millis(100);
const UNKNOWN: &str = "The call was sent; whether it took effect is not known.";

/// A script's call up to its keys. One command from the start: `ScriptInvocation` keeps each argument
/// by itself first, and there are several for each task.
pub fn script<K: AsRef<[u8]>>(script: &Script, keys: &[K]) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script.get_hash()).arg(keys.len());
    for key in keys {
        call.arg(key.as_ref());
    }
    call
}

/// Makes that call, and has Redis load the script where it does not know it.
pub async fn invoke<T: FromRedisValue>(
    script: &Script,
    call: Cmd,
    mut connection: MultiplexedConnection,
) -> RedisResult<T> {
    match call.query_async(&mut connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            script.load_async(&mut connection).await?;
            call.query_async(&mut connection).await
        }
        answer => answer,
    }
}

/// Sends a call that is safe to repeat until it is answered, or the deadline passes. The call is
/// told how often it was sent before. What was sent over a connection that is given up meanwhile
/// may still arrive, after its repetition: the scripts know that, too.
pub async fn repeat<'a, T: Send>(
    link: &Link,
    deadline: Option<Instant>,
    call: impl Fn(MultiplexedConnection, u32) -> BoxFuture<'a, RedisResult<T>> + Send + Sync,
) -> Result<T> {
    let mut before = 0;
    loop {
        let (connection, epoch) = match link.commands(deadline).await {
            Err(Error::Connection(message)) if before > 0 => {
                return Err(Error::Connection(format!("{message} {UNKNOWN}")));
            }
            other => other?,
        };
        let answer = tokio::select! {
            biased;
            answer = call(connection, before) => answer,
            () = link.lost(epoch) => {
                before += 1;
                continue;
            }
            () = runtime::until(deadline) => {
                return Err(Error::Connection(format!(
                    "Redis at {} has not answered in time. {UNKNOWN}",
                    link.address()
                )));
            }
        };
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match Remedy::of(&error) {
            Remedy::None => return Err(refused(&error)),
            Remedy::Redial => {
                link.broken(epoch, error.to_string());
                return Err(refused(&error));
            }
            Remedy::Reconnect => {
                before += 1;
                link.broken(epoch, error.to_string());
            }
            Remedy::Wait => {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(Error::Connection(format!(
                        "Redis at {} is not ready: {error}",
                        link.address()
                    )));
                }
                sleep(NOT_NOW).await;
            }
        }
    }
}

/// What is to be done about an error.
enum Remedy {
    /// The connection is gone: repeat the call on another.
    Reconnect,
    /// The server can't now: repeat the call on this one.
    Wait,
    /// The server has become a replica: tell the caller, and look the address up anew.
    Redial,
    /// Tell the caller.
    None,
}

impl Remedy {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                // Forgotten again right after it was loaded.
                | ServerErrorKind::NoScript,
            ) => Remedy::Wait,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Remedy::Redial,
            _ if error.code() == Some("BUSY") => Remedy::Wait,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Remedy::Reconnect,
            _ => Remedy::None,
        }
    }
}

pub fn refused(error: &RedisError) -> Error {
    Error::Refused(format!("Redis refused: {error}"))
}
