//! `[authentication]`, and its relation to BasicAuth.

use crate::tests::*;
use relay_connector::BasicAuth;

const USERS: &str = "authentication.users_file = \"/users.toml\"\n";
const TLS: &str = "tls = { certificate = \"/c\", key = \"/k\" }\n";
const WITHIN_TLS: &str = "auth_mechanism = [\"Tls\", \"BasicAuth\", \"BasicAuthRequireTLS\"]\n";
const IN_CLEAR: &str = "auth_mechanism = [\"BasicAuth\"]\n";

/// All findings of a text with these lines before and in the connector, in short.
fn found(before: &str, in_connector: &str, groups: &str) -> Vec<String> {
    let connector = CONNECTOR.replace("AnonymousUsers", groups);
    let text = format!("{NEEDED}{before}{connector}{in_connector}");
    let list = match Config::parse(&text, "relay.toml") {
        Ok(config) => config.warnings().to_vec(),
        Err(refusals) => refusals.list,
    };
    list.iter().map(|finding| format!("{}: {}", finding.key, finding.problem)).collect()
}

#[test]
fn mechanisms_of_users() {
    for (mechanisms, tls, basic_auth) in [
        (IN_CLEAR, "", Some(BasicAuth::InClear)),
        ("auth_mechanism = [\"Tls\", \"BasicAuth\"]\n", TLS, Some(BasicAuth::InClear)),
        (WITHIN_TLS, TLS, Some(BasicAuth::WithinTls)),
        ("auth_mechanism = [\"Tls\"]\n", TLS, None),
        ("auth_mechanism = [\"None\"]\n", TLS, None),
    ] {
        let config = parse(&format!("{NEEDED}{USERS}{tls}{CONNECTOR}{mechanisms}"));
        let connector = &config.connectors()[0];
        assert_eq!(connector.auth_mechanism.basic_auth, basic_auth, "{mechanisms}");
        let principals: Vec<_> = connector.principals().collect();
        match basic_auth {
            Some(_) => assert_eq!(principals, [Principal::Anonymous, Principal::User]),
            None => assert_eq!(principals, [Principal::Anonymous]),
        }
    }
}

#[test]
fn requirements_of_basic_auth() {
    let both = "AnonymousUsers\", \"ExchangeUsers";
    let with_both = format!("{USERS}{TLS}");
    for (before, in_connector, groups, expected) in [
        (&*with_both, WITHIN_TLS, both, &[][..]),
        ("", IN_CLEAR, both, &["auth_mechanism: BasicAuth needs users"]),
        (
            USERS,
            IN_CLEAR,
            both,
            &["auth_mechanism: BasicAuth without BasicAuthRequireTLS: passwords may cross the \
             network unencrypted"],
        ),
        (
            USERS,
            WITHIN_TLS,
            both,
            &["auth_mechanism: BasicAuthRequireTLS needs a certificate: no client could \
             authenticate"],
        ),
        (
            &with_both,
            "auth_mechanism = [\"Tls\", \"BasicAuthRequireTLS\"]\n",
            both,
            &["auth_mechanism: BasicAuthRequireTLS needs BasicAuth and Tls"],
        ),
        (
            &with_both,
            "auth_mechanism = [\"BasicAuth\", \"BasicAuthRequireTLS\"]\n",
            both,
            &["auth_mechanism: BasicAuthRequireTLS needs BasicAuth and Tls"],
        ),
        (
            &with_both,
            "auth_mechanism = [\"None\", \"BasicAuth\"]\n",
            both,
            &["auth_mechanism: None is combined with other mechanisms"],
        ),
        (
            &with_both,
            "auth_mechanism = [\"Tls\", \"ExternalAuthoritative\", \"BasicAuth\", \
             \"BasicAuthRequireTLS\"]\n",
            "ExchangeServers",
            &["auth_mechanism: ExternalAuthoritative can be combined only with Tls: its clients \
                 do not authenticate"],
        ),
        (
            &with_both,
            WITHIN_TLS,
            "AnonymousUsers",
            &["permission_groups: no user can authenticate: they lack ms-Exch-SMTP-Submit"],
        ),
        (
            &with_both,
            &format!("{WITHIN_TLS}grants = {{ \"user:a\" = [\"ms-Exch-SMTP-Submit\"] }}\n"),
            "AnonymousUsers",
            &[],
        ),
        (
            &with_both,
            "auth_mechanism = [\"Tls\"]\n",
            "AnonymousUsers",
            &[": has no effect: no connector has BasicAuth"],
        ),
        (
            &with_both,
            "auth_mechanism = [\"Integrated\"]\n",
            both,
            &["auth_mechanism: Integrated is not supported: NTLM and Kerberos need a Windows \
                 domain"],
        ),
        ("authentication = {}\n", IN_CLEAR, both, &["users_file: is missing"]),
    ] {
        let mut found = found(before, in_connector, groups);
        // A refused text shows no warnings.
        found.retain(|finding| {
            !finding.ends_with("learns passwords") || expected.len() == 1 && before == USERS
        });
        assert_eq!(found, expected, "{before}{in_connector}{groups}");
    }
}

#[test]
fn the_users_file_is_read_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (file, users_file) = (folder.path().join("relay.toml"), folder.path().join("users.toml"));
    let users = format!("authentication.users_file = \"{}\"\n", users_file.display());
    let connector = CONNECTOR.replace("AnonymousUsers", "ExchangeUsers");
    std::fs::write(&file, format!("{NEEDED}{users}{TLS}{connector}{WITHIN_TLS}")).unwrap();
    let missing = Config::load(&file).unwrap_err().to_string();
    assert!(missing.contains("users.toml does not exist"), "{missing}");
    assert!(Config::load_without_users(&file).unwrap().users.iter().next().is_none());

    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create(true), 0o600);
    let write = |text: &str| {
        let mut file = options.clone().truncate(true).open(&users_file).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    let secret = "secret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";
    let user = |name: &str, memory: u32| {
        format!(
            "[[user]]\nname = \"{name}\"\n\
             password = \"$argon2id$v=19$m={memory},t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA\"\n"
        )
    };
    write(&format!("{secret}{}{}", user("a", 64), user("b", 128)));
    let config = Config::load(&file).unwrap();
    let names: Vec<_> = config.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let warnings: Vec<_> = config.warnings().iter().map(|w| (w.line, &*w.problem)).collect();
    assert_eq!(
        warnings,
        [
            (4, "some users have no scram, so SCRAM-SHA-256 is not offered"),
            (4, "password hashes differ in cost: the time of a refusal shows which users exist"),
        ]
    );
    write(secret);
    assert_eq!(Config::load(&file).unwrap().warnings()[0].problem, "there is no user");
    write("[[user]]\n");
    let refused = Config::load(&file).unwrap_err().to_string();
    assert!(refused.contains("users.toml:1: secret: is missing"), "{refused}");
}
