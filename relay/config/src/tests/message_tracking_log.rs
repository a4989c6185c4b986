//! `[message_tracking_log]`.

use std::time::Duration;

use crate::tests::*;
use relay_tracking::TrackingSettings;

fn refusal(keys: &str) -> String {
    let text = format!("{NEEDED}message_tracking_log = {{ {keys} }}\n{CONNECTOR}");
    let refusals = Config::parse(&text, "relay.toml").expect_err(keys);
    assert_eq!(refusals.list.len(), 1, "{refusals}");
    refusals.list[0].to_string()
}

#[test]
fn the_defaults_are_those_of_exchange() {
    let log = parse(&format!("{NEEDED}queue.directory = \"/q\"\n{CONNECTOR}")).message_tracking_log;
    let default = TrackingSettings {
        enabled: true,
        path: "/q/message_tracking".into(),
        max_directory_size: 1000 << 20,
        max_file_size: 10 << 20,
        max_age: Some(Duration::from_hours(30 * 24)),
        min_free_octets: 256 << 20,
    };
    assert_eq!(log, default);

    let section = "[message_tracking_log]\nenabled = true\npath = \"/log\"\n\
         max_directory_size = \"2 GB\"\nmax_file_size = 65536\nmax_age = \"00:00:00\"\n";
    let config = parse(&format!("{NEEDED}{section}{CONNECTOR}"));
    let log = config.message_tracking_log.clone();
    assert_eq!((log.path.to_str(), log.max_directory_size), (Some("/log"), 2 << 30));
    assert_eq!((log.max_file_size, log.max_age), (65_536, None));
    assert!(config.warnings().is_empty());
}

#[test]
fn contradictions_are_refused() {
    for (keys, expected) in [
        (
            "max_file_size = \"20 MB\", max_directory_size = \"10 MB\"",
            "max_file_size: a file of 20971520 octets is larger than max_directory_size, 10485760\n    \
             write a max_file_size that is at most max_directory_size",
        ),
        (
            "max_directory_size = \"1 MB\"",
            "max_directory_size: a file of 10485760 octets is larger than max_directory_size, \
             1048576\n    write a max_file_size that is at most max_directory_size",
        ),
        (
            "max_file_size = 1000",
            "max_file_size: 1000 is out of bounds\n    write a number from 65536 to \
             9223372036854775807",
        ),
        (
            "max_age = \"forever\"",
            "max_age: `forever` is not a time\n    write hh:mm:ss, as in \"00:05:00\", or a number \
             and a unit, as in \"5m\"",
        ),
        ("path = \"\"", "path: is empty\n    write a path"),
        (
            "subject_logging_enabled = true",
            "subject_logging_enabled: is not supported: message contents are never logged\n    \
             remove it",
        ),
    ] {
        assert_eq!(refusal(keys), format!("[message_tracking_log]: {expected}"));
    }
}

#[test]
fn bounds_of_a_log_that_is_off_have_no_effect() {
    let section = "[message_tracking_log]\nenabled = false\npath = \"/log\"\nmax_age = \"1d\"\n";
    let config = parse(&format!("{NEEDED}{section}{CONNECTOR}"));
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["[message_tracking_log]: max_age: has no effect: enabled is false, so no file is \
             written or removed\n    remove it, or write enabled = true"]
    );
}
