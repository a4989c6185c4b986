//! A sender's DSN requests (RFC 3461), passed on to the next hop.

use crate::client::tests::*;
use relay_mail::dsn::{Addressee, EnvelopeId, Notify, OriginalRecipient, RcptDsn, Ret};

fn asking(smtputf8: bool) -> Transaction {
    let recipient = |path: &str, notify: &str, original: &str| Addressee {
        path: ForwardPath::parse(path).unwrap(),
        dsn: RcptDsn {
            notify: Notify::parse(notify),
            original: OriginalRecipient::parse(original),
        },
    };
    Transaction {
        dsn: MailDsn {
            ret: Some(Ret::Headers),
            envelope_id: EnvelopeId::parse("a+2Bb"),
            is_unproven: true,
        },
        recipients: vec![
            recipient("<r0@fabrikam.example>", "NEVER", "rfc822;x+2By@b.example"),
            recipient("<r1@fabrikam.example>", "SUCCESS,FAILURE", "utf-8;jörg@b.example"),
        ],
        smtputf8,
        ..transaction(0)
    }
}

#[test]
fn parameters_go_on_as_they_came_where_they_are_understood() {
    let hello = "250-hop\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 DSN\r\n";
    for (smtputf8, keyword, original) in
        [(true, " SMTPUTF8", "jörg@b.example"), (false, "", "j\\x{F6}rg@b.example")]
    {
        let mut hop = Hop::greeted(hello);
        hop.session.begin(asking(smtputf8), hop.now);
        let expected = format!(
            "MAIL FROM:<s@contoso.example>{keyword} RET=HDRS ENVID=a+2Bb\r\n\
             RCPT TO:<r0@fabrikam.example> NOTIFY=NEVER ORCPT=rfc822;x+2By@b.example\r\n\
             RCPT TO:<r1@fabrikam.example> NOTIFY=SUCCESS,FAILURE ORCPT=utf-8;{original}\r\n\
             DATA\r\n"
        );
        assert_eq!(hop.heard(), expected);
    }
}

#[test]
fn a_next_hop_without_dsn_is_told_nothing_and_relays() {
    for (hello, is_relayed) in [("250 hop\r\n", true), ("250-hop\r\n250 DSN\r\n", false)] {
        let mut hop = Hop::greeted(hello);
        hop.session.begin(asking(false), hop.now);
        let mut heard = String::new();
        for reply in ["250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            heard.push_str(&hop.heard());
            hop.say(reply);
        }
        assert_eq!(heard.contains(" NOTIFY=NEVER"), !is_relayed, "{heard}");
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x\r\n");
        hop.say("250 taken\r\n");
        let ClientEvent::Done(outcomes) = hop.event() else { panic!("not done") };
        for outcome in outcomes {
            assert_eq!(matches!(outcome, Outcome::Relayed(_)), is_relayed, "{outcome:?}");
        }
    }
}

#[test]
fn an_original_recipient_that_grows_beyond_its_limit_stays_behind() {
    let hello = "250-hop\r\n250-PIPELINING\r\n250 DSN\r\n";
    for (characters, is_told) in [(60, true), (200, false)] {
        let original = format!("utf-8;{}@b.example", "ö".repeat(characters));
        let mut transaction = asking(false);
        transaction.recipients[1].dsn.original = OriginalRecipient::parse(&original);
        let mut hop = Hop::greeted(hello);
        hop.session.begin(transaction, hop.now);
        let heard = hop.heard();
        assert_eq!(heard.contains("ORCPT=utf-8;"), is_told, "{heard}");
        assert!(heard.lines().all(|line| line.len() < 1100), "{heard}");
    }
}
