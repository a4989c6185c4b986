//! Who may ask the daemon, and what does a client of the control socket get?
//!
//! Root and the daemon's own user may ask. The socket's file has a mode for them alone from its
//! creation. The server also asks the kernel for the user of each client, because an administrator
//! may change the mode by mistake, and a process may hand a connection to another user.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relay_host::error_chain::error_chain;
use relay_host::privileges;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_queue::export::Export;
use relay_server::limits::ACCEPT_PAUSE;
use rustix::fs::Mode;
use rustix::fs::fchmod;
use rustix::process::{Uid, geteuid};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{ControlAnswer, ControlRequest};
use crate::limits::{
    CONTROL_BACKLOG, CONTROL_CONNECTIONS, CONTROL_PIECE_OCTETS, CONTROL_REQUEST_OCTETS,
    CONTROL_SILENCE, CONTROL_TIMEOUT,
};

/// Answers requests.
pub trait ControlHandler: Send + Sync + 'static {
    /// Carries out a request.
    fn answer(
        self: Arc<Self>,
        request: ControlRequest,
    ) -> impl Future<Output = ControlAnswer> + Send;

    /// Opens a message for [`ControlRequest::QueueExport`].
    fn export(
        self: Arc<Self>,
        id: QueueId,
    ) -> impl Future<Output = Result<Export, StoreError>> + Send;
}

/// The bound socket. Dropping it removes the socket's file.
pub struct ControlSocket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    /// The daemon's user.
    owner: Uid,
}

/// Does the socket of an earlier daemon exist? The next daemon removes it.
///
/// # Errors
///
/// Another kind of file exists there, or the path cannot be checked.
pub fn has_old_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path is a file of another kind; remove it, or choose another path",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl ControlSocket {
    /// Binds the socket, for its owner only. Replaces the socket of a dead daemon.
    ///
    /// # Errors
    ///
    /// Another daemon answers on the path, or the file system refuses.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        if BlockingStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon answers on the socket; give this daemon another `socket` in [control]",
            ));
        }
        if has_old_socket(path)? {
            fs::remove_file(path)?;
        }
        let listener = listen_for_owner(path)?;
        Ok(Self { listener, path: path.to_owned(), owner: geteuid() })
    }

    /// Answers requests until the task is dropped.
    ///
    /// # Errors
    ///
    /// The runtime cannot register the socket.
    pub async fn serve<C: ControlHandler>(self, control: Arc<C>) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let permits = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return Ok(());
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (control, owner) = (Arc::clone(&control), self.owner);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, control, owner).await {
                            tracing::debug!(%error, "a control connection failed");
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
        // If the file cannot be removed, the next daemon replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens on a socket whose file only its owner can open.
fn listen_for_owner(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode of the socket, so the file never has another mode. With `chmod`
    // after the bind, other users could connect in between, and a umask would change files of other
    // threads.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(CONTROL_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

/// May this user ask a daemon of the user `owner`?
fn may_ask(peer: Uid, owner: Uid) -> bool {
    peer.is_root() || peer == owner
}

async fn converse<C: ControlHandler>(
    stream: UnixStream,
    control: Arc<C>,
    owner: Uid,
) -> io::Result<()> {
    let peer = Uid::from_raw(stream.peer_cred()?.uid());
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(CONTROL_REQUEST_OCTETS));
    timeout(CONTROL_SILENCE, reader.read_line(&mut line)).await??;
    // Wait for the request first: a client that cannot write does not read the answer either.
    if !may_ask(peer, owner) {
        let user = privileges::user_name(peer.as_raw());
        tracing::warn!(%user, "the control socket refuses a user; its file has another mode");
        let why = "only root and the daemon's user may use the control socket";
        return say(
            &ControlAnswer::Error(format!("{why}; this command runs as {user}")),
            &mut writer,
        )
        .await;
    }
    let answer = match serde_json::from_str::<ControlRequest>(&line) {
        Ok(ControlRequest::QueueExport { id }) => match control.export(id).await {
            Ok(export) => return send(export, &mut writer).await,
            Err(error) => ControlAnswer::Error(error_chain(&error)),
        },
        Ok(request) => control.answer(request).await,
        Err(error) => ControlAnswer::Error(format!(
            "this version of the daemon does not know the request: {error}"
        )),
    };
    say(&answer, &mut writer).await
}

async fn say(answer: &ControlAnswer, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(CONTROL_TIMEOUT, writer.write_all(&line)).await?
}

/// Sends the envelope, the message in pieces, and whether the message is complete: see
/// [`super::export`]. Holds the octets of one read in memory.
async fn send(mut export: Export, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    say(&ControlAnswer::Ok(serde_json::to_value(&export.envelope)?), writer).await?;
    let end = loop {
        let piece = match export.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break ControlAnswer::Ok(Value::Null),
            Err(error) => break ControlAnswer::Error(error_chain(&error)),
        };
        for part in piece.chunks(CONTROL_PIECE_OCTETS) {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            timeout(CONTROL_TIMEOUT, async {
                writer.write_all(&length.to_be_bytes()).await?;
                writer.write_all(part).await
            })
            .await??;
        }
    };
    writer.write_all(&[0; 4]).await?;
    say(&end, writer).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;
    use crate::control::ask;

    struct Echo;

    impl ControlHandler for Echo {
        async fn answer(self: Arc<Self>, request: ControlRequest) -> ControlAnswer {
            match request {
                ControlRequest::Status => ControlAnswer::Ok(json!({"generation": 7})),
                other => ControlAnswer::Error(format!("no {other:?} here")),
            }
        }

        async fn export(self: Arc<Self>, id: QueueId) -> Result<Export, StoreError> {
            Err(StoreError::NotFound(id))
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
        // A dead daemon leaves a socket without a listener.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let server = tokio::spawn(socket.serve(Arc::new(Echo)));
        assert!(ControlSocket::bind(&path).is_err(), "a living daemon is not replaced");
        let answers = tokio::task::spawn_blocking({
            let path = path.clone();
            move || {
                (
                    ask(&path, &ControlRequest::Status),
                    ask(&path, &ControlRequest::Reload { file: None }),
                )
            }
        })
        .await
        .unwrap();
        assert_eq!(answers.0.unwrap(), json!({"generation": 7}));
        assert_eq!(answers.1.unwrap_err().to_string(), "no Reload { file: None } here");
        server.abort();
        let _ = server.await;
        assert!(!path.exists());
        assert!(
            ask(&path, &ControlRequest::Status)
                .unwrap_err()
                .to_string()
                .contains("is the daemon running")
        );
    }

    #[test]
    fn root_and_the_daemons_user_may_ask() {
        let [root, daemon, other] = [0, 100, 1000].map(Uid::from_raw);
        assert!(may_ask(root, daemon) && may_ask(daemon, daemon) && may_ask(root, root));
        assert!(!may_ask(other, daemon) && !may_ask(daemon, root));
    }

    #[test]
    fn the_file_is_never_open_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        // Only the bind creates the file, and no code changes its mode afterwards.
        let _listener = listen_for_owner(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Here the file's mode admits all users, as if an administrator had set it by mistake.
    #[tokio::test]
    async fn another_user_gets_no_answer_although_the_file_is_open_to_all() {
        if !geteuid().is_root() {
            // Only root can change its user; the test above checks the rule itself.
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        for path in [directory.path(), &path] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let server = tokio::spawn(socket.serve(Arc::new(Echo)));
        // The thread keeps the other user, so it must not be a thread of the runtime.
        let (answered, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let other = Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(other, other, other).unwrap();
            answered.send(ask(&path, &ControlRequest::Status).unwrap_err().to_string()).unwrap();
        });
        let answer = answer.await.unwrap();
        assert!(answer.contains("only root and the daemon's user may use"), "{answer}");
        server.abort();
    }
}
