//! The paths of the daemon of a configuration: its socket, its queue, its message tracking log.
//!
//! An administrator must be able to look at a running daemon even if its configuration file is
//! broken. So these paths are read from the part of the file that can be understood, and have
//! defaults otherwise.

use std::path::{Path, PathBuf};

use crate::value::below;
use crate::{Config, read_text};
use toml::de::{DeTable, DeValue};

/// The paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `socket` of `[control]`.
    pub socket: PathBuf,
    /// `directory` of `[queue]`.
    pub queue: PathBuf,
    /// `path` of `[message_tracking_log]`.
    pub tracking: PathBuf,
    /// `enabled` of `[message_tracking_log]`.
    pub tracking_enabled: bool,
    /// Why a part of the file was ignored, if it was.
    pub problem: Option<String>,
}

impl Default for Places {
    fn default() -> Self {
        let queue = PathBuf::from(DEFAULT_QUEUE);
        let tracking = tracking_in(&queue);
        let socket = DEFAULT_SOCKET.into();
        Self { socket, queue, tracking, tracking_enabled: true, problem: None }
    }
}

/// Default of `directory` in `[queue]`.
pub(super) const DEFAULT_QUEUE: &str = "/var/lib/relay";
/// Default of `socket` in `[control]`.
pub(super) const DEFAULT_SOCKET: &str = "/run/relay/control.sock";

/// Default of `path` in `[message_tracking_log]`.
pub(super) fn tracking_in(queue: &Path) -> PathBuf {
    queue.join("message_tracking")
}

impl Places {
    /// Default of `path` in `[message_tracking_log]` for this queue.
    pub fn tracking_in(queue: &Path) -> PathBuf {
        tracking_in(queue)
    }

    /// Reads the understandable part of a file. Never fails; an error is in [`Places::problem`].
    pub fn read(file: &Path) -> Self {
        let text = match read_text(file) {
            Ok(text) => text,
            Err(error) => return Self { problem: Some(error.to_string()), ..Self::default() },
        };
        // Without the files that it names: recipients and users do not matter here.
        match Config::parse(&text, &file.display().to_string()) {
            Ok(config) => Self {
                socket: config.control.socket,
                queue: config.queue.directory,
                tracking: config.message_tracking_log.path,
                tracking_enabled: config.message_tracking_log.enabled,
                problem: None,
            },
            Err(refusals) => {
                let problem = match &refusals.list[..] {
                    [first, rest @ ..] => {
                        let rest = match rest.len() {
                            0 => String::new(),
                            more => format!(" (and {more} more)"),
                        };
                        format!("{}:{}: {first}{rest}", refusals.file, first.line)
                    }
                    [] => refusals.to_string(),
                };
                Self { problem: Some(problem), ..Self::of_text(&text, file) }
            }
        }
    }

    /// The paths in a text, regardless of errors in the rest.
    fn of_text(text: &str, file: &Path) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let root = root.into_inner();
        let value = |section: &str, key: &str| match root.get(section)?.get_ref() {
            DeValue::Table(table) => table.get(key).map(|value| value.get_ref()),
            _ => None,
        };
        let path = |section, key| match value(section, key)? {
            DeValue::String(text) if !text.is_empty() => Some(below(file, text)),
            _ => None,
        };
        let default = Self::default();
        let queue = path("queue", "directory").unwrap_or(default.queue);
        let tracking = path("message_tracking_log", "path").unwrap_or_else(|| tracking_in(&queue));
        let enabled = value("message_tracking_log", "enabled");
        let tracking_enabled = !matches!(enabled, Some(DeValue::Boolean(false)));
        let socket = path("control", "socket").unwrap_or(default.socket);
        Self { socket, queue, tracking, tracking_enabled, problem: None }
    }
}

#[cfg(test)]
mod tests {
    use crate::places::*;

    #[test]
    fn the_understandable_part_of_a_broken_file_counts() {
        for broken in
            ["hostname = 7\n", "hostname = \"a\nb\"\n", "colour = \"red\"\n[connector]\nx = [1\n"]
        {
            let text = format!(
                "[control]\nsocket = \"/run/a.sock\"\n[queue]\ndirectory = \"/srv/q\"\n\
                 [message_tracking_log]\nenabled = false\n[x]\n{broken}"
            );
            let places = Places::of_text(&text, Path::new("/etc/relay.toml"));
            assert_eq!(places.socket, Path::new("/run/a.sock"), "{broken}");
            assert_eq!(places.queue, Path::new("/srv/q"));
            assert_eq!(places.tracking, Path::new("/srv/q/message_tracking"));
            assert!(!places.tracking_enabled);
        }
        assert_eq!(
            Places::of_text("[queue]\ndirectory = 7\n", Path::new("/etc/relay.toml")),
            Places::default()
        );
    }

    #[test]
    fn without_a_file_there_are_the_defaults() {
        let places = Places::read(Path::new("/nonexistent/relay.toml"));
        assert!(places.problem.is_some());
        assert_eq!(Places { problem: None, ..places }, Places::default());
    }
}
