//! A value that was read from files, and is read again when they change. If the new files cannot be used,
//! the old value stays in use.

use std::path::Path;

use relay_host::error_chain::error_chain;
use tracing::{error, info};

use crate::tls::error::TlsError;
use crate::tls::watch::Watch;

/// A value that was read from files.
#[derive(Debug)]
pub(super) struct Kept<F, T> {
    pub(super) files: F,
    pub(super) value: T,
    watch: Watch,
    /// Why the files on disk cannot be used now.
    pub(super) problem: Option<String>,
}

impl<F, T> Kept<F, T> {
    /// Reads the files for the first time.
    pub(super) fn load(
        files: F,
        paths: fn(&F) -> Vec<&Path>,
        load: impl FnOnce(&F) -> Result<T, TlsError>,
    ) -> Result<Self, TlsError> {
        let watch = Watch::begin(&paths(&files));
        let value = load(&files)?;
        Ok(Self { files, value, watch, problem: None })
    }

    /// Reads changed files again. Returns true if new ones are in use.
    pub(super) fn renew(
        &mut self,
        name: &str,
        paths: fn(&F) -> Vec<&Path>,
        load: impl FnOnce(&F) -> Result<T, TlsError>,
    ) -> bool {
        if !self.watch.has_changed(&paths(&self.files)) {
            return false;
        }
        match load(&self.files) {
            Ok(value) => {
                self.value = value;
                self.problem = None;
                info!(certificate = name, "the certificate was renewed");
                true
            }
            Err(error) => {
                let problem = error_chain(&error);
                error!(
                    certificate = name,
                    "the new certificate cannot be used; the old one stays in use: {problem}"
                );
                self.problem = Some(problem);
                false
            }
        }
    }
}
