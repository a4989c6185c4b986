//! Which clients may get reports of success, and which get a whole message back?

use relay_mail::dsn::{MailDsn, Notify, RcptDsn, Ret};
use relay_message::finding::{SenderFound, SpfFinding, SpfIdentity, SpfResult};

use super::*;

/// The rest of RET=FULL and NOTIFY=SUCCESS,FAILURE, and the rules that removed something.
fn left(peer: &Peer, sender: &str, spf: Option<(SpfResult, SpfIdentity)>) -> (Ret, bool, usize) {
    let sender = super::sender(sender);
    let found = SenderFound {
        spf: spf.map(|(result, identity)| SpfFinding {
            result,
            identity,
            domain: "b.example".to_owned(),
        }),
        ..SenderFound::default()
    };
    let mut mail = MailDsn { ret: Some(Ret::Full), ..MailDsn::default() };
    let notify = Notify { success: true, failure: true, delay: false };
    let mut rcpt = RcptDsn { notify: Some(notify), original: None };
    let because = vec![Because { rule: Rule::Sender, found: "".into() }];
    let mut decision =
        Decision { reply: reply::SENDER_OK, because, consequence: Consequence::None };
    limit_ret(peer, &sender, Some(&found), &mut mail, &mut decision);
    limit_notify(peer, &sender, Some(&found), &mut rcpt, &mut decision);
    assert_eq!(decision.because.last().unwrap().rule, Rule::Sender);
    assert_eq!(mail.is_unproven, mail.ret == Some(Ret::Headers), "also without RET");
    let notify = rcpt.notify.unwrap();
    assert!(notify.failure, "reports of failure are owed");
    (mail.ret.unwrap(), notify.success, decision.because.len() - 1)
}

#[test]
fn a_stranger_cannot_have_mail_sent_to_an_address_that_it_names() {
    let rules = rules("");
    let stranger = peer(&rules, "Default Frontend");
    let (granted, taken) = ((Ret::Full, true, 0), (Ret::Headers, false, 2));
    assert_eq!(left(&stranger, "<a@b.example>", None), taken);
    for (result, identity, expected) in [
        (SpfResult::Pass, SpfIdentity::MailFrom, granted),
        (SpfResult::Pass, SpfIdentity::Helo, taken),
        (SpfResult::None, SpfIdentity::MailFrom, taken),
        (SpfResult::Neutral, SpfIdentity::MailFrom, taken),
        (SpfResult::TempError, SpfIdentity::MailFrom, taken),
    ] {
        let spf = Some((result, identity));
        assert_eq!(left(&stranger, "<a@b.example>", spf), expected, "{result} {identity:?}");
    }
    // A null sender gets no reports anyway.
    assert_eq!(left(&stranger, "<>", None), granted);
}

#[test]
fn clients_that_may_send_anywhere_may_ask_for_reports() {
    let rules = rules("");
    for name in ["SMTP Relay EXCH01", "Scanners"] {
        let found = left(&peer(&rules, name), "<a@b.example>", None);
        assert_eq!(found, (Ret::Full, true, 0), "{name}");
    }
}
