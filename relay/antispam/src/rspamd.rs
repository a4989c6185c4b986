//! Asks Rspamd about a message: one POST to `/checkv2`, and its verdict in JSON.
//!
//! The message is sent while it is read from the queue. Header fields of the request have the
//! client and the envelope.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::{
    RSPAMD_CONNECTIONS, RSPAMD_HEADER_OCTETS, RSPAMD_RECIPIENTS, RSPAMD_REPLY_OCTETS,
};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use relay_mail::smart_host::SmartHost;
use relay_mail::store_error::StoreError;
use relay_message::finding::{RspamdAction, RspamdFinding};
use relay_message::question::Client;
use relay_queue::Incoming;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The address of Rspamd's normal worker, or of its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://host:port`.
    Tcp(SmartHost),
    /// `unix:/path`.
    Unix(PathBuf),
}

/// `[rspamd]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RspamdSettings {
    /// `url`: the address of Rspamd.
    pub endpoint: Endpoint,
    /// `timeout`: for the verdict on one message.
    pub timeout: Duration,
}

/// The text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a URL of Rspamd")]
pub struct EndpointError(String);

/// An Rspamd server.
pub(super) struct Rspamd {
    endpoint: Endpoint,
    timeout: Duration,
    /// Limits the connections at one time.
    connections: Semaphore,
}

/// The error of a check.
#[derive(Debug, thiserror::Error)]
enum RspamdError {
    #[error("Rspamd returned an unknown action: `{0}`")]
    Action(String),
    #[error("cannot connect to {endpoint}: {source}")]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error("the envelope does not fit into the header fields of HTTP")]
    Envelope(#[from] hyper::http::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer of Rspamd is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer of Rspamd is larger than {RSPAMD_REPLY_OCTETS} octets, or incomplete")]
    Reply,
    #[error("Rspamd answered {0}")]
    Status(StatusCode),
}

/// The fields of the answer that we use.
#[derive(Deserialize)]
struct Answer {
    action: String,
    score: f64,
    required_score: f64,
}

impl Rspamd {
    pub(super) fn new(RspamdSettings { endpoint, timeout }: RspamdSettings) -> Self {
        Self { endpoint, timeout, connections: Semaphore::new(RSPAMD_CONNECTIONS) }
    }

    /// The verdict of Rspamd on a message.
    pub(super) async fn ask(&self, client: &Client, message: &Incoming) -> RspamdFinding {
        match timeout(self.timeout, self.connect_and_post(client, message)).await {
            Ok(Ok(finding)) => finding,
            Ok(Err(error)) => RspamdFinding::Unavailable(error.to_string()),
            Err(_) => RspamdFinding::Unavailable("no answer in time".to_owned()),
        }
    }

    async fn connect_and_post(
        &self,
        client: &Client,
        message: &Incoming,
    ) -> Result<RspamdFinding, RspamdError> {
        // The semaphore is never closed; the wait for a permit is a part of the timeout.
        let _permit = self.connections.acquire().await;
        let failed = |source| RspamdError::Connect { endpoint: self.endpoint.clone(), source };
        match &self.endpoint {
            Endpoint::Tcp(host) => {
                let stream = TcpStream::connect(host.to_string()).await.map_err(failed)?;
                self.post(stream, client, message).await
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                self.post(stream, client, message).await
            }
        }
    }

    async fn post(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        client: &Client,
        message: &Incoming,
    ) -> Result<RspamdFinding, RspamdError> {
        let request = self.request(client, message)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(RSPAMD_HEADER_OCTETS)
            .handshake(TokioIo::new(stream))
            .await?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(RspamdError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), RSPAMD_REPLY_OCTETS);
            let body = body.collect().await.map_err(|_| RspamdError::Reply)?.to_bytes();
            read(&body)
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The request ends early if the server closes the connection at once.
            ended = connection => {
                ended?;
                exchange.await
            }
        }
    }

    fn request(
        &self,
        client: &Client,
        message: &Incoming,
    ) -> Result<
        Request<impl hyper::body::Body<Data = Bytes, Error = StoreError> + use<>>,
        hyper::http::Error,
    > {
        let pieces = try_unfold(message.reader(), |mut reader| async move {
            Ok(reader.next().await?.map(|piece| (Frame::data(piece), reader)))
        });
        let host = match &self.endpoint {
            Endpoint::Tcp(host) => host.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/checkv2")
            .header(HOST, host)
            .header(CONTENT_LENGTH, message.size())
            .header(name("ip"), client.address.to_string())
            .header(name("helo"), value(&client.hello)?)
            .header(name("from"), value(&message.envelope().sender.to_string())?)
            .header(name("queue-id"), message.id().to_string());
        for recipient in message.envelope().recipients.iter().take(RSPAMD_RECIPIENTS) {
            request = request.header(name("rcpt"), value(&recipient.to_string())?);
        }
        if let Some(user) = &client.user {
            request = request.header(name("user"), value(user)?);
        }
        request.body(Box::pin(StreamBody::new(pieces)))
    }
}

const fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// Octets above 127 are allowed; an address with such octets is UTF-8.
fn value(text: &str) -> Result<HeaderValue, hyper::http::Error> {
    Ok(HeaderValue::from_bytes(text.as_bytes())?)
}

fn read(body: &[u8]) -> Result<RspamdFinding, RspamdError> {
    let Answer { action, score, required_score } = serde_json::from_slice(body)?;
    let known = RspamdAction::ALL.iter().copied().find(|known| known.word() == action);
    let action = known.ok_or(RspamdError::Action(action))?;
    Ok(RspamdFinding::Verdict { action, score: format!("{score:.2}/{required_score:.2}") })
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || EndpointError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(wrong()),
            };
        }
        let host = text.strip_prefix("http://").ok_or_else(wrong)?;
        host.strip_suffix('/').unwrap_or(host).parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => write!(f, "http://{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rspamd::*;

    #[test]
    fn only_verdicts_are_read_as_verdicts() {
        let verdict =
            |action, score: &str| RspamdFinding::Verdict { action, score: score.to_owned() };
        let answer = |action: &str| {
            let text = format!(
                r#"{{"is_skipped":false,"score":7.3,"required_score":15.0,"action":"{action}",
                "symbols":{{"R_DKIM_NA":{{"score":0.0}}}},"messages":{{}}}}"#
            );
            read(text.as_bytes())
        };
        for &action in RspamdAction::ALL {
            assert_eq!(answer(action.word()).unwrap(), verdict(action, "7.30/15.00"));
        }
        assert!(matches!(answer("launch"), Err(RspamdError::Action(action)) if action == "launch"));
        assert!(matches!(read(b"{\"action\":\"reject\"}"), Err(RspamdError::Json(_))));
        assert!(matches!(read(b"<html>"), Err(RspamdError::Json(_))));
    }

    #[test]
    fn endpoints_are_tcp_or_unix() {
        for text in ["http://127.0.0.1:11333", "http://[::1]:11333", "unix:/run/rspamd.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "127.0.0.1:11333", "https://a:1", "http://a", "unix:run", "http://a:1/b"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
