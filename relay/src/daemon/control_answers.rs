//! Which part of the daemon answers which request of the control socket.

use std::sync::Arc;

use relay_host::error_chain::error_chain;
use relay_host::privileges;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_queue::export::Export;

use super::queue;
use super::running::Daemon;
use crate::control::{ControlAnswer, ControlHandler, ControlRequest, as_value};

impl ControlHandler for Daemon {
    async fn answer(self: Arc<Self>, request: ControlRequest) -> ControlAnswer {
        let answer = match request {
            ControlRequest::Explain(question) => {
                self.explain(*question).await.map(as_value).map_err(|e| error_chain(&e))
            }
            ControlRequest::QueueChange { change, after, until, filter } => {
                let span = queue::span(after, until);
                let changed = queue::change(&self, change, span, &filter).await;
                changed.map(as_value).map_err(|e| error_chain(&e))
            }
            ControlRequest::Reload { file } => {
                let reloaded = self.reload(file).await.map(as_value);
                reloaded.map_err(|e| privileges::with_user(error_chain(&e)))
            }
            ControlRequest::Status => {
                self.status().await.map(as_value).map_err(|e| error_chain(&e))
            }
            ControlRequest::TrackingLogWritten => {
                let tracker = self.server.tracker().clone();
                let written = tokio::task::spawn_blocking(move || tracker.is_written()).await;
                written.map(as_value).map_err(|e| error_chain(&e))
            }
            request => queue::answer(&self, request).await.map_err(|e| error_chain(&e)),
        };
        match answer {
            Ok(value) => ControlAnswer::Ok(value),
            Err(error) => ControlAnswer::Error(error),
        }
    }

    async fn export(self: Arc<Self>, id: QueueId) -> Result<Export, StoreError> {
        queue::export(&self, id).await
    }
}
