//! Postfix with Cyrus SASL, as a client that authenticates as a user of `relay passwd`.

use std::net::Ipv4Addr;

use relay_tests::client::POSTFIX;
use relay_tests::requirements::{Requirement, met};

use crate::PATIENCE;
use crate::authentication::with_alice;
use crate::dialogue::Dialogue;
use crate::peers::unpacked;
use crate::servers::Server;

#[test]
fn postfix_authenticates_with_each_mechanism_that_is_offered() {
    let test = "postfix_authenticates_with_each_mechanism_that_is_offered";
    let plugins = ["scram", "plain", "login"].map(Requirement::SaslPlugin);
    if !met(test, &plugins) || unpacked(test, POSTFIX).is_none() {
        return;
    }
    let (edge, _daemon) = with_alice();
    // The mechanism that Cyrus SASL chooses, then each by name.
    for (sent, filter) in ["", "scram-sha-256", "plain", "login"].into_iter().enumerate() {
        let relay = format!("[127.0.0.1]:{}", edge.port);
        let parameters = |_: &str| {
            format!(
                "mynetworks = 127.0.0.0/8\nrelayhost = {relay}\nsmtp_dns_support_level = disabled\n\
                 smtpd_relay_restrictions = permit_mynetworks,reject\n\
                 smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n\
                 smtp_sasl_mechanism_filter = {filter}\n\
                 smtp_sasl_password_maps = inline:{{ {{{relay} = alice:wonderland}} }}\n"
            )
        };
        let services = ["smtp", "relay"].map(|name| (name, "unix - - n - - smtp"));
        let postfix = Server::postfix_with(parameters, &services).unwrap();
        let mut client = Dialogue::connect(Ipv4Addr::LOCALHOST.into(), postfix.address);
        client.hello();
        let content = b"Subject: x\r\n\r\nx\r\n";
        let reply = client.message("alice@contoso.example", &["b@fabrikam.example"], content);
        assert!(reply.starts_with("250 "), "{reply}");
        client.quit();
        let arrived = edge.sink.wait_for(sent + 1, PATIENCE);
        let log = postfix.log();
        let messages = arrived.unwrap_or_else(|error| panic!("{filter}: {error} {log}"));
        let text = messages.last().unwrap().text();
        assert!(
            text.contains("\", user") && text.contains("\r\n\twith ESMTPA id "),
            "{filter}: {text}"
        );
    }
}
