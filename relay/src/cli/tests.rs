//! The commands as an administrator sees them.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use super::*;

mod explain;

/// Runs a command line in this process. `FILE` stands for the deployed configuration.
fn relay(line: &str) -> (Outcome, String, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/relay.toml");
    run_with(line, &file)
}

fn run_with(line: &str, file: &Path) -> (Outcome, String, String) {
    let file = file.to_str().unwrap();
    let words = line.split_whitespace().map(|word| if word == "FILE" { file } else { word });
    let arguments = Arguments::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console =
        Console { out: &mut out, err: &mut err, terminal: None, in_is_terminal: false };
    let outcome = run(arguments.command, &mut console).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(file, "relay.toml");
    (outcome, text(out), text(err))
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn nothing_is_removed_without_a_terminal_for_the_question() {
    for which in ["--all", "1M8P0QKCN002M", "--domain b.example", "--all --report", "--all --json"]
    {
        for (sees, types) in [(false, false), (true, false), (false, true)] {
            let line = format!("relay queue remove {which} -c /nonexistent");
            let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
            let (mut out, mut err, mut terminal) = (Vec::new(), Vec::new(), Vec::new());
            let mut console = Console {
                out: &mut out,
                err: &mut err,
                terminal: sees.then_some(&mut terminal as &mut dyn Write),
                in_is_terminal: types,
            };
            // Refused before the daemon is asked.
            let outcome = answer(arguments.command, &mut console).unwrap();
            assert_eq!(outcome, Outcome::Unusable, "{which}");
            assert!(String::from_utf8(err).unwrap().contains("--yes"), "{which}");
        }
    }
}

#[test]
fn a_missing_daemon_has_its_own_exit_code_and_json_error() {
    let ask = |line: &str| {
        let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console =
            Console { out: &mut out, err: &mut err, terminal: None, in_is_terminal: false };
        let error = answer(arguments.command, &mut console).unwrap_err();
        (Outcome::of(&error), String::from_utf8(out).unwrap())
    };
    let id = "1M8P0QKCN002M";
    for command in [
        "status",
        "reload",
        "queue list",
        &format!("queue show {id}"),
        &format!("queue hold {id}"),
        "queue release --all",
        "queue remove --yes --all",
        "queue flush b.example",
        &format!("queue export {id} -o /nonexistent/file"),
    ] {
        let line = format!("relay {command} -c /nonexistent --socket /nonexistent/socket");
        assert_eq!(ask(&line), (Outcome::Unknown, String::new()), "{command}");
        let (outcome, out) = ask(&format!("{line} --json"));
        assert_eq!(outcome, Outcome::Unknown, "{command}");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert!(json["error"].as_str().unwrap().contains("/nonexistent/socket"), "{json}");
    }
    let codes = [Outcome::Yes, Outcome::No, Outcome::Unusable, Outcome::Unknown];
    let codes = codes.map(|outcome| format!("{:?}", ExitCode::from(outcome)));
    assert_eq!(codes, [0, 1, 2, 3].map(|code| format!("{:?}", ExitCode::from(code))));
}

#[test]
fn only_commands_that_read_files_accept_the_directory_of_the_queue() {
    let id = "1M8P0QKCN002M";
    for (command, takes) in [
        ("status", false),
        ("reload", false),
        ("queue flush b.example", false),
        ("queue hold --all", false),
        ("queue release --all", false),
        ("queue retry --all", false),
        ("queue remove --all", false),
        (&format!("queue export {id}"), false),
        ("queue list", true),
        (&format!("queue show {id}"), true),
        ("trace", true),
    ] {
        let line = format!("relay {command} --queue-directory /var/lib/relay");
        let parsed = Arguments::try_parse_from(line.split_whitespace());
        assert_eq!(parsed.is_ok(), takes, "{command}");
    }
}

/// The same text with its bindings on a port that no program of this machine has, as a mail server may
/// have port 25; and its queue and its socket in a directory that any user may write to.
fn on_any_machine(text: &str) -> (tempfile::NamedTempFile, tempfile::TempDir) {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bindings = ["0.0.0.0", "[::]"];
    let text = bindings.iter().fold(text.to_owned(), |text, address| {
        text.replace(&format!("\"{address}:25\""), &format!("\"{address}:{port}\""))
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let socket = format!("control.socket = \"{path}/control.sock\"\n");
    let text = match text.contains("\"/var/lib/relay\"") {
        true => text.replace("\"/var/lib/relay\"", &format!("\"{path}/queue\"")),
        false => format!("queue.directory = \"{path}/queue\"\n{text}"),
    };
    (file_with(&(socket + &text)), folder)
}

#[test]
fn check_accepts_a_sound_configuration() {
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/relay.toml");
    let (file, _folder) = on_any_machine(&fs::read_to_string(deployed).unwrap());
    let (outcome, out, err) = run_with("relay check -c FILE", file.path());
    assert_eq!(
        (outcome, out.as_str(), err.as_str()),
        (
            Outcome::Yes,
            "relay.toml: sound, with 3 connectors, 2 bindings, 5 ranges and no warnings\n",
            ""
        )
    );
    let (_, json, _) = run_with("relay check -c FILE --json", file.path());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sound"], true);
    assert_eq!(json["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn check_prints_errors_and_warnings() {
    let file = file_with("hostname = \"edge1\"\ndelivery.smart_host = \"m:25\"\nqueues = 1\n");
    let (outcome, out, err) = run_with("relay check -c FILE", file.path());
    assert_eq!((outcome, out.as_str()), (Outcome::Unusable, ""));
    assert_eq!(
        err,
        "relay.toml:1: connector: is missing\n    write [[connector]] with its keys, or begin with \
         deploy/relay.toml\n\
         relay.toml:3: queues: is not a key of this table\n    did you mean `queue`?\n"
    );
    let (outcome, json, _) = run_with("relay check -c FILE --json", file.path());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(outcome, Outcome::Unusable);
    assert_eq!(json["errors"][1]["line"], 3);
    assert_eq!(json["errors"][1]["mend"], "did you mean `queue`?");

    let (file, _folder) = on_any_machine(
        "hostname = \"edge1\"\ndelivery.smart_host = \"m:25\"\n[[connector]]\nname = \"C\"\n\
         bindings = [\"0.0.0.0:25\"]\nremote_ip_ranges = [\"10.0.0.1\"]\n",
    );
    let (outcome, out, err) = run_with("relay check -c FILE", file.path());
    assert_eq!(outcome, Outcome::Yes);
    assert!(out.ends_with("1 connector, 1 binding, 1 range and 1 warning\n"), "{out}");
    assert!(err.starts_with("relay.toml:5: warning: connector \"C\": permission_groups: "));
}

#[test]
fn a_missing_file_is_an_error_with_its_name() {
    let arguments = Arguments::try_parse_from(["relay", "check", "-c", "/nonexistent"]).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let error = run(
        arguments.command,
        &mut Console { out: &mut out, err: &mut err, terminal: None, in_is_terminal: false },
    )
    .unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent: No such file"), "{error}");
}

#[test]
fn connectors_are_listed_in_order_of_precedence() {
    let (outcome, out, _) = relay("relay connectors -c FILE");
    assert_eq!(outcome, Outcome::Yes);
    let table: Vec<_> = out.lines().take(6).collect();
    assert_eq!(
        table,
        [
            "BINDING     RANGE                    CONNECTOR          PRINCIPAL",
            "0.0.0.0:25  10.38.96.15              SMTP Relay EXCH01  externally-secured",
            "0.0.0.0:25  10.38.98.10-10.38.98.40  Scanners           anonymous",
            "0.0.0.0:25  10.38.97.0/24            Scanners           anonymous",
            "0.0.0.0:25  0.0.0.0-255.255.255.255  Default Frontend   anonymous",
            "[::]:25     ::/0                     Default Frontend   anonymous",
        ]
    );
    let right = "  may ms-Exch-SMTP-Accept-Any-Recipient: granted to anonymous by grants\n";
    assert!(out.contains("\nScanners: anonymous\n") && out.contains(right), "{out}");
    let (_, json, _) = relay("relay connectors -c FILE --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["connectors"][0]["connector"], "SMTP Relay EXCH01");
    assert_eq!(json["connectors"][4]["range"], "::/0");
    assert_eq!(json["connectors"][3]["permissions"][0], "ms-Exch-SMTP-Submit");
    let right = &json["connectors"][1]["rights"]["anonymous"][1];
    assert_eq!(right["permission"], "ms-Exch-SMTP-Accept-Any-Recipient");
    assert_eq!(
        (&right["has"], &right["because"]),
        (&true.into(), &"granted to anonymous by grants".into())
    );
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let share = tempfile::tempdir().unwrap();
    let (outcome, out, _) = relay(&format!("relay generate {}", share.path().display()));
    assert_eq!(outcome, Outcome::Yes);
    let files: Vec<&Path> = out.lines().map(Path::new).collect();
    assert!(files.iter().all(|file| file.is_file()), "{out}");
    let page = |name: &str| share.path().join(format!("man/man8/{name}.8"));
    let completions: Vec<String> =
        files[..3].iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let mut pages = 1;
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        pages += 1 + command.get_subcommands().count();
        assert!(page(&format!("relay-{name}")).is_file(), "{name}");
        assert!(completions.iter().all(|text| text.contains(name)), "{name}");
    }
    assert!(page("relay-queue-hold").is_file());
    assert_eq!(files.len(), completions.len() + pages);
}

#[test]
fn an_invalid_question_is_a_usage_error() {
    let explain = "relay explain --from 10.0.0.1 --to-binding 0.0.0.0:25 --rcpt-to c@d.example";
    for (more, expected) in [
        ("", "--mail-from"),
        (" --mail-from a@", "the domain is invalid"),
        (" --mail-from a@b.example --size big", "--size"),
    ] {
        let line = format!("{explain}{more}");
        let error = Arguments::try_parse_from(line.split_whitespace()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
}

#[test]
fn the_command_table_is_consistent() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}

#[test]
fn selftest_finds_no_open_relay_in_what_we_deploy() {
    let (outcome, out, err) = relay("relay selftest -c FILE");
    assert_eq!((outcome, err.as_str()), (Outcome::Yes, ""), "{out}");
    let rows: Vec<_> = out
        .lines()
        .take(4)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        [
            "CONNECTOR BINDING FROM PROBES ACCEPTED GRANTED TO RELAY FAULTS",
            "Default Frontend 0.0.0.0:25 0.0.0.0 85 5 no 0",
            "SMTP Relay EXCH01 0.0.0.0:25 10.38.96.15 85 44 yes 0",
            "Scanners 0.0.0.0:25 10.38.97.0 85 44 yes 0",
        ]
    );
    let (_, json, _) = relay("relay selftest -c FILE --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["faults"], 0);
}
