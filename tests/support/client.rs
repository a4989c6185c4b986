//! Clients of other projects: swaks, msmtp, and Postfix's traffic generators.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// Names the directory into which `cargo xtask setup` unpacked Postfix.
pub const POSTFIX: &str = "RELAY_POSTFIX";

/// One dialogue as swaks printed it.
#[derive(Debug)]
pub struct Transcript {
    /// All its output, in order.
    pub text: String,
    /// Its exit status: zero if the server accepted the message.
    pub status: ExitStatus,
}

impl Transcript {
    /// The server's reply lines, without swaks's marks.
    pub fn replies(&self) -> impl Iterator<Item = &str> {
        const MARKS: [&str; 4] = ["<-  ", "<** ", "<~  ", "<~* "];
        self.text.lines().filter_map(|line| MARKS.iter().find_map(|mark| line.strip_prefix(mark)))
    }

    /// The result for the message: the refusal, or the reply to the content. `None` if there was no
    /// dialogue.
    pub fn verdict(&self) -> Option<&str> {
        let last = || self.replies().filter(|reply| !reply.starts_with("221")).last();
        self.refusal().or_else(last)
    }

    /// The reply that swaks treated as a refusal, if there was one.
    pub fn refusal(&self) -> Option<&str> {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix("<** ").or_else(|| line.strip_prefix("<~* ")))
    }
}

/// Runs swaks with `arguments`, in a namespace or in ours.
pub fn swaks(place: Option<&Namespace>, arguments: &[&str]) -> Result<Transcript> {
    let mut command = Command::new("swaks");
    command.args(arguments).stdin(Stdio::null());
    let output = match place {
        Some(namespace) => namespace.output(&mut command)?,
        None => command.output().context("cannot start swaks; `cargo xtask setup` installs it")?,
    };
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Transcript { text, status: output.status })
}

/// Options by which msmtp encrypts, with any server.
pub const MSMTP_ENCRYPTED: [&str; 3] = ["--tls=on", "--tls-certcheck=off", "--tls-trust-file="];

/// Runs msmtp with `arguments`, the recipients among them, and passes it the message.
pub fn msmtp(host: &str, port: u16, arguments: &[&str], message: &[u8]) -> Result<Output> {
    let mut command = Command::new("msmtp");
    command.args(["--file=/dev/null", "--domain=client.example", "--host", host]);
    command.args(["--port", &port.to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().context("cannot start msmtp; `cargo xtask setup` installs it")?;
    // Dropped, so that the message ends.
    child.stdin.take().context("msmtp has no input")?.write_all(message)?;
    Ok(child.wait_with_output()?)
}

/// `smtp-source` or `smtp-sink`, if `cargo xtask test` set the path of Postfix.
pub fn postfix(program: &str) -> Option<Command> {
    let root = env::var_os(POSTFIX)?;
    let root = Path::new(&root);
    let mut command = Command::new(root.join("usr/sbin").join(program));
    command.env("LD_LIBRARY_PATH", root.join("usr/lib/postfix"));
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{self, Requirement};
    use crate::sink::{Script, Sink};

    #[test]
    fn swaks_delivers_to_the_sink_and_its_transcript_has_the_replies() {
        let test = "swaks_delivers_to_the_sink_and_its_transcript_has_the_replies";
        if !requirements::met(test, &[Requirement::Program("swaks")]) {
            return;
        }
        let sink = Sink::on_loopback(Script::default()).unwrap();
        let server = sink.address().to_string();
        let transcript = swaks(None, &arguments(&server, "b@fabrikam.example")).unwrap();
        assert!(transcript.status.success(), "{}", transcript.text);
        assert!(transcript.replies().any(|reply| reply.starts_with("354")));
        assert_eq!(transcript.refusal(), None);
        assert_eq!(transcript.verdict(), Some("250 2.0.0 Taken"));
        assert_eq!(sink.messages()[0].recipients[0].address, "b@fabrikam.example");
    }

    #[test]
    fn a_refusal_is_found_in_the_transcript() {
        let test = "a_refusal_is_found_in_the_transcript";
        if !requirements::met(test, &[Requirement::Program("swaks")]) {
            return;
        }
        let script = Script::parse(["rcpt=550 5.1.1 No such user"]).unwrap();
        let sink = Sink::on_loopback(script).unwrap();
        let server = sink.address().to_string();
        let transcript = swaks(None, &arguments(&server, "b@fabrikam.example")).unwrap();
        assert!(!transcript.status.success());
        assert_eq!(transcript.refusal(), Some("550 5.1.1 No such user"));
        assert_eq!(transcript.verdict(), transcript.refusal());
        assert!(sink.messages().is_empty());
    }

    fn arguments<'text>(server: &'text str, recipient: &'text str) -> [&'text str; 8] {
        [
            "--server",
            server,
            "--helo",
            "client.example",
            "--from",
            "a@contoso.example",
            "--to",
            recipient,
        ]
    }
}
