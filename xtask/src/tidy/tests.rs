//! Each rule can fail, and does not fail on correct text.

use super::*;

/// Lines that `rule` complains about, as `file:line`.
fn complaints(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    rule(&Tree::of(files)).iter().map(|found| format!("{}:{}", found.file, found.line)).collect()
}

#[test]
fn the_protocol_names_no_runtime_socket_or_clock() {
    let rule = layers::protocol_and_policy_touch_no_world;
    let file = "relay/session/src/lib.rs";
    assert_eq!(complaints(rule, &[(file, "use tokio::io;\n")]), [format!("{file}:1")]);
    assert_eq!(complaints(rule, &[(file, "\nlet now = Instant::now();\n")]), [format!("{file}:2")]);
    // Code for tests may be anywhere, and the code after it is checked.
    let behind = "#[cfg(test)]\nmod tests {\n    use tokio::io;\n}\n\nuse tokio::net;\n";
    assert_eq!(complaints(rule, &[(file, behind)]), [format!("{file}:6")]);
    let policy = "relay/policy/src/lib.rs";
    assert_eq!(complaints(rule, &[(policy, "use std::net::TcpStream;")]), [format!("{policy}:1")]);
}

#[test]
fn comments_tests_and_drivers_may_name_the_runtime() {
    let rule = layers::protocol_and_policy_touch_no_world;
    let in_tests = "fn pure() {}\n#[cfg(test)]\nmod tests { fn now() { Instant::now(); } }\n";
    let files = [
        ("relay/session/src/lib.rs", "// tokio drives this.\nuse std::net::IpAddr;\n"),
        ("relay/smtp/src/data.rs", in_tests),
        ("relay/smtp/src/lib.rs", "#[cfg(test)]\nuse tokio::time;\n\npub mod line;\n"),
        ("relay/smtp/src/tests.rs", "let now = Instant::now();"),
        ("relay/session/src/tests/table.rs", "let now = Instant::now();"),
        ("relay/server/src/driver.rs", "use tokio::net::TcpStream;"),
    ];
    assert!(complaints(rule, &files).is_empty());
}

#[test]
fn only_one_crate_may_use_a_library() {
    let rule = layers::one_crate_names_a_library;
    let files = [
        ("relay/kernel/src/load.rs", "use aya::Ebpf;"),
        ("relay/server/src/lib.rs", "use aya::Ebpf;"),
    ];
    assert_eq!(complaints(rule, &files), ["relay/server/src/lib.rs:1"]);
}

/// What the rule says of a crate with these files in its `src`.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let paths: Vec<_> = files.iter().map(|(file, _)| format!("relay/x/src/{file}")).collect();
    let texts = files.iter().map(|(_, text)| *text);
    let files: Vec<_> = paths.iter().map(String::as_str).zip(texts).collect();
    let found = circles::modules_form_no_circle(&Tree::of(&files));
    found.into_iter().map(|found| found.says).collect()
}

#[test]
fn modules_in_a_circle_are_found() {
    let lib = ("lib.rs", "mod a;\nmod b;\nmod c;\n");
    let (a, b) = (("a.rs", "use crate::b::B;\n"), ("b.rs", "fn f() { super::a::g() }\n"));
    assert_eq!(circles(&[lib, a, b]), ["modules in a circle: a uses b uses a"]);
    // By way of a third module, and of a module inside one of them.
    let b = ("b/deep/mod.rs", "use crate::{c::{self, C}, d};\n");
    let c = ("c.rs", "impl crate::a::A for C {}\n");
    assert_eq!(
        circles(&[lib, a, ("b/mod.rs", "mod deep;\n"), b, c]),
        ["modules in a circle: a uses b uses c uses a"]
    );
    // By way of a re-export, and at a lower level.
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A as First;\npub use b::B;\n");
    let (a, b) = (("a.rs", "use crate::B;\n"), ("b.rs", "type T = crate::First;\n"));
    assert_eq!(circles(&[lib, a, b]), ["modules in a circle: a uses b uses a"]);
    let below = [
        ("m.rs", "mod a;\nmod b;\n"),
        ("m/a.rs", "use super::b::B;\n"),
        ("m/b.rs", "use super::a::A;\n"),
    ];
    assert_eq!(circles(&below), ["modules in a circle: m::a uses m::b uses m::a"]);
}

#[test]
fn parents_tests_and_other_crates_are_no_circle() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\npub struct Root;\nuse a::A;\npub use b::B;\n"),
        ("a.rs", "use crate::{B, Root};\nuse other::b::C;\n"),
        ("b.rs", "use crate::Root;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n"),
        ("b/tests.rs", "use crate::a::A;\n"),
        ("c.rs", "mod inner { use super::d::D; }\nuse b::C;\n"),
    ];
    assert_eq!(circles(&files), [""; 0]);
}

#[test]
fn relay_common_has_optional_aya_and_nothing_else() {
    let rule = layers::relay_common_stands_alone;
    let file = "relay-common/Cargo.toml";
    let fine = "[dependencies]\naya = { workspace = true, optional = true }\n\n[dev-dependencies]\nproptest = \"1\"\n";
    assert!(complaints(rule, &[(file, fine)]).is_empty());
    assert_eq!(
        complaints(rule, &[(file, "[dependencies]\nserde = \"1\"\n")]),
        [format!("{file}:2")]
    );
    assert_eq!(complaints(rule, &[(file, "[dependencies]\naya = \"1\"\n")]), [format!("{file}:2")]);
}

#[test]
fn a_pure_crate_has_no_runtime() {
    let rule = layers::pure_crates_depend_on_no_world;
    let file = "relay/mail/Cargo.toml";
    let with = |text| {
        let others = layers::PURE.map(|name| format!("relay/{name}/Cargo.toml"));
        let others = others.iter().filter(|other| *other != file);
        let others = others.map(|other| (other.as_str(), "[dependencies]\n"));
        complaints(rule, &others.chain([(file, text)]).collect::<Vec<_>>())
    };
    let fine = "[dependencies]\nidna.workspace = true\n\n[dev-dependencies]\ntokio = \"1\"\n";
    assert!(with(fine).is_empty());
    let text = "[dependencies]\ntokio.workspace = true\nlibc = \"1\"\ntokiofree = \"1\"\n";
    assert_eq!(with(text), [format!("{file}:2"), format!("{file}:3")]);
}

#[test]
fn only_the_command_line_may_use_anyhow() {
    let rule = layers::only_command_line_uses_anyhow;
    let files = [
        ("relay/src/main.rs", "use anyhow::Result;"),
        ("relay/src/cli/check.rs", "use anyhow::Result;"),
        ("relay/queue/src/store.rs", "use anyhow::Result;"),
    ];
    assert_eq!(complaints(rule, &files), ["relay/queue/src/store.rs:1"]);
}

#[test]
fn a_dialogue_without_a_sentence_is_found() {
    let rule = documents::dialogues_begin_with_a_sentence;
    let files = [
        ("tests/dialogues/a.smtp", "# A stranger may not relay.\nS: 220 *\n"),
        ("tests/dialogues/b.smtp", "S: 220 *\n"),
        ("tests/dialogues/c.smtp", "#\nS: 220 *\n"),
        ("tests/dialogues/d.smtp", ""),
    ];
    let expected = ["b", "c", "d"].map(|name| format!("tests/dialogues/{name}.smtp:1"));
    assert_eq!(complaints(rule, &files), expected);
}

#[test]
fn a_limit_without_unit_is_found() {
    let rule = documents::limits_name_unit_or_source;
    let file = "relay/src/limits.rs";
    let text = "/// Longest line in octets.\npub const LINE_OCTETS: u8 = 1;\n\n\
                pub const BARE: u8 = 1;\n\
                /// Big.\npub const VAGUE: u8 = 1;\n\
                /// Connections at one time.\npub const MANY: u8 = 1;\n";
    assert_eq!(complaints(rule, &[(file, text)]), [format!("{file}:4"), format!("{file}:6")]);
}

#[test]
fn a_key_that_the_fuzzer_does_not_know_is_found() {
    let rule = documents::the_fuzzer_knows_every_key;
    let files = [
        ("deploy/relay.toml", "hostname = \"a\"\n# [queue]\n# path = 1\n# It is = so, often.\n"),
        ("fuzz/dictionaries/configuration", "\"hostname\"\n\"path\"\n"),
    ];
    assert_eq!(complaints(rule, &files), ["deploy/relay.toml:2"]);
}

#[test]
fn a_long_readme_is_found() {
    let rule = documents::readme_is_short;
    assert!(complaints(rule, &[("README.md", &"line\n".repeat(89))]).is_empty());
    assert_eq!(complaints(rule, &[("README.md", &"line\n".repeat(90))]), ["README.md:90"]);
}

#[test]
fn a_verb_that_does_not_exist_is_found() {
    let rule = documents::documents_name_existing_verbs;
    let text = "`cargo xtask <verb>`\n`cargo xtask test`, `cargo xtask fly`\n";
    assert_eq!(complaints(rule, &[("docs/a.md", text)]), ["docs/a.md:2"]);
}

#[test]
fn a_document_that_names_a_missing_file_is_found() {
    let rule = documents::documents_name_existing_files;
    let text = "see `relay/mail/src/reply.rs`\nand `relay/src/gone.rs`, `relay/{a,b}.rs`\n";
    let files = [("docs/a.md", text), ("relay/mail/src/reply.rs", "")];
    assert_eq!(complaints(rule, &files), ["docs/a.md:2"]);
}

#[test]
fn a_parameter_without_a_row_or_a_test_is_found() {
    let rule = parameters::exchange_parameters_are_told_and_tested;
    let table = |rows: &str| {
        let files = [
            ("docs/exchange-parameters.md", rows),
            ("tests/dialogues/hello/banner.smtp", "# A sentence."),
            ("relay/src/a.rs", "#[test]\nfn it_works() {}"),
        ];
        let findings = rule(&Tree::of(&files));
        findings.iter().filter(|it| it.line > 0).map(|it| it.says.clone()).collect::<Vec<_>>()
    };
    assert!(table("| `Banner` | supported | as is | `hello/banner.smtp`, `it_works` |").is_empty());
    assert_eq!(
        table(
            "| `Banner` | supported | as is | |\n| `Baner` | none | why | |\n| `Fqdn` | maybe | | |"
        ),
        ["is supported without a test", "Baner is not a parameter", "`maybe` is not a status"]
    );
    assert_eq!(
        table("| `Banner` | supported | as is | `hello/fqdn.smtp`, `it_fails` |"),
        ["there is no test hello/fqdn.smtp", "there is no test it_fails"]
    );
    let missing = rule(&Tree::of(&[("docs/exchange-parameters.md", "")]));
    assert!(missing.iter().any(|it| it.says == "Banner has 0 rows"));
}

#[test]
fn a_long_file_warns_and_a_longer_one_fails() {
    let tree = Tree::of(&[("a.rs", &"\n".repeat(401)), ("b.rs", &"\n".repeat(501)), ("c.rs", "")]);
    let severities: Vec<Severity> =
        size::rust_files_are_short(&tree).iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Error]);
}

#[test]
fn a_file_that_names_this_checkout_is_found() {
    let rule = size::no_file_names_this_checkout;
    let text = "fine\nsee /checkout/of/user/target\n";
    assert_eq!(complaints(rule, &[("docs/a.md", text)]), ["docs/a.md:2"]);
}

#[test]
fn two_public_types_of_one_name_are_found() {
    let rule = words::public_types_have_a_name_of_their_own;
    let files = [
        ("relay/queue/src/lib.rs", "pub struct Settings {\n"),
        ("relay/dns/src/lib.rs", "\npub(super) enum Settings {\nstruct State;\n"),
        ("relay/smtp/src/lib.rs", "struct State;\n"),
        ("relay/smtp/src/tests.rs", "pub struct Settings;\n"),
        ("tests/support/lib.rs", "pub struct Settings;\n"),
    ];
    assert_eq!(complaints(rule, &files), ["relay/dns/src/lib.rs:2"]);
}

#[test]
fn words_that_hide_who_acts_are_found() {
    let rule = words::sentences_name_who_acts;
    let text = "/// Whatever comes, it is read.\nlet user = \"nobody\";\n// `nobody` exists.\n\
        fn of_nobody() {}\n// User=nobody\n// Nobody, of course.\n";
    let file = "relay/queue/src/lib.rs";
    assert_eq!(complaints(rule, &[(file, text)]), [format!("{file}:1"), format!("{file}:6")]);
    assert!(complaints(rule, &[("docs/style.md", text)]).is_empty());
}
