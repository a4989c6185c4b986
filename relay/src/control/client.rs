//! Asks the running daemon.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Answer, Request};
use crate::limits::{CONTROL_ANSWER_OCTETS, CONTROL_TIMEOUT};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The daemon's answer makes no sense to us.
    #[error("the daemon's answer is not what this version expects: {0}")]
    Answer(#[from] serde_json::Error),
    /// Nobody listens on the socket.
    #[error("no daemon answers on {path}: {source}; is it running with this configuration?")]
    Connect {
        /// `control.socket`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the daemon broke off: {0}")]
    Io(#[from] io::Error),
    /// The daemon could not do it.
    #[error("{0}")]
    Refused(String),
}

/// Asks the daemon on this socket and waits for its answer.
///
/// # Errors
///
/// As [`ControlError`] lists them.
pub fn ask(socket: &Path, request: &Request) -> Result<Value, ControlError> {
    let mut stream = UnixStream::connect(socket)
        .map_err(|source| ControlError::Connect { path: socket.to_owned(), source })?;
    stream.set_read_timeout(Some(CONTROL_TIMEOUT))?;
    stream.set_write_timeout(Some(CONTROL_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(CONTROL_ANSWER_OCTETS)).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(error) => Err(ControlError::Refused(error)),
    }
}
