//! How a sink fails: its reply at each stage of a session, and how many times.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// A stage of a session with a scripted reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// The greeting.
    Connect,
    /// HELO or EHLO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT, of one address or of any.
    Recipient,
    /// DATA.
    Data,
    /// The end of the content.
    Content,
}

/// The scripted action of the sink.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Sends this reply; after a 421 it closes the connection.
    Reply(String),
    /// Closes the connection without a reply.
    Close,
}

/// Scripted replies; the first that matches is used. By default there are none, and all mail is
/// accepted.
#[derive(Debug, Default)]
pub struct Script {
    rules: Vec<Rule>,
    /// Extensions that are offered in addition to those of every sink.
    offers: Vec<String>,
    /// Extensions of other sinks that this one does not offer.
    withholds: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    stage: Stage,
    address: Option<String>,
    answer: Answer,
    /// The number of replies that remain.
    left: AtomicU32,
}

impl Script {
    /// Reads rules of the form `STAGE[:ADDRESS][*TIMES]=ANSWER`.
    ///
    /// `rcpt:bob@contoso.example=550 5.1.1 No such user`, `connect*2=421 4.3.2 Try later`,
    /// `content=close`. Stages: connect, helo, mail, rcpt, data, content. `offer=CHUNKING` offers
    /// another extension, `withhold=8BITMIME` omits one.
    pub fn parse<'text>(rules: impl IntoIterator<Item = &'text str>) -> Result<Self> {
        let mut script = Self::default();
        for rule in rules {
            match rule.strip_prefix("offer=") {
                Some(keyword) => script.offers.push(keyword.to_owned()),
                None if rule.starts_with("withhold=") => {
                    script.withholds.push(rule["withhold=".len()..].to_owned());
                }
                None => script.rules.push(
                    Rule::parse(rule)
                        .with_context(|| format!("`{rule}` is not a rule of a sink"))?,
                ),
            }
        }
        Ok(script)
    }

    /// Extensions that are offered in addition to those of every sink.
    pub fn offers(&self) -> &[String] {
        &self.offers
    }

    /// Is an extension of other sinks omitted?
    pub fn withholds(&self, keyword: &str) -> bool {
        self.withholds.iter().any(|withheld| withheld == keyword)
    }

    /// The reply for this stage, if the script has one left. `address` is that of RCPT.
    pub fn answer(&self, stage: Stage, address: Option<&str>) -> Option<Answer> {
        self.rules
            .iter()
            .find(|rule| rule.fits(stage, address) && rule.take())
            .map(|rule| rule.answer.clone())
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        let (place, answer) = text.split_once('=').context("it has no `=`")?;
        let (place, times) = match place.rsplit_once('*') {
            Some((place, times)) => (place, times.parse().context("TIMES is a number")?),
            None => (place, u32::MAX),
        };
        let (stage, address) = match place.split_once(':') {
            Some((stage, address)) => (stage, Some(address.to_owned())),
            None => (place, None),
        };
        let stage = match stage {
            "connect" => Stage::Connect,
            "helo" => Stage::Hello,
            "mail" => Stage::Mail,
            "rcpt" => Stage::Recipient,
            "data" => Stage::Data,
            "content" => Stage::Content,
            _ => bail!("`{stage}` is no stage"),
        };
        ensure!(address.is_none() || stage == Stage::Recipient, "only rcpt has an address");
        let answer = match answer {
            "close" => Answer::Close,
            reply => {
                let code = reply.get(..3).and_then(|code| code.parse::<u16>().ok());
                ensure!(code.is_some_and(|code| (200..600).contains(&code)), "no reply code");
                Answer::Reply(reply.to_owned())
            }
        };
        Ok(Self { stage, address, answer, left: AtomicU32::new(times) })
    }

    fn fits(&self, stage: Stage, address: Option<&str>) -> bool {
        let address_fits = match (&self.address, address) {
            (Some(wanted), Some(address)) => wanted.eq_ignore_ascii_case(address),
            (Some(_), None) => false,
            (None, _) => true,
        };
        self.stage == stage && address_fits
    }

    /// Uses up one of the replies; sessions are concurrent.
    fn take(&self) -> bool {
        let one_less = |left: u32| if left == u32::MAX { Some(left) } else { left.checked_sub(1) };
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_that_is_not_used_up_applies() {
        let script = Script::parse(["rcpt:bob@x.example*1=450 4.2.1 Busy", "rcpt=550 No"]).unwrap();
        let ask = |address| script.answer(Stage::Recipient, Some(address));
        let busy = Some(Answer::Reply("450 4.2.1 Busy".to_owned()));
        let refusal = Some(Answer::Reply("550 No".to_owned()));
        assert_eq!(ask("Bob@x.example"), busy);
        assert_eq!(ask("bob@x.example"), refusal);
        assert_eq!(ask("amy@x.example"), refusal);
        assert_eq!(script.answer(Stage::Mail, None), None);
    }

    #[test]
    fn an_invalid_rule_is_refused() {
        for text in ["", "rcpt", "quit=250 ok", "mail:a@b=250 ok", "mail*x=250 ok", "mail=hello"] {
            assert!(Script::parse([text]).is_err(), "{text}");
        }
    }
}
