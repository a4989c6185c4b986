//! The bounds of delivery: next hops, attempts, connections and what waits for them.
//!
//! As in the parent, numbers only; the module that enforces one names it.

use std::time::Duration;

/// How long the end of the daemon waits for delivery in all: for [`relay_delivery::limits::DELIVERY_CUT`], and then for
/// replies to an end of data and for the disk. An attempt that is still under way then may be a
/// duplicate later. A new daemon listens no sooner, so it is short.
pub const DELIVERY_STOP: Duration = Duration::from_secs(5);
/// How long the end of the daemon waits after [`DELIVERY_STOP`] until the attempts that it has cut off
/// are recorded.
pub const CUT_RECORD: Duration = Duration::from_millis(500);

const _: () = assert!(
    relay_antispam::limits::BLOCK_LIST_WAIT.as_secs()
        < relay_session::limits::INQUIRY_WAIT.as_secs()
        && relay_antispam::limits::SPF_WAIT.as_secs()
            < relay_session::limits::INQUIRY_WAIT.as_secs()
        && relay_antispam::limits::DKIM_WAIT.as_secs()
            < relay_session::limits::INQUIRY_WAIT.as_secs()
        && relay_config::limits::LONGEST_RSPAMD_TIMEOUT.as_secs()
            < relay_session::limits::INQUIRY_WAIT.as_secs(),
    "a check says itself that it had no answer"
);
const _: () = assert!(
    relay_smtp::limits::COMMAND_LINE_OCTETS <= relay_session::limits::INPUT_OCTETS
        && relay_smtp::limits::AUTH_LINE_OCTETS <= relay_session::limits::INPUT_OCTETS
);
const _: () = assert!(
    relay_connector::limits::CONNECTION_INACTIVITY_TIMEOUT.as_secs()
        < relay_connector::limits::CONNECTION_TIMEOUT.as_secs(),
    "Exchange refuses an inactivity timeout that is not below the connection timeout"
);
