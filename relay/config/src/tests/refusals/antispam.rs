//! Refusals of the checks of foreign mail.

use crate::tests::refusals::*;

#[test]
fn checks_that_contradict_each_other_or_have_no_server() {
    for (keys, problem, mend) in [
        (
            "antispam = { dmarc = \"Enforce\" }",
            "antispam: dmarc: Enforce needs spf and dkim, because DMARC uses their results",
            "write spf = \"Annotate\" and dkim = \"Annotate\", or dmarc = \"Off\"",
        ),
        (
            "antispam = { dmarc = \"Annotate\", spf = \"Enforce\" }",
            "antispam: dmarc: Annotate needs spf and dkim, because DMARC uses their results",
            "write spf = \"Annotate\" and dkim = \"Annotate\", or dmarc = \"Off\"",
        ),
        (
            "antispam = { rspamd = \"Annotate\" }",
            "antispam: rspamd: needs the address of Rspamd",
            "write [rspamd] and url = \"http://127.0.0.1:11333\" below it, or rspamd = \"Off\"",
        ),
        (
            "antispam = { spf = \"Reject\" }",
            "antispam: spf: unknown value `Reject`",
            "write one of Off, Annotate, Enforce",
        ),
        (
            "antispam = { spv = \"Off\" }",
            "antispam: spv: is not a key of this table",
            "did you mean `spf`?",
        ),
        (
            "antispam = { block_lists = [{ zone = \"zen.example\", action = \"Off\" }] }",
            "antispam: block_lists: action: unknown value `Off`",
            "write one of Annotate, Enforce",
        ),
        (
            "antispam = { block_lists = [{ zone = \"zen.example\" }] }",
            "antispam: block_lists: action: is missing",
            "write action = \"Enforce\"",
        ),
        (
            "antispam = { block_lists = [{ zone = \"z.example\", action = \"Enforce\" }, \
             { zone = \"Z.example.\", action = \"Annotate\" }] }",
            "antispam: block_lists: z.example is listed twice",
            "remove one of them",
        ),
    ] {
        check_connector(keys, 9, problem, mend);
    }
}

#[test]
fn errors_are_refused_at_the_line_that_causes_them() {
    let with = |defaults: &str, keys: &str| {
        let text = format!("{NEEDED}{defaults}\n{CONNECTOR}{keys}\n");
        Config::parse(&text, "relay.toml").map_err(|refusals| {
            refusals.list.iter().map(|refusal| refusal.place.clone()).collect::<Vec<_>>()
        })
    };
    let good = "antispam = { spf = \"Enforce\", dkim = \"Annotate\", dmarc = \"Enforce\" }";
    let config = with(good, "antispam = { spf = \"Annotate\" }").unwrap();
    let antispam = &config.connectors()[0].antispam;
    let modes = [antispam.spf, antispam.dkim, antispam.dmarc, antispam.rspamd];
    use relay_connector::CheckMode::{Annotate, Enforce, Off};
    assert_eq!(modes, [Annotate, Annotate, Enforce, Off]);
    // Other checks may need a check that a connector turns off.
    let place = |places: Result<Config, Vec<String>>| places.map(|_| ()).unwrap_err();
    assert_eq!(place(with(good, "antispam = { dkim = \"Off\" }")), ["connector \"C\": antispam"]);
    assert_eq!(place(with("antispam = { rspamd = \"Enforce\" }", "")), ["[antispam]"]);
}

#[test]
fn servers_of_the_checks() {
    for (keys, expected) in [
        (
            "dns.servers = [\"resolver.example\"]\n",
            "4: [dns]: servers: `resolver.example` is not the address of a name server\n    write \
             an address, with or without a port, as in \"192.0.2.53\" or \"[::1]:5353\"",
        ),
        (
            "dns.timeout = \"20s\"\n",
            "4: [dns]: timeout: `20s` is out of bounds\n    write a time from 00:00:01 to 00:00:10",
        ),
        (
            "rspamd.url = \"https://127.0.0.1:11333\"\n",
            "4: [rspamd]: url: `https://127.0.0.1:11333` is not a URL of Rspamd\n    write \
             http://host:port or unix:/path, as in `http://127.0.0.1:11333`",
        ),
        (
            "rspamd.timeout = \"5s\"\n",
            "4: [rspamd]: url: is missing\n    write url = \"http://127.0.0.1:11333\", or \
             \"unix:/run/rspamd/worker.sock\"",
        ),
    ] {
        check(&format!("{NEEDED}{keys}{CONNECTOR}"), expected);
    }
}
