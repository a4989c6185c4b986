//! The results of the witnesses for one scene, compared with the expected ones.

use std::net::{IpAddr, SocketAddr};

use relay_tests::client::Transcript;
use relay_tests::sink::Message;
use serde_json::Value;

use super::scenes::{SCENES, Scene};

/// The daemon's log line about one session.
#[derive(Debug, PartialEq)]
pub struct SessionLine {
    client: IpAddr,
    connector: String,
    decided_by: String,
}

impl SessionLine {
    /// Reads a line of the JSON log; `None` if it is about something else.
    pub fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = |name| line.get(name).and_then(Value::as_str);
        if text("message") != Some("session") {
            return None;
        }
        Some(Self {
            client: text("remote")?.parse::<SocketAddr>().ok()?.ip().to_canonical(),
            connector: text("connector")?.to_owned(),
            decided_by: text("decided_by")?.to_owned(),
        })
    }

    /// Whether the client had this address.
    pub fn is_from(&self, source: &str) -> bool {
        source.parse() == Ok(self.client)
    }
}

/// One row of the table.
pub struct Row {
    cells: [String; 5],
    /// The wrong results, a sentence each.
    pub faults: Vec<String>,
}

impl Row {
    /// Compares the results of the witnesses with the scene's expected ones.
    pub fn judge(
        scene: &Scene,
        transcript: &Transcript,
        session: Option<SessionLine>,
        message: Option<Message>,
    ) -> Self {
        let (connector, decided_by) = match &session {
            Some(session) => (session.connector.as_str(), session.decided_by.as_str()),
            // The guard dropped the SYN: the daemon did not see the connection.
            None if !scene.connects => (scene.connector, "kernel (guard)"),
            None => ("none", "none"),
        };
        let reply = transcript.verdict().unwrap_or("no connection");
        let arrived = message.as_ref().map_or("nothing".to_owned(), |message| {
            let recipients: Vec<&str> =
                message.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
            format!("{} octets for {}", message.content.len(), recipients.join(", "))
        });

        let mut faults = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                faults.push(format!("{}: {what}", scene.title));
            }
        };
        check(connector == scene.connector, format!("the connector is {connector}"));
        check(decided_by.starts_with("kernel"), format!("{decided_by} decided"));
        if scene.connects {
            check(reply.starts_with(scene.reply), format!("the reply is {reply}"));
        } else {
            check(transcript.verdict().is_none(), format!("there was a connection: {reply}"));
        }
        check(message.is_some() == scene.arrives, format!("{arrived} arrived"));
        if let Some(message) = &message {
            let right =
                message.recipients.len() == 1 && message.recipients[0].address == scene.recipient;
            check(right, format!("the recipients are {:?}", message.recipients));
            let names_connector = message.text().contains(scene.connector);
            check(names_connector, "no Received field names the connector".to_owned());
        }
        let cells = [scene.source, connector, decided_by, reply, &arrived].map(str::to_owned);
        Self { cells, faults }
    }
}

/// Compares the counters of `relay status --json` with the scenes. The guard must have refused the
/// connections without a session, and no tag may be missing or wrong.
pub fn faults_of_counters(status: &Value) -> Vec<&'static str> {
    let connectors = status["connectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |connector: &Value, side: &str, counter: &str| connector[side][counter].as_u64();
    let mut faults = Vec::new();
    for scene in SCENES.iter().filter(|scene| !scene.connects) {
        let connector = connectors.iter().find(|connector| connector["name"] == scene.connector);
        let refused = connector.and_then(|connector| count(connector, "kernel", "syn_refused"));
        if refused.is_none_or(|refused| refused == 0) {
            faults.push("the guard counted no refused SYN");
        }
    }
    if connectors.is_empty() {
        faults.push("there are no counters of connectors");
    }
    for counter in ["tags_missing", "tags_disagreeing"] {
        if connectors.iter().any(|connector| count(connector, "daemon", counter) != Some(0)) {
            faults.push("a tag was missing or wrong");
        }
    }
    faults
}

/// Prints the rows below a heading, each column as wide as its widest cell.
pub fn print_table(rows: &[Row]) {
    let heading = ["source", "connector", "classifier", "reply", "arrived at the sink"];
    let heading = heading.map(str::to_owned);
    let lines: Vec<&[String; 5]> =
        std::iter::once(&heading).chain(rows.iter().map(|row| &row.cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    for cells in &lines {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use relay_tests::sink::Path;

    use super::*;

    fn transcript(text: &str) -> Transcript {
        Transcript { text: text.to_owned(), status: ExitStatus::from_raw(0) }
    }

    fn session(connector: &str, decided_by: &str) -> Option<SessionLine> {
        let (connector, decided_by) = (connector.to_owned(), decided_by.to_owned());
        Some(SessionLine { client: SCENES[0].source.parse().unwrap(), connector, decided_by })
    }

    fn message(recipient: &str) -> Option<Message> {
        Some(Message {
            client: "10.38.10.1:40000".parse().unwrap(),
            helo: "edge1.contoso.example".to_owned(),
            sender: Path::parse("<device@contoso.example>").unwrap(),
            recipients: vec![Path::parse(&format!("<{recipient}>")).unwrap()],
            content: b"Received: from x (SMTP Relay EXCH01)\r\nSubject: x\r\n".to_vec(),
        })
    }

    #[test]
    fn a_scene_with_the_expected_results_has_no_fault() {
        let scene = &SCENES[0];
        let session = session(scene.connector, "kernel");
        let row = Row::judge(
            scene,
            &transcript("<-  250 2.6.0 Queued"),
            session,
            message(scene.recipient),
        );
        assert!(row.faults.is_empty(), "{:?}", row.faults);
    }

    #[test]
    fn each_wrong_cell_is_a_fault() {
        let scene = &SCENES[0];
        let good = || (session(scene.connector, "kernel"), message(scene.recipient));
        let faults = |transcript: &str, session, message| {
            Row::judge(scene, &self::transcript(transcript), session, message).faults.len()
        };
        let taken = "<-  250 2.6.0 Queued";
        assert_eq!(faults("<** 550 5.7.54 No", good().0, good().1), 1);
        assert_eq!(faults(taken, session("Scanners", "kernel"), good().1), 1);
        assert_eq!(faults(taken, session(scene.connector, "daemon"), good().1), 1);
        assert_eq!(faults(taken, good().0, None), 1);
        assert_eq!(faults(taken, good().0, message("eve@fabrikam.example")), 1);
        assert_eq!(faults(taken, None, good().1), 2);
    }

    #[test]
    fn a_refused_address_that_gets_through_is_a_fault() {
        let scene = SCENES.iter().find(|scene| !scene.connects).unwrap();
        assert!(
            Row::judge(scene, &transcript("*** Error connecting"), None, None).faults.is_empty()
        );
        let greeted = transcript("<-  220 edge1.contoso.example");
        assert_eq!(Row::judge(scene, &greeted, None, None).faults.len(), 1);
    }

    #[test]
    fn counters_that_contradict_the_scenes_are_faults() {
        let status = |refused: u64, missing: u64| {
            serde_json::json!({ "connectors": [{
                "name": "Refused",
                "kernel": { "syn_refused": refused },
                "daemon": { "tags_missing": missing, "tags_disagreeing": 0 },
            }] })
        };
        assert!(faults_of_counters(&status(1, 0)).is_empty());
        assert_eq!(faults_of_counters(&status(0, 0)).len(), 1);
        assert_eq!(faults_of_counters(&status(1, 1)).len(), 1);
        assert_eq!(faults_of_counters(&Value::Null).len(), 2);
    }

    #[test]
    fn only_a_line_about_a_session_is_a_session_line() {
        let line = r#"{"message":"session","remote":"[::ffff:10.38.96.15]:4000",
            "connector":"Scanners","decided_by":"kernel"}"#;
        let session = SessionLine::parse(line).unwrap();
        assert!(session.is_from("10.38.96.15") && !session.is_from("10.38.96.1"));
        assert_eq!(SessionLine::parse(r#"{"message":"ready"}"#), None);
        assert_eq!(SessionLine::parse("ready"), None);
    }
}
