//! A host short of resources accepts less mail, says so, and recovers by itself.

use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line};

/// An address behind the externally secured connector.
const SERVER: &str = "127.0.0.2";

/// The level and the value of one resource.
fn resource(status: &serde_json::Value, name: &str) -> (String, u64) {
    let resources = status["back_pressure"]["resources"].as_array().unwrap();
    let resource = resources.iter().find(|resource| resource["resource"] == name).unwrap();
    (resource["level"].as_str().unwrap().to_owned(), resource["value"].as_u64().unwrap_or_default())
}

#[test]
fn strangers_are_deferred_while_a_slow_client_uses_up_message_memory() {
    let edge = Edge::new(Mode::Userspace);
    let table = "[back_pressure]\nmessage_memory = \"256 KB\"\n\
                 message_memory_use = { low_to_medium = 30, medium_to_high = 99, \
                 high_to_medium = 50, medium_to_low = 10 }\n";
    let daemon = edge.start_with(&edge.configuration(&format!("{table}{ARTICLE}")));
    edge.wait_until(|status| resource(status, "message_memory_use") == ("Normal".to_owned(), 0));

    let mut slow = edge.connect(SERVER);
    slow.hello();
    slow.begin("a@contoso.example", &["b@fabrikam.example"]);
    slow.send(b"Subject: slow\r\n\r\n");
    // Clients of one connector use half of it at most; further octets go to disk.
    slow.send(&b"0123456789\r\n".repeat(9_000));
    edge.wait_until(|status| resource(status, "message_memory_use").0 == "Medium");
    assert_eq!(edge.status()["back_pressure"]["level"], "Medium");
    let printed = edge.relay(&["status"]).out;
    assert!(printed.contains("\nback pressure  Medium\n"), "{printed}");
    let line = printed.lines().find(|line| line.contains("message_memory_use")).unwrap();
    assert!(line.ends_with("; rises at 30 and 99, falls at 50 and 10"), "{line}");

    let mut stranger = edge.connect(SCANNER);
    stranger.hello();
    let mail = "MAIL FROM:<a@contoso.example>";
    assert_eq!(stranger.say(mail), "452 4.3.1 Insufficient system resources");
    let mut server = edge.connect(SERVER);
    server.hello();
    assert_eq!(server.say(mail), "250 2.1.0 Sender OK");

    // The message that caused it is accepted nevertheless, and then the level falls.
    assert!(slow.say(".").starts_with("250 2.6.0 "));
    edge.wait_until(|status| status["back_pressure"]["level"] == "Normal");
    assert_eq!(stranger.say(mail), "250 2.1.0 Sender OK");
    for message in [
        "back pressure rises: mail is accepted from servers only",
        "back pressure falls: this resource delays no mail",
    ] {
        let line = json_line(&daemon, 0, |line| line["message"] == message);
        assert_eq!(line["resource"], "message_memory_use", "{line}");
    }
}

#[test]
fn a_full_disk_refuses_all_clients_until_a_reload_raises_its_threshold() {
    let edge = Edge::new(Mode::Userspace);
    let full = "[back_pressure]\ndisk_use = { low_to_medium = 1, medium_to_high = 2, \
                high_to_medium = 1, medium_to_low = 0 }\n";
    let empty = "[back_pressure]\ndisk_use = { low_to_medium = 99, medium_to_high = 100, \
                 high_to_medium = 98, medium_to_low = 97 }\n";
    let _daemon = edge.start_with(&edge.configuration(&format!("{full}{ARTICLE}")));
    // On every test machine some of the disk is in use; the file system reports how much.
    edge.wait_until(|status| resource(status, "disk_use").1 >= 2);
    edge.wait_until(|status| status["back_pressure"]["level"] == "High");
    for client in [SCANNER, SERVER] {
        let greeting = edge.connect(client).greeting;
        let refused = "421 4.3.2 Insufficient system resources, closing transmission channel";
        assert_eq!(greeting, refused);
    }
    assert_eq!(edge.connector("Scanners")["daemon"]["connections_refused"], 1);

    let configuration = edge.configuration(&format!("{empty}{ARTICLE}"));
    std::fs::write(edge.folder().join("relay.toml"), configuration).unwrap();
    assert_eq!(edge.relay(&["reload"]).code, 0);
    edge.wait_until(|status| resource(status, "disk_use").0 != "High");
    edge.submit("a@contoso.example", &["b@contoso.example"], "Subject: x\r\n\r\n");
}
