//! STARTTLS and AUTH, and next hops that do not match their route.

use crate::client::tests::*;

const BEFORE: &str = "250-hop\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 STARTTLS\r\n";
const AFTER: &str = "250-hop\r\n250-PIPELINING\r\n250 AUTH LOGIN PLAIN\r\n";

fn password() -> Option<NextHopCredentials> {
    Some(NextHopCredentials {
        user: "edge".to_owned(),
        secret: ClientSecret::Password("s3cret".to_owned()),
    })
}

fn token() -> Option<NextHopCredentials> {
    Some(NextHopCredentials {
        user: "edge@x".to_owned(),
        secret: ClientSecret::Token("t0k".to_owned()),
    })
}

/// A session whose next hop has replied to EHLO.
fn helloed(opening: ClientOpening, hello: &str) -> Hop {
    let mut hop = Hop::opened_with(opening);
    hop.say("220 hop\r\n");
    assert_eq!(hop.heard(), "EHLO edge1\r\n");
    hop.say(hello);
    hop
}

/// A session that has encrypted its connection, sent EHLO again and received this reply.
fn encrypted(credentials: Option<NextHopCredentials>, hello: &str) -> Hop {
    let opening = ClientOpening { encryption: NextHopTls::Always, credentials, ..plain() };
    let mut hop = helloed(opening, BEFORE);
    assert_eq!(hop.heard(), "STARTTLS\r\n");
    hop.say("220 go\r\n");
    assert_eq!(hop.event(), ClientEvent::StartTls);
    assert_eq!(hop.heard(), "", "nothing in plain text behind STARTTLS");
    hop.session.handle_encrypted(hop.now);
    assert_eq!(hop.heard(), "EHLO edge1\r\n");
    hop.say(hello);
    hop
}

pub(super) fn at_stage(stage: &str) -> Hop {
    let opening = ClientOpening { encryption: NextHopTls::Always, ..plain() };
    let mut hop = match stage {
        "auth" => encrypted(password(), AFTER),
        _ => helloed(opening, BEFORE),
    };
    hop.heard();
    hop
}

#[track_caller]
fn closed_because(hop: &mut Hop) -> String {
    let ClientEvent::Closed(Some(cause)) = hop.event() else { panic!("the session goes on") };
    assert!(hop.session.is_closed() && hop.session.deadline().is_none());
    assert_eq!(hop.heard(), "");
    OutcomeReason { hop: None, cause }.to_string()
}

#[test]
fn an_offer_of_starttls_is_taken_as_the_route_says() {
    let mut never = helloed(plain(), BEFORE);
    assert_eq!(never.event(), ClientEvent::Ready);
    let opportunistic = ClientOpening { encryption: NextHopTls::WhereOffered, ..plain() };
    let mut offered = helloed(opportunistic.clone(), BEFORE);
    assert_eq!(offered.heard(), "STARTTLS\r\n");
    let mut not_offered = helloed(opportunistic, FULL);
    assert_eq!(not_offered.event(), ClientEvent::Ready);
}

#[test]
fn offers_before_tls_are_discarded() {
    let mut hop = encrypted(None, "250 hop\r\n");
    assert_eq!(hop.event(), ClientEvent::Ready);
    assert_eq!(hop.session.capabilities(), Capabilities::default());
    // STARTTLS is never sent twice, even if the next hop offers it inside.
    let mut hop = encrypted(None, BEFORE);
    assert_eq!(hop.event(), ClientEvent::Ready);
}

#[test]
fn plain_text_behind_the_220_to_starttls_ends_the_connection() {
    for encryption in [NextHopTls::Always, NextHopTls::WhereOffered] {
        let mut hop = helloed(ClientOpening { encryption, ..plain() }, BEFORE);
        hop.heard();
        hop.say("220 go\r\n250-hop\r\n250 SIZE 1\r\n");
        assert!(closed_because(&mut hop).contains("plain text behind the reply to STARTTLS"));
    }
}

#[test]
fn a_hop_without_starttls_is_not_used_where_it_is_required() {
    for hello in ["250 hop\r\n", FULL] {
        let opening = ClientOpening { encryption: NextHopTls::Always, ..plain() };
        let mut hop = helloed(opening, hello);
        assert!(closed_because(&mut hop).starts_with("4.7.4 "));
    }
    let opening = ClientOpening { encryption: NextHopTls::Always, ..plain() };
    let mut hop = helloed(opening, "500 what\r\n");
    assert_eq!(hop.heard(), "HELO edge1\r\n");
    hop.say("250 hop\r\n");
    assert!(closed_because(&mut hop).starts_with("4.7.4 "));
}

#[test]
fn a_refusal_of_starttls() {
    for reply in ["454 4.7.0 not now\r\n", "501 no\r\n"] {
        let encryption = NextHopTls::WhereOffered;
        let mut hop = helloed(ClientOpening { encryption, ..plain() }, BEFORE);
        hop.say(reply);
        assert_eq!(hop.event(), ClientEvent::Ready, "goes on in plain text");
        let encryption = NextHopTls::Always;
        let mut hop = helloed(ClientOpening { encryption, ..plain() }, BEFORE);
        hop.heard();
        hop.say(reply);
        assert_eq!(closed_because(&mut hop), format!("{}, to STARTTLS", reply.trim_end()));
    }
    let mut hop = at_stage("starttls");
    hop.say("354 what\r\n");
    let because = "4.5.0 the next hop replied 354 what to STARTTLS";
    assert_eq!(closed_because(&mut hop), because);
    assert!(hop.session.failed_at_start_tls());
}

#[test]
fn a_handshake_that_fails_or_never_ends() {
    let mut hop = at_stage("starttls");
    hop.say("220 go\r\n");
    assert_eq!(hop.event(), ClientEvent::StartTls);
    hop.session.handle_timeout(hop.session.deadline().unwrap());
    assert!(closed_because(&mut hop).contains("did not answer in time in the TLS handshake"));
    // A driver that calls too late changes nothing.
    hop.session.handle_encrypted(hop.now);
    assert_eq!(hop.heard(), "");
}

#[test]
fn implicit_tls_begins_before_the_greeting() {
    let opening =
        ClientOpening { encryption: NextHopTls::Implicit, credentials: password(), ..plain() };
    let mut hop = Hop::opened_with(opening.clone());
    assert_eq!(hop.event(), ClientEvent::StartTls);
    assert_eq!(hop.heard(), "", "nothing in plain text");
    hop.session.handle_encrypted(hop.now);
    assert_eq!(hop.heard(), "", "the next hop speaks first");
    hop.say("220 hop\r\n");
    assert_eq!(hop.heard(), "EHLO edge1\r\n");
    hop.say("250-hop\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n");
    assert!(hop.heard().starts_with("AUTH PLAIN "), "STARTTLS is not said inside TLS");
    // A greeting in plain text is not read as TLS.
    let mut hop = Hop::opened_with(opening.clone());
    hop.event();
    hop.say("220 hop\r\n");
    assert!(closed_because(&mut hop).starts_with("4.7.0 "));
    let mut hop = Hop::opened_with(opening);
    hop.event();
    hop.session.handle_timeout(hop.session.deadline().unwrap());
    assert!(closed_because(&mut hop).contains("in the TLS handshake"));
}

#[test]
fn a_failed_handshake_has_a_status_of_its_own() {
    let mut hop = at_stage("starttls");
    hop.say("220 go\r\n");
    assert_eq!(hop.event(), ClientEvent::StartTls);
    hop.session.handle_failed_handshake("the certificate has expired");
    let text = closed_because(&mut hop);
    assert!(text.starts_with("4.7.5 ") && text.contains("has expired"), "{text}");
}

#[test]
fn who_we_are() {
    for (credentials, hello, dialogue) in [
        (password(), AFTER, &["AUTH PLAIN AGVkZ2UAczNjcmV0", "235 ok"][..]),
        (
            password(),
            "250-hop\r\n250 AUTH LOGIN\r\n",
            &[
                "AUTH LOGIN",
                "334 VXNlcm5hbWU6",
                "ZWRnZQ==",
                "334 UGFzc3dvcmQ6",
                "czNjcmV0",
                "235 ok",
            ],
        ),
        (
            token(),
            "250-hop\r\n250 AUTH XOAUTH2\r\n",
            &["AUTH XOAUTH2 dXNlcj1lZGdlQHgBYXV0aD1CZWFyZXIgdDBrAQE=", "235 2.7.0 ok"],
        ),
    ] {
        let mut hop = encrypted(credentials, hello);
        for pair in dialogue.chunks(2) {
            assert_eq!(hop.heard(), format!("{}\r\n", pair[0]));
            assert_eq!(hop.session.poll_event(), None);
            hop.say(&format!("{}\r\n", pair[1]));
        }
        assert_eq!(hop.event(), ClientEvent::Ready);
    }
}

#[test]
fn an_initial_response_beyond_the_command_limit_waits_for_its_challenge() {
    let credentials = |length: usize, is_token: bool| {
        let secret = "t".repeat(length);
        let secret =
            if is_token { ClientSecret::Token(secret) } else { ClientSecret::Password(secret) };
        Some(NextHopCredentials { user: "edge".to_owned(), secret })
    };
    let hello = "250-hop\r\n250 AUTH XOAUTH2 PLAIN\r\n";
    let mut longest = 0;
    for (length, is_token) in (340..380).flat_map(|n| [(n, true), (n, false)]) {
        let mut hop = encrypted(credentials(length, is_token), hello);
        let said = hop.heard();
        assert!(said.len() <= limits::CLIENT_COMMAND_OCTETS, "{length}: {}", said.len());
        longest = longest.max(said.len());
    }
    assert!(longest > limits::CLIENT_COMMAND_OCTETS - 6, "{longest}: it is sent where it fits");
    for (is_token, verb) in [(true, "AUTH XOAUTH2\r\n"), (false, "AUTH PLAIN\r\n")] {
        let mut hop = encrypted(credentials(3000, is_token), hello);
        assert_eq!(hop.heard(), verb);
        // RFC 4954 has an empty challenge here; its contents do not matter.
        hop.say(if is_token { "334 \r\n" } else { "334 R28gYWhlYWQ=\r\n" });
        assert!(hop.heard().len() > 4000);
        hop.say("235 ok\r\n");
        assert_eq!(hop.event(), ClientEvent::Ready);
        // A refusal is handled as usual.
        let mut hop = encrypted(credentials(3000, is_token), hello);
        hop.say("334\r\n");
        hop.heard();
        if is_token {
            hop.say("334 eyJzdGF0dXMiOiI0MDAifQ==\r\n");
            assert_eq!(hop.heard(), "\r\n");
        }
        hop.say("535 5.7.8 no\r\n");
        assert_eq!(closed_because(&mut hop), "535 5.7.8 no, to AUTH");
        let shown = format!("{:?}", encrypted(credentials(3000, is_token), hello).session);
        assert!(!shown.contains("ttt") && !shown.contains("dHR0"), "a log shows the secret");
    }
}

#[test]
fn refused_credentials_end_the_session() {
    let mut hop = encrypted(password(), AFTER);
    hop.heard();
    hop.say("535 5.7.8 no\r\n");
    assert_eq!(closed_because(&mut hop), "535 5.7.8 no, to AUTH");
    // The reason arrives in a challenge first.
    let mut hop = encrypted(token(), "250-hop\r\n250 AUTH XOAUTH2\r\n");
    hop.heard();
    hop.say("334 eyJzdGF0dXMiOiI0MDAifQ==\r\n");
    assert_eq!(hop.heard(), "\r\n");
    hop.say("535 5.7.8 expired\r\n");
    assert_eq!(closed_because(&mut hop), "535 5.7.8 expired, to AUTH");
    // Challenges without end.
    let mut hop = encrypted(password(), AFTER);
    hop.heard();
    hop.say("334 more\r\n");
    assert!(
        closed_because(&mut hop).contains("asks for more responses than the AUTH mechanism has")
    );
}

#[test]
fn credentials_are_for_encrypted_connections() {
    let opportunistic = NextHopTls::WhereOffered;
    let opening = ClientOpening { encryption: opportunistic, credentials: password(), ..plain() };
    let mut hop = helloed(opening.clone(), AFTER);
    assert!(closed_because(&mut hop).contains("not encrypted"));
    let mut hop = helloed(ClientOpening { credentials_in_clear: true, ..opening }, AFTER);
    assert!(hop.heard().starts_with("AUTH PLAIN "));
}

#[test]
fn no_mechanism_fits() {
    for (credentials, hello) in [
        (password(), "250 hop\r\n"),
        (password(), "250-hop\r\n250 AUTH XOAUTH2 CRAM-MD5\r\n"),
        (token(), AFTER),
    ] {
        let mut hop = encrypted(credentials, hello);
        assert!(closed_because(&mut hop).contains("no AUTH mechanism for the credentials"));
    }
}

#[test]
fn no_log_shows_a_secret() {
    let hop = encrypted(password(), AFTER);
    let shown = format!("{:?} {:?}", hop.session, password());
    assert!(!shown.contains("s3cret"), "{shown}");
}
