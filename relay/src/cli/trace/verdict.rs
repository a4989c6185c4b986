//! The result of a message in one phrase: for the selected recipients, and for all.

use std::collections::BTreeMap;
use std::fmt;

use relay_mail::queue_id::QueueId;
use relay_queue::filter::Wildcard;
use relay_tracking::line::{TrackingLine, What};

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageVerdict {
    Delivered,
    PartlyDelivered,
    Failed,
    Waiting,
    Removed,
    /// Found damaged at a start.
    Damaged,
    /// The log has no end of the message, and it is not known whether the message waits.
    Unknown,
}

/// The results for the selected recipients and for the whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdicts {
    pub(super) asked: MessageVerdict,
    pub(super) message: MessageVerdict,
}

/// The result for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Delivered,
    Failed,
    Waiting,
}

impl Verdicts {
    /// `to` selects recipients; `None` selects all.
    pub(super) fn of(id: QueueId, lines: &[TrackingLine], to: Option<&Wildcard>) -> Self {
        let message = MessageVerdict::of_message(id, lines);
        let asked = to.and_then(|to| MessageVerdict::of_recipients(lines, to)).unwrap_or(message);
        Self { asked, message }
    }
}

impl MessageVerdict {
    fn of_message(id: QueueId, lines: &[TrackingLine]) -> Self {
        let has = |is: fn(&What) -> bool| lines.iter().any(|line| is(&line.what));
        let delivered = has(|what| matches!(what, What::Send(_) | What::Deliver(_)));
        let failed = has(|what| matches!(what, What::Fail(_)));
        if has(|what| matches!(what, What::Queued { .. })) {
            Self::Waiting
        } else if has(|what| matches!(what, What::Remove)) {
            Self::Removed
        } else if has(|what| matches!(what, What::Damaged { .. })) {
            Self::Damaged
        } else if !lines.iter().any(|line| line.is_end_of(id)) {
            Self::Unknown
        } else {
            match (delivered, failed) {
                (true, true) => Self::PartlyDelivered,
                (false, true) => Self::Failed,
                (_, false) => Self::Delivered,
            }
        }
    }

    /// `None` if no line shows the result for these recipients: a line may leave recipients out.
    fn of_recipients(lines: &[TrackingLine], to: &Wildcard) -> Option<Self> {
        let mut states = BTreeMap::new();
        for line in lines {
            let (recipients, state) = match &line.what {
                What::Send(tried) | What::Deliver(tried) => (&tried.recipients, State::Delivered),
                What::Fail(tried) => (&tried.recipients, State::Failed),
                What::Queued { recipients, .. } => (recipients, State::Waiting),
                _ => continue,
            };
            let asked = recipients.iter().filter(|recipient| to.matches_address(recipient));
            states.extend(asked.map(|recipient| (recipient, state)));
        }
        let has = |state| states.values().any(|it| *it == state);
        Some(match (has(State::Waiting), has(State::Delivered), has(State::Failed)) {
            (true, _, _) => Self::Waiting,
            (false, true, true) => Self::PartlyDelivered,
            (false, true, false) => Self::Delivered,
            (false, false, true) => Self::Failed,
            (false, false, false) => return None,
        })
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Delivered => "delivered: a next hop has accepted it",
            Self::PartlyDelivered => "delivered to some recipients, failed for others",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Removed => "removed by an administrator",
            Self::Damaged => "not delivered: found damaged in the queue",
            Self::Unknown => {
                "unknown: the log has no end of the message, and the queue does not have it"
            }
        }
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, message } = self;
        f.write_str(asked.text())?;
        if asked == message {
            return Ok(());
        }
        let others = match message {
            MessageVerdict::Waiting => "waiting for other recipients",
            MessageVerdict::Removed => "removed by an administrator for other recipients",
            MessageVerdict::Damaged => "found damaged before delivery to other recipients",
            MessageVerdict::Unknown => "the result for other recipients is not known",
            // Part of the selected recipients have the same result.
            MessageVerdict::Delivered
            | MessageVerdict::PartlyDelivered
            | MessageVerdict::Failed => "the result for other recipients differs",
        };
        write!(f, " ({others})")
    }
}

#[cfg(test)]
mod tests {
    use relay_mail::queue_id::QueueId;
    use relay_tracking::line::OutcomeGroup;

    use super::*;

    #[test]
    fn the_verdict_is_about_the_selected_recipients() {
        let id = QueueId::from_u64(7);
        let line = |what| TrackingLine { time: String::new(), id: Some(id), what };
        let tried = |recipient: &str| OutcomeGroup {
            recipients: vec![recipient.to_owned()],
            recipients_left_out: 1,
            ..OutcomeGroup::default()
        };
        let waits = What::Queued {
            due: String::new(),
            held: false,
            attempts: 1,
            recipients: vec!["busy@d.example".to_owned()],
            because: None,
            reason: None,
        };
        let settled = [
            line(What::Send(tried("ok@d.example"))),
            line(What::Defer(tried("busy@d.example"))),
            line(What::Fail(tried("gone@d.example"))),
        ];
        let waiting = [&settled[..], &[line(waits)]].concat();
        let ended = [&settled[..], &[line(What::End)]].concat();
        let removed = [&settled[..], &[line(What::Remove), line(What::End)]].concat();
        let damage = What::Damaged { because: "x".to_owned(), set_aside: None };
        let damaged = [&settled[..], &[line(damage), line(What::End)]].concat();
        for (lines, to, asked, message) in [
            (&damaged, None, MessageVerdict::Damaged, MessageVerdict::Damaged),
            (&damaged, Some("ok@*"), MessageVerdict::Delivered, MessageVerdict::Damaged),
            (&damaged, Some("busy@*"), MessageVerdict::Damaged, MessageVerdict::Damaged),
            (&waiting, None, MessageVerdict::Waiting, MessageVerdict::Waiting),
            (&waiting, Some("ok@*"), MessageVerdict::Delivered, MessageVerdict::Waiting),
            (&waiting, Some("gone@*"), MessageVerdict::Failed, MessageVerdict::Waiting),
            (&waiting, Some("busy@*"), MessageVerdict::Waiting, MessageVerdict::Waiting),
            (&waiting, Some("*"), MessageVerdict::Waiting, MessageVerdict::Waiting),
            // No line has this recipient, so the verdict is that of the message.
            (&waiting, Some("left.out@*"), MessageVerdict::Waiting, MessageVerdict::Waiting),
            (&ended, Some("gone@*"), MessageVerdict::Failed, MessageVerdict::PartlyDelivered),
            (&removed, Some("ok@*"), MessageVerdict::Delivered, MessageVerdict::Removed),
            (&removed, Some("busy@*"), MessageVerdict::Removed, MessageVerdict::Removed),
        ] {
            let to = to.map(Wildcard::new);
            let verdicts = Verdicts::of(id, lines, to.as_ref());
            assert_eq!(verdicts, Verdicts { asked, message }, "{to:?}");
        }
    }
}
