//! `relay explain` as an administrator sees it.

use super::*;

/// The first line of the deployed configuration with this beginning.
fn line_of(beginning: &str) -> String {
    let text = include_str!("../../../../deploy/relay.toml");
    let place = text.lines().position(|line| line.starts_with(beginning)).unwrap();
    (place + 1).to_string()
}

#[test]
fn explain_shows_all_steps_to_a_refusal() {
    let (outcome, out, err) = relay(
        "relay explain -c FILE --from 192.0.2.7 --to-binding 198.51.100.1:25 \
         --mail-from a@b.example --rcpt-to u@contoso.example --rcpt-to c@d.example \
         --helo client.example --size 1000",
    );
    assert_eq!((outcome, err.as_str()), (Outcome::No, ""));
    let expected = "\
192.0.2.7 connects to 198.51.100.1:25
  binding    0.0.0.0:25
  connector  Default Frontend (line CONNECTOR)
  range      0.0.0.0-255.255.255.255 (line RANGE)
  principal  anonymous
  may        ms-Exch-SMTP-Submit: granted to anonymous by permission group AnonymousUsers
             ms-Exch-SMTP-Accept-Any-Sender: granted to anonymous by permission group AnonymousUsers
             ms-Exch-SMTP-Accept-Authoritative-Domain-Sender: granted to anonymous by permission group AnonymousUsers
             ms-Exch-Accept-Headers-Routing: granted to anonymous by permission group AnonymousUsers

S: 220 edge1.contoso.example ESMTP
     connector: the connection belongs to `Default Frontend`
C: EHLO client.example
S: 250-edge1.contoso.example Hello [192.0.2.7]
S: 250-SIZE 37748736
S: 250-PIPELINING
S: 250-DSN
S: 250-ENHANCEDSTATUSCODES
S: 250-8BITMIME
S: 250-BINARYMIME
S: 250-CHUNKING
S: 250-LIMITS RCPTMAX=200
S: 250 SMTPUTF8
     EHLO: the name of a client gives it no right
C: MAIL FROM:<a@b.example> SIZE=1000
S: 250 2.1.0 Sender OK
     ms-Exch-SMTP-Submit: granted to anonymous by permission group AnonymousUsers
     ms-Exch-SMTP-Accept-Any-Sender: granted to anonymous by permission group AnonymousUsers
     max_message_size: 1000 octets, 37748736 allowed
C: RCPT TO:<u@contoso.example>
S: 250 2.1.5 Recipient OK
     accepted_domain: the recipient is in contoso.example (Authoritative)
C: RCPT TO:<c@d.example>
S: 550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain
     accepted_domain: `d.example` is not accepted
     ms-Exch-SMTP-Accept-Any-Recipient: not granted to anonymous
C: (end of data)
S: 250 2.6.0 Queued mail for delivery
     max_message_size: 1000 octets, 37748736 allowed
     ms-Exch-SMTP-Accept-Authentication-Flag: not granted to anonymous
     AuthAs: the message is stamped Anonymous, mechanism 00

route for u@contoso.example: mail.contoso.example:25, tls opportunistic, by [delivery]
route for c@d.example: mail.contoso.example:25, tls opportunistic, by [delivery]

Refused: this host would not accept the message for every recipient.
";
    // The line numbers of the commented configuration change often.
    let expected = expected
        .replace("CONNECTOR", &line_of("[[connector]]"))
        .replace("RANGE", &line_of("remote_ip_ranges = [\"0.0.0.0-"));
    assert_eq!(out, expected);
}

#[test]
fn explain_in_json_has_the_documented_shape() {
    let (outcome, out, _) = relay(
        "relay explain -c FILE --from 10.38.97.9 --to-binding 0.0.0.0:25 --mail-from <> \
         --rcpt-to c@d.example --json",
    );
    assert_eq!(outcome, Outcome::Yes);
    let json: Value = serde_json::from_str(&out).unwrap();
    let keys = [
        "accepted",
        "connector",
        "permissions",
        "principal",
        "range",
        "replies",
        "rights",
        "routes",
    ];
    for key in keys {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["beaten"][0]["connector"], "Default Frontend");
    let right = &json["rights"][1];
    assert_eq!(right["permission"], "ms-Exch-SMTP-Accept-Any-Recipient");
    assert_eq!(
        (&right["has"], &right["because"]),
        (&true.into(), &"granted to anonymous by grants".into())
    );
    assert_eq!(json["connector"], "Scanners");
    assert_eq!(json["range"], "10.38.97.0/24");
    assert_eq!(json["principal"], "anonymous");
    assert_eq!(json["accepted"], true);
    let rcpt = &json["replies"][2];
    assert_eq!(rcpt["command"], "RCPT TO:<c@d.example>");
    assert_eq!((&rcpt["code"], &rcpt["enhanced"]), (&250.into(), &"2.1.5".into()));
    assert_eq!(rcpt["text"], "Recipient OK");
    assert_eq!(rcpt["because"][1]["rule"], "ms-Exch-SMTP-Accept-Any-Recipient");
    assert_eq!(rcpt["because"][1]["found"], "granted to anonymous by grants");
}

#[test]
fn explain_stops_where_a_session_would() {
    let line = "relay explain -c FILE --from 192.0.2.7 --mail-from a@b.example \
                --rcpt-to u@contoso.example";
    let (outcome, out, _) = relay(&format!("{line} --to-binding 198.51.100.1:26"));
    assert_eq!(outcome, Outcome::No);
    assert!(out.contains("binding    none\n  connector  none\n\nS: 421 4.3.2 "), "{out}");
    assert!(!out.contains("MAIL"), "{out}");
    let (outcome, out, _) = relay(&format!("{line} --to-binding 198.51.100.1:25 --tls"));
    assert_eq!(outcome, Outcome::No);
    assert!(out.contains("C: STARTTLS\nS: 500 5.3.3 "), "{out}");
    assert!(out.contains("tls: there is no certificate\n"), "{out}");
    let huge = "relay explain -c FILE --to-binding 0.0.0.0:25 --mail-from a@b.example \
                --rcpt-to c@d.example --size 99999999999";
    assert_eq!(relay(&format!("{huge} --from 10.38.97.9")).0, Outcome::No);
    assert_eq!(relay(&format!("{huge} --from 10.38.96.15")).0, Outcome::Yes);
}

#[test]
fn explain_asks_for_smtputf8_as_a_session_does() {
    let line = "relay explain -c FILE --from 10.38.97.9 --to-binding 0.0.0.0:25 \
                --mail-from a@b.example --rcpt-to é@d.example";
    let (outcome, out, _) = relay(line);
    assert_eq!(outcome, Outcome::No);
    let refusal = "C: RCPT TO:<é@d.example>\nS: 553 5.6.7 Non-ASCII address without SMTPUTF8\n";
    assert!(out.contains(refusal), "{out}");
    let (outcome, out, _) = relay(&format!("{line} --smtputf8"));
    assert_eq!(outcome, Outcome::Yes, "{out}");
    assert!(out.contains("C: MAIL FROM:<a@b.example> SMTPUTF8\n"), "{out}");
    let (outcome, out, _) = relay(&line.replace("a@b.example", "a@bücher.example"));
    assert_eq!(outcome, Outcome::No);
    assert!(out.contains("S: 553 5.6.7 ") && !out.contains("RCPT"), "{out}");
}
