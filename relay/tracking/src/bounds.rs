//! How long may a line of the log be? A line counts what was left out of it.
//!
//! A line has all events of a message of usual size. Addresses of 300 octets and hundreds of
//! recipients make a line a hundred times as long, and a sender may choose both. So there is a
//! bound for each line, and a smaller bound for sources that have used up their share of the log.

use crate::limits::{
    TRACKED_LINE_OCTETS, TRACKED_SHORT_ATTEMPTS, TRACKED_SHORT_OCTETS, TRACKED_SHORT_TEXT_OCTETS,
    TRACKED_TEXT_OCTETS,
};
use crate::line::{DecisionLine, OutcomeGroup, ReceiveLine, RefusedLine, TrackingLine, What};
use relay_message::identity::bounded;

/// The amount of detail of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventDetail {
    /// At most [`TRACKED_LINE_OCTETS`].
    Whole,
    /// At most [`TRACKED_SHORT_OCTETS`].
    Short,
}

impl EventDetail {
    /// Octets of addresses and decisions in a line.
    const fn octets(self) -> usize {
        match self {
            Self::Whole => TRACKED_LINE_OCTETS,
            Self::Short => TRACKED_SHORT_OCTETS,
        }
    }

    /// Octets of one text.
    const fn text(self) -> usize {
        match self {
            Self::Whole => TRACKED_TEXT_OCTETS,
            Self::Short => TRACKED_SHORT_TEXT_OCTETS,
        }
    }
}

impl TrackingLine {
    /// The same line within the bounds of this form. Lines of late attempts are always short: a
    /// message that waits for days has hundreds of attempts.
    pub(super) fn within(mut self, form: EventDetail) -> Self {
        match &mut self.what {
            What::Receive(received) => received.bound(form),
            What::Send(tried) | What::Deliver(tried) | What::Defer(tried) | What::Fail(tried) => {
                let is_late = tried.attempt.is_some_and(|number| number > TRACKED_SHORT_ATTEMPTS);
                tried.bound(if is_late { EventDetail::Short } else { form });
            }
            What::Dsn { sender, recipients, recipients_left_out, .. } => {
                bound(sender, form.text());
                *recipients_left_out += bound_list(recipients, form);
            }
            What::Refuse(refused) | What::Abort(refused) => refused.bound(form),
            What::Hold
            | What::Release
            | What::Remove
            | What::Retry
            | What::Damaged { .. }
            | What::End
            | What::Suppressed { .. }
            | What::Lost { .. }
            | What::Opened
            | What::Closed { .. }
            | What::Queued { .. } => {}
        }
        self
    }
}

impl ReceiveLine {
    fn bound(&mut self, form: EventDetail) {
        let text = form.text();
        bound(&mut self.sender, text);
        for field in [
            &mut self.user,
            &mut self.hello,
            &mut self.client_certificate,
            &mut self.submitter,
            &mut self.message_id,
            &mut self.from,
            &mut self.checks,
        ] {
            bound_option(field, text);
        }
        // The last decision is the end of data, which has the result of the message.
        let end = self.decisions.pop();
        let mut room = form.octets();
        let mut kept = Vec::new();
        for mut decision in self.decisions.drain(..) {
            decision.bound(text);
            let octets = decision.octets();
            if octets > room {
                room = 0;
                let recipients = u32::try_from(decision.also.len()).unwrap_or(u32::MAX);
                let left_out = recipients.saturating_add(1);
                self.decisions_left_out = self.decisions_left_out.saturating_add(left_out);
                continue;
            }
            room -= octets;
            let left_out = bound_also(&mut decision.also, &mut room);
            self.decisions_left_out = self.decisions_left_out.saturating_add(left_out);
            kept.push(decision);
        }
        self.decisions = kept;
        if let Some(mut end) = end {
            end.bound(text);
            let left_out = bound_also(&mut end.also, &mut room);
            self.decisions_left_out = self.decisions_left_out.saturating_add(left_out);
            self.decisions.push(end);
        }
    }
}

/// Quotes, commas and names of JSON, approximately.
const PER_TEXT: usize = 4;

impl DecisionLine {
    fn bound(&mut self, text: usize) {
        bound(&mut self.reply, text);
        bound_option(&mut self.recipient, text);
        bound_option(&mut self.found, text);
        self.also.iter_mut().for_each(|recipient| bound(recipient, text));
    }

    /// Octets without further recipients, approximately.
    fn octets(&self) -> usize {
        const NAMES: usize = 60;
        let texts = [self.recipient.as_deref(), self.rule.as_deref(), self.found.as_deref()];
        NAMES + self.reply.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    }
}

impl OutcomeGroup {
    fn bound(&mut self, form: EventDetail) {
        self.recipients_left_out += bound_list(&mut self.recipients, form);
        for field in [
            &mut self.next_hop,
            &mut self.server,
            &mut self.reply,
            &mut self.because,
            &mut self.tls,
        ] {
            bound_option(field, form.text());
        }
    }
}

impl RefusedLine {
    fn bound(&mut self, form: EventDetail) {
        self.recipients_left_out += bound_list(&mut self.recipients, form);
        for field in [
            &mut self.user,
            &mut self.hello,
            &mut self.sender,
            &mut self.message_id,
            &mut self.from,
            &mut self.reply,
            &mut self.found,
        ] {
            bound_option(field, form.text());
        }
    }
}

fn bound(text: &mut String, most: usize) {
    if text.len() > most {
        *text = bounded(std::mem::take(text), most);
    }
}

fn bound_option(text: &mut Option<String>, most: usize) {
    if let Some(text) = text {
        bound(text, most);
    }
}

/// Keeps as many addresses as fit; returns the number of those left out.
fn bound_also(list: &mut Vec<String>, room: &mut usize) -> u32 {
    let all = list.len();
    let fits = |text: &&String| {
        let rest = room.checked_sub(text.len() + PER_TEXT);
        *room = rest.unwrap_or(0);
        rest.is_some()
    };
    let kept = list.iter().take_while(fits).count();
    list.truncate(kept);
    u32::try_from(all - kept).unwrap_or(u32::MAX)
}

/// Bounds a list of addresses; returns the number of those left out. At least one stays.
fn bound_list(list: &mut Vec<String>, form: EventDetail) -> u64 {
    list.iter_mut().for_each(|text| bound(text, form.text()));
    if list.is_empty() {
        return 0;
    }
    let mut room = form.octets().saturating_sub(list[0].len());
    let mut others = list.split_off(1);
    let left_out = bound_also(&mut others, &mut room);
    list.append(&mut others);
    left_out.into()
}
