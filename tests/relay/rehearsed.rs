//! `relay check` on the daemon's host: it refuses everything that `relay run` refuses, and changes
//! nothing on the host.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::edge::{ARTICLE, Edge, Mode};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Both refuse this configuration, with the same error.
fn both_refuse(edge: &Edge, text: &str, word: &str) {
    fs::write(edge.folder().join("relay.toml"), text).unwrap();
    for command in ["check", "run"] {
        let ran = edge.relay(&[command]);
        assert_eq!(ran.code, 2, "{command}: {ran:?}");
        assert!(ran.err.contains(word), "{command}: {ran:?}");
    }
    let json = edge.relay(&["check", "--json"]).out;
    assert!(json.contains("\"sound\":false") || json.contains("\"sound\": false"), "{json}");
}

#[test]
fn check_refuses_what_run_refuses_on_this_host() {
    let edge = Edge::new(Mode::Userspace);
    let text = edge.configuration(ARTICLE);
    let daemon = |keys: &str| format!("{text}[daemon]\n{keys}\n");
    let queue = format!("{}/queue", edge.folder().display());
    let at = |path: &str| text.replace(&queue, path);

    both_refuse(&edge, &daemon("user = \"no-such-user\""), "no-such-user");
    both_refuse(&edge, &daemon("user = \"nobody\"\ngroup = \"no-such-group\""), "no-such-group");

    let file = edge.folder().join("file");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    both_refuse(&edge, &at(&file.display().to_string()), "not a directory");
    both_refuse(&edge, &at(&format!("{}/queue", file.display())), "ot a directory");
    assert_eq!(mode(&file), 0o644);

    assert!(!Path::new(&queue).exists());
    let inside = format!("[message_tracking_log]\npath = \"{queue}/messages\"\n[log]");
    both_refuse(&edge, &text.replace("[log]", &inside), "its own files");

    let socket = format!("{}/control.sock", edge.folder().display());
    both_refuse(&edge, &text.replace(&socket, &file.display().to_string()), "another kind");

    // Directories that other programs use.
    let shared = edge.folder().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("syslog"), "x").unwrap();
    for (permissions, word) in [(0o755, "syslog"), (0o1777, "every user")] {
        fs::set_permissions(&shared, Permissions::from_mode(permissions)).unwrap();
        both_refuse(&edge, &at(&shared.display().to_string()), word);
        assert_eq!(mode(&shared), permissions);
        assert_eq!(fs::read_dir(&shared).unwrap().count(), 1);
    }
}

#[test]
fn check_warns_of_what_may_pass() {
    let edge = Edge::new(Mode::Userspace);
    let shared = edge.folder().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("syslog"), "x").unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
    let text = edge.configuration(ARTICLE).replace(
        "[log]",
        &format!("[message_tracking_log]\npath = \"{}\"\n[log]", shared.display()),
    );
    // More than any disk has.
    let free = format!("min_free_space = \"{} MB\"\n[delivery]", u32::MAX);
    let text = text.replace("[delivery]", &free);
    let other_program = TcpListener::bind(edge.address()).unwrap();
    fs::write(edge.folder().join("relay.toml"), &text).unwrap();
    let ran = edge.relay(&["check"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for word in ["min_free_space", "message_tracking_log", "cannot listen on"] {
        assert!(ran.err.contains(word), "{word}: {ran:?}");
    }
    drop(other_program);

    // The log is not written, and the directory is unchanged.
    let text = text.replace("min_free_space", "# min_free_space");
    let daemon = edge.start_with(&text);
    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["delivered"] == 1);
    assert_eq!((mode(&shared), fs::read_dir(&shared).unwrap().count()), (0o755, 1));

    // While the daemon runs, its ports do not count as another program's.
    let ran = edge.relay(&["check"]);
    assert!(!ran.err.contains("cannot listen on"), "{ran:?}");
    drop(daemon);
}

#[test]
fn a_reload_of_another_file_than_the_daemons_is_refused() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    let other = edge.folder().join("other.toml");
    let text = fs::read_to_string(daemon.configuration()).unwrap();
    fs::write(&other, text.replace("name = \"Scanners\"", "name = \"Printers\"")).unwrap();
    let named = other.display().to_string();
    let ran = edge.relay_with(&["reload"], &other);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains(&named) && ran.err.contains("relay.toml"), "{ran:?}");
    // The same file under another name is the daemon's.
    let link = edge.folder().join("link.toml");
    std::os::unix::fs::symlink(daemon.configuration(), &link).unwrap();
    assert_eq!(edge.relay_with(&["reload"], &link).code, 0);
    assert!(edge.relay(&["reload"]).out.contains("relay.toml: generation"));
}
