//! Listens on the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Answer, Request};
use crate::limits::{ACCEPT_PAUSE, CONTROL_CONNECTIONS, CONTROL_REQUEST_OCTETS, CONTROL_TIMEOUT};

/// Who answers requests.
pub trait Control: Send + Sync + 'static {
    /// Carries out a request.
    fn answer(self: Arc<Self>, request: Request) -> impl Future<Output = Answer> + Send;
}

/// The bound socket. Dropping it removes the socket's file.
pub struct ControlSocket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket, for its owner only. What a dead daemon left is replaced.
    ///
    /// # Errors
    ///
    /// Another daemon answers on the path, or the file system refuses.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if BlockingStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon answers there; give this one its own `socket` in [control]",
            ));
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is no socket is there; remove it, or choose another path",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers requests until the task is dropped.
    ///
    /// # Errors
    ///
    /// The runtime does not take the socket.
    pub async fn serve<C: Control>(self, control: Arc<C>) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let permits = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return Ok(());
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let control = Arc::clone(&control);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, control).await {
                            tracing::debug!(%error, "a control connection broke off");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file that stays is replaced by the next daemon.
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse<C: Control>(stream: UnixStream, control: Arc<C>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(CONTROL_REQUEST_OCTETS));
    timeout(CONTROL_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => control.answer(request).await,
        Err(error) => Answer::Error(format!("not a request of this version: {error}")),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    timeout(CONTROL_TIMEOUT, writer.write_all(&answer)).await?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::ask;

    struct Echo;

    impl Control for Echo {
        async fn answer(self: Arc<Self>, request: Request) -> Answer {
            match request {
                Request::Status => Answer::Ok(json!({"generation": 7})),
                other => Answer::Error(format!("no {other:?} here")),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn answers_refuses_and_cleans_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "not ours").unwrap();
        assert!(ControlSocket::bind(&path).is_err(), "what is no socket is left alone");
        fs::remove_file(&path).unwrap();
        // What a dead daemon leaves: a socket that nobody listens on.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let server = tokio::spawn(socket.serve(Arc::new(Echo)));
        assert!(ControlSocket::bind(&path).is_err(), "a living daemon is not replaced");
        let answers = tokio::task::spawn_blocking({
            let path = path.clone();
            move || (ask(&path, &Request::Status), ask(&path, &Request::Reload))
        })
        .await
        .unwrap();
        assert_eq!(answers.0.unwrap(), json!({"generation": 7}));
        assert_eq!(answers.1.unwrap_err().to_string(), "no Reload here");
        server.abort();
        let _ = server.await;
        assert!(!path.exists());
        assert!(ask(&path, &Request::Status).unwrap_err().to_string().contains("is it running"));
    }
}
