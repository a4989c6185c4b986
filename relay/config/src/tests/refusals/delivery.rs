//! Refusals of routes, of the security of next hops, and of delivery.

use crate::tests::refusals::*;

#[test]
fn routes() {
    let refused = |keys: &str, expected: &str| {
        check(&format!("{NEEDED}[[route]]\n{keys}{CONNECTOR}"), expected);
    };
    refused(
        "maildir = \"/m\"\n",
        "4: [[route]]: has neither recipients nor senders\n    write \
         recipient_domains = [\"fabrikam.example\"], or [\"*\"] for all of it",
    );
    let all = "recipient_domains = [\"*\"]\n";
    refused(
        &format!("{all}maildir = \"/m\"\ntls = \"off\"\n"),
        "7: [[route]]: tls: has no effect: maildir is a directory of this host\n    remove it",
    );
    refused(
        &format!("{all}protocol = \"lmtp\"\n"),
        "6: [[route]]: protocol: mail exchangers do not speak LMTP\n    write smart_hosts = \
         [\"127.0.0.1:24\"], or remove it",
    );
    refused(
        &format!("{all}smart_hosts = []\n"),
        "6: [[route]]: smart_hosts: is empty\n    write smart_hosts = \
         [\"mail.contoso.example:25\"], or remove it",
    );
    refused(
        &format!("{all}smart_host = \"a:25\"\nsmart_hosts = [\"b:25\"]\n"),
        "7: [[route]]: smart_hosts: repeats smart_host\n    write only one of the two keys",
    );
    refused(
        "senders = [\"a@b@c\"]\n",
        "5: [[route]]: senders: `a@b@c` is not an address: the domain is invalid: a label \
         has a character that is not a letter, digit, hyphen or underscore\n    write an address or a domain, as \
         in scanner@contoso.example",
    );
    refused(
        "recipient_domains = [\"a.*.example\"]\n",
        "5: [[route]]: recipient_domains: `a.*.example`: a star is allowed only as the first \
         label\n    \
         write the star in front, as in *.contoso.example",
    );
    refused(
        "recipient_domains = [\"a.example\", \"b.example\"]\n\
         [[route]]\nrecipient_domains = [\"c.example\", \"B.example\"]\n",
        "6: [[route]]: recipient_domains b.example with senders * is also in the route of line \
         4\n    remove it from one of them",
    );
}

#[test]
fn security_of_the_next_hop() {
    let refused = |keys: &[&str], expected: &str| {
        let keys: String = keys.iter().map(|key| format!("delivery.{key}\n")).collect();
        check(&format!("{NEEDED}{keys}{CONNECTOR}"), expected);
    };
    refused(
        &["tls = \"verify\""],
        "4: [delivery]: tls: unknown value `verify`\n    write one of off, \
         opportunistic, required, verified",
    );
    refused(
        &["tls = \"required\"", "ca_file = \"/ca\""],
        "5: [delivery]: ca_file: has no effect: with tls = \"required\" no certificate is \
         verified\n    write tls = \"verified\", or remove it",
    );
    refused(
        &["auth = \"/auth\"", "tls = \"opportunistic\""],
        "5: [delivery]: tls: with tls = \"opportunistic\" the credentials might be sent in plain \
         text\n    write tls = \"verified\" or \"required\", or auth_in_clear = true",
    );
    refused(
        &["implicit_tls = true", "tls = \"opportunistic\""],
        "5: [delivery]: tls: \"opportunistic\" contradicts implicit_tls: TLS begins with the first \
         octet\n    write tls = \"required\" or \"verified\", or remove implicit_tls",
    );
    refused(
        &["auth_in_clear = true"],
        "4: [delivery]: auth_in_clear: has no effect: there are no credentials\n    write auth = \
         \"/etc/relay/smart-host.credentials\", or remove it",
    );
    refused(
        &["auth = \"/auth\"", "auth_in_clear = true", "tls = \"required\""],
        "5: [delivery]: auth_in_clear: has no effect: with tls = \"required\" nothing is sent in \
         plain text\n    remove it, or write tls = \"opportunistic\"",
    );
}

#[test]
fn delivery() {
    let host = |host: &str| {
        let text = NEEDED.replace("mail.contoso.example:25", host);
        check(
            &format!("{text}{CONNECTOR}"),
            &format!(
                "2: [delivery]: smart_host: `{host}` is not a host and a port\n    write \
                 host:port, as in `mail.contoso.example:25`, `10.0.0.1:25` or `[2001:db8::1]:25`"
            ),
        );
    };
    for bad in ["mail.contoso.example", "10.0.0.1", "10.0.0:25", "mail:0", "10.0.0.1:0", "a b:25"] {
        host(bad);
    }
    for (key, expected) in [
        (
            "delivery.initial_retry_interval = \"soon\"",
            "initial_retry_interval: `soon` is not a time\n    write hh:mm:ss, as in \
             \"00:05:00\", or a number and a unit, as in \"5m\"",
        ),
        (
            "delivery.initial_retry_interval = 300",
            "initial_retry_interval: expected a duration, found a number\n    write hh:mm:ss, as in \
             \"00:05:00\", or a number and a unit, as in \"5m\"",
        ),
        (
            "delivery.maximum_retry_interval = \"2d\"",
            "maximum_retry_interval: `2d` is out of bounds\n    write a time from 00:00:01 to \
             1.00:00:00",
        ),
        (
            "delivery.initial_retry_interval = \"2h\"",
            "initial_retry_interval: 02:00:00 is longer than maximum_retry_interval, 00:30:00\n    \
             write at most \"00:30:00\", or raise maximum_retry_interval",
        ),
        (
            "delivery.delay_notification_timeout = \"3d\"",
            "delay_notification_timeout: has no effect: messages expire after 2.00:00:00, before \
             3.00:00:00\n    write less, or raise message_expiration_timeout",
        ),
        (
            "delivery.transient_failure_retry_count = 6",
            "transient_failure_retry_count: is not supported: attempts use back-off instead of \
             fixed intervals\n    write initial_retry_interval and maximum_retry_interval",
        ),
    ] {
        check(&format!("{NEEDED}{key}\n{CONNECTOR}"), &format!("4: [delivery]: {expected}"));
    }
}
