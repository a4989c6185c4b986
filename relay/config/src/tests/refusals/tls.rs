//! Refusals of clients' certificates, and of bindings with and without TLS.

use crate::tests::refusals::*;

#[test]
fn clients_that_show_certificates() {
    let tls = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n";
    let partners = "[partners]\nca = \"/ca\"\ntls_receive_domain_secure_list = [\"a.example\"]\n";
    let fleet = "[fleet]\nca = \"/ca\"\nnames = [\"hub.contoso.example\"]\n";
    for (keys, tables, expected) in [
        (
            "domain_secure_enabled = true",
            tls.to_owned(),
            "9: connector \"C\": domain_secure_enabled: needs a list of partners\n    write \
             [partners] with ca and tls_receive_domain_secure_list",
        ),
        (
            "domain_secure_enabled = true\nauth_mechanism = []",
            format!("{tls}{partners}"),
            "9: connector \"C\": domain_secure_enabled: needs Tls in auth_mechanism\n    write \
             auth_mechanism = [\"Tls\"], or remove domain_secure_enabled",
        ),
        (
            "domain_secure_enabled = true",
            partners.to_owned(),
            "9: connector \"C\": domain_secure_enabled: needs a certificate: no client could \
             send\n    \
             name certificate and key in [tls], or remove domain_secure_enabled",
        ),
        (
            "auth_mechanism = [\"Tls\", \"ExchangeServer\"]",
            tls.to_owned(),
            "9: connector \"C\": auth_mechanism: ExchangeServer needs a list of our servers\n    \
             write [fleet] with ca and names, or remove ExchangeServer",
        ),
        (
            "auth_mechanism = [\"ExchangeServer\"]",
            format!("{tls}{fleet}"),
            "9: connector \"C\": auth_mechanism: ExchangeServer needs Tls, in which a server \
             shows its certificate\n    add Tls",
        ),
        (
            "auth_mechanism = [\"Tls\", \"ExchangeServer\"]",
            fleet.to_owned(),
            "9: connector \"C\": auth_mechanism: ExchangeServer needs a certificate of this host \
             too\n    name certificate and key in [tls], or remove ExchangeServer",
        ),
    ] {
        check(&format!("{NEEDED}{CONNECTOR}{keys}\n{tables}"), expected);
    }
    let trusted = CONNECTOR.replace("AnonymousUsers", "ExchangeServers");
    let external = "auth_mechanism = [\"Tls\", \"ExternalAuthoritative\"";
    check(
        &format!("{NEEDED}{trusted}{external}]\ndomain_secure_enabled = true\n{tls}{partners}"),
        "10: connector \"C\": domain_secure_enabled: contradicts ExternalAuthoritative, which \
         trusts clients without authentication\n    remove one of the two",
    );
    check(
        &format!("{NEEDED}{trusted}{external}, \"ExchangeServer\"]\n{tls}{fleet}"),
        "9: connector \"C\": auth_mechanism: ExternalAuthoritative can be combined only with Tls: \
         its clients do not authenticate\n    remove ExternalAuthoritative, or the other \
         mechanisms",
    );
    check(
        &format!("{NEEDED}{CONNECTOR}[partners]\nca = \"/ca\"\n"),
        "9: [partners]: tls_receive_domain_secure_list: is missing\n    write \
         tls_receive_domain_secure_list = [\"partner.example\"]",
    );
    check(
        &format!("{NEEDED}{CONNECTOR}[fleet]\nca = \"/ca\"\nnames = [\"*\"]\n"),
        "11: [fleet]: names: `*`: a star is allowed only as the first label\n    write the star \
         in front, as in *.contoso.example",
    );
}

#[test]
fn bindings_with_and_without_tls() {
    let tls = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n";
    let both = CONNECTOR.replace("[\"0.0.0.0:25\"]", "[\"0.0.0.0:465\"]")
        + "implicit_tls_bindings = [\"0.0.0.0:465\"]\n";
    check(
        &format!("{NEEDED}{both}{tls}"),
        "6: connector \"C\": bindings: 0.0.0.0:465 is also one of implicit_tls_bindings\n    remove \
         it from one of them",
    );
    let implicit = CONNECTOR
        .replace("bindings = [\"0.0.0.0:25\"]", "implicit_tls_bindings = [\"0.0.0.0:465\"]");
    let plain = CONNECTOR
        .replace("\"C\"", "\"D\"")
        .replace("0.0.0.0:25", "0.0.0.0:465")
        .replace("10.0.0.0/8", "11.0.0.0/8");
    check(
        &format!("{NEEDED}{implicit}{plain}{tls}"),
        "9: connector \"D\": implicit_tls_bindings: 0.0.0.0:465 begins with TLS in one of two \
         connectors, this and connector \"C\" (line 4), and without TLS in the other\n    write \
         it in implicit_tls_bindings of both, or in bindings of both",
    );
    let without = implicit.clone() + "auth_mechanism = []\n";
    check(
        &format!("{NEEDED}{without}{tls}"),
        "6: connector \"C\": implicit_tls_bindings: needs Tls in auth_mechanism\n    write \
         auth_mechanism = [\"Tls\"], or remove implicit_tls_bindings",
    );
}
