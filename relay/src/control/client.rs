//! The client of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use relay_host::privileges;
use relay_mail::queue_id::QueueId;
use relay_queue::export::EnvelopeText;
use serde_json::Value;

use super::{ControlAnswer, ControlRequest};
use crate::limits::{CONTROL_ANSWER_OCTETS, CONTROL_PIECE_OCTETS, CONTROL_TIMEOUT};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// This version does not understand the daemon's answer.
    #[error("the daemon's answer is not understood by this version: {0}")]
    Answer(#[from] serde_json::Error),
    /// No program listens on the socket.
    #[error(
        "no daemon answers on {path}: {source}; is the daemon running with this configuration?"
    )]
    Connect {
        /// `control.socket`.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// This user has no access to the socket.
    #[error("{user} may not use the control socket {path}: only root and the daemon's user may")]
    Denied {
        /// `control.socket`.
        path: PathBuf,
        /// The user of this process.
        user: String,
    },
    /// No answer arrived in time.
    #[error(
        "the daemon on {path} has not answered for {seconds} s: it is suspended, its disk does not \
         answer, or it is very busy{}",
        if *.is_change { "; the change may still happen" } else { "" }
    )]
    Silent {
        /// `control.socket`.
        path: PathBuf,
        /// The time of the wait.
        seconds: u64,
        /// The request changes something.
        is_change: bool,
    },
    /// The connection failed.
    #[error("the daemon closed the connection: {0}")]
    Io(#[from] io::Error),
    /// The daemon's answer could not be written.
    #[error("cannot write the message: {0}")]
    Output(io::Error),
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
}

/// A message that is being exported: its envelope has arrived, its octets follow.
#[derive(Debug)]
pub struct Exported {
    /// Its envelope.
    pub envelope: EnvelopeText,
    stream: BufReader<UnixStream>,
}

/// Asks the daemon on this socket and waits for its answer.
///
/// # Errors
///
/// As [`ControlError`] lists them.
pub fn ask(socket: &Path, request: &ControlRequest) -> Result<Value, ControlError> {
    let silent = |error| match error {
        // On Linux, the timeout of a socket is `WouldBlock`.
        ControlError::Io(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            ControlError::Silent {
                path: socket.to_owned(),
                seconds: request.patience().as_secs(),
                is_change: request.is_change(),
            }
        }
        error => error,
    };
    let answer = send(socket, request).and_then(|it| read_answer(&mut BufReader::new(it)));
    answer.map_err(silent)
}

/// Does a daemon listen on this socket?
///
/// # Errors
///
/// [`ControlError::Connect`], [`ControlError::Denied`].
pub fn probe(socket: &Path) -> Result<(), ControlError> {
    connect(socket).map(drop)
}

fn connect(socket: &Path) -> Result<UnixStream, ControlError> {
    UnixStream::connect(socket).map_err(|source| {
        let path = socket.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                let user = privileges::user_name(rustix::process::geteuid().as_raw());
                ControlError::Denied { path, user }
            }
            _ => ControlError::Connect { path, source },
        }
    })
}

/// Begins to export a message. The answer is the envelope. The octets follow in pieces, each
/// after its length in four octets, the most significant first. A length of zero and a second
/// answer end the message; without them the message is incomplete.
///
/// # Errors
///
/// As [`ControlError`] lists them.
pub fn export(socket: &Path, id: QueueId) -> Result<Exported, ControlError> {
    let mut stream = BufReader::new(send(socket, &ControlRequest::QueueExport { id })?);
    let envelope = serde_json::from_value(read_answer(&mut stream)?)?;
    Ok(Exported { envelope, stream })
}

impl Exported {
    /// Writes the message, and returns the number of octets. After an error, the written octets are
    /// incomplete.
    ///
    /// # Errors
    ///
    /// [`ControlError::Output`], or an error of the daemon.
    pub fn write_to(mut self, out: &mut dyn Write) -> Result<u64, ControlError> {
        let mut octets = 0;
        let mut piece = Vec::new();
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length == 0 {
                return read_answer(&mut self.stream).map(|_| octets);
            }
            if length > CONTROL_PIECE_OCTETS {
                return Err(io::Error::other("a piece of the message is too long").into());
            }
            piece.resize(length, 0);
            self.stream.read_exact(&mut piece)?;
            out.write_all(&piece).map_err(ControlError::Output)?;
            octets += length as u64;
        }
    }
}

fn send(socket: &Path, request: &ControlRequest) -> Result<UnixStream, ControlError> {
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(request.patience()))?;
    stream.set_write_timeout(Some(CONTROL_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(stream)
}

fn read_answer(stream: &mut impl BufRead) -> Result<Value, ControlError> {
    let mut answer = String::new();
    stream.take(CONTROL_ANSWER_OCTETS).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        ControlAnswer::Ok(value) => Ok(value),
        ControlAnswer::Error(error) => Err(ControlError::Refused(error)),
    }
}
