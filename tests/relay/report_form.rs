//! A report has a form that its next hops support.

use relay_tests::sink::{Script, Sink};

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, SCANNER, queue_id};

const MESSAGE: &str = "Subject: \u{e9}\r\n\r\n\u{e9}\u{e9}\u{e9}\r\n";

/// The first hop refuses the recipient permanently; reports go to another hop.
fn returned(rules: &[&str], recipient: &str, message: &str) -> String {
    let edge = Edge::answered(&["rcpt=550 5.1.1 No such user"]);
    let back = Sink::on_loopback(Script::parse(rules.iter().copied()).unwrap()).unwrap();
    let route = format!(
        "[[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"{}\"]\n",
        back.address()
    );
    let _daemon = edge.start_with(&(edge.configuration(ARTICLE) + &route));
    edge.submit("a@contoso.example SMTPUTF8", &[recipient], message);
    let report = back.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_eq!((report.sender.address.as_str(), back.messages().len()), ("", 1));
    report.text()
}

#[test]
fn a_report_reaches_a_sender_behind_a_next_hop_with_ascii_only() {
    let ascii_only = ["withhold=8BITMIME", "withhold=SMTPUTF8", "offer=SIZE"];
    for recipient in ["b@fabrikam.example", "j\u{f6}rg@fabrikam.example"] {
        let report = returned(&ascii_only, recipient, MESSAGE);
        assert!(report.is_ascii(), "{report}");
        assert!(report.contains("Content-Transfer-Encoding: base64\r\n"), "{report}");
        assert!(report.contains("Content-Type: message/global\r\n"), "{report}");
    }
    let report = returned(&[], "b@fabrikam.example", MESSAGE);
    assert!(
        report.contains("\r\n\u{e9}\u{e9}\u{e9}\r\n"),
        "only necessary parts are encoded: {report}"
    );
}

#[test]
fn a_report_that_is_too_large_for_its_next_hop_omits_the_message() {
    let message = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(2_000));
    let report = returned(&["offer=SIZE 8000"], "b@fabrikam.example", &message);
    assert!(report.contains("Action: failed\r\n"), "{report}");
    assert!(report.len() < 8000 && !report.contains("0123456789"), "{report}");
}

/// The address in MAIL of a stranger may belong to a third party.
#[test]
fn a_stranger_cannot_choose_the_content_of_a_report() {
    let edge = Edge::answered(&[]);
    let refusing = Sink::on_loopback(Script::parse(["rcpt=550 5.1.1 No such user"]).unwrap());
    let refusing = refusing.unwrap();
    let route = format!(
        "[[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"{}\"]\n",
        refusing.address()
    );
    let _daemon = edge.start_with(&(edge.configuration(ARTICLE) + &route));
    let message = b"Subject: x\r\n\r\nThe body.\r\n";
    for (number, (from, ret, whole)) in [
        ("127.0.0.1", "", false),
        ("127.0.0.1", " RET=FULL", false),
        ("127.0.0.1", " RET=HDRS", false),
        (SCANNER, "", true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = edge.connect(from);
        client.hello();
        let sender = format!("victim@fabrikam.example{ret}");
        queue_id(&client.message(&sender, &["unknown@contoso.example"], message));
        client.quit();
        let report = edge.sink.wait_for(number + 1, PATIENCE).unwrap().remove(number).text();
        assert!(report.contains("\r\nSubject: x\r\n"), "{report}");
        assert_eq!(report.contains("The body."), whole, "{from}{ret}: {report}");
    }
}
