//! Clients that we did not write: swaks, msmtp, and Postfix's traffic generators.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// Names the folder into which `cargo xtask setup` unpacked Postfix.
pub const POSTFIX: &str = "RELAY_POSTFIX";

/// One dialogue as swaks printed it.
#[derive(Debug)]
pub struct Transcript {
    /// Everything it printed, in order.
    pub text: String,
    /// How it ended: zero if the server took the message.
    pub status: ExitStatus,
}

impl Transcript {
    /// The server's reply lines, without swaks's marks.
    pub fn replies(&self) -> impl Iterator<Item = &str> {
        const MARKS: [&str; 4] = ["<-  ", "<** ", "<~  ", "<~* "];
        self.text.lines().filter_map(|line| MARKS.iter().find_map(|mark| line.strip_prefix(mark)))
    }

    /// What became of the message: the refusal, or the reply to the content. `None` if there was
    /// no dialogue at all.
    pub fn verdict(&self) -> Option<&str> {
        let last = || self.replies().filter(|reply| !reply.starts_with("221")).last();
        self.refusal().or_else(last)
    }

    /// The reply that swaks took for a refusal, if there was one.
    pub fn refusal(&self) -> Option<&str> {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix("<** ").or_else(|| line.strip_prefix("<~* ")))
    }
}

/// Runs swaks with `arguments`, in a namespace or where we are.
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

/// What makes msmtp encrypt, whoever the server is.
pub const MSMTP_ENCRYPTED: [&str; 3] = ["--tls=on", "--tls-certcheck=off", "--tls-trust-file="];

/// Runs msmtp with `arguments`, the recipients among them, and gives it the message.
pub fn msmtp(host: &str, port: u16, arguments: &[&str], message: &[u8]) -> Result<Output> {
    let mut command = Command::new("msmtp");
    command.args(["--file=/dev/null", "--domain=client.example", "--host", host]);
    command.args(["--port", &port.to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().context("cannot start msmtp; `cargo xtask setup` installs it")?;
    // Dropped, so that the message has an end.
    child.stdin.take().context("it has an input")?.write_all(message)?;
    Ok(child.wait_with_output()?)
}

/// `smtp-source` or `smtp-sink`, if `cargo xtask test` told us where Postfix is.
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
