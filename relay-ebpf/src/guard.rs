//! The guard: passes a frame to relay-common and counts the decision under its reason.
//!
//! The guard fails open. A SYN that it passes still meets the stack, the tagger and the daemon, and
//! none of them gives it a right because it passed.

use aya_ebpf::programs::XdpContext;
use relay_common::guard::{DropReason, GuardDecision, PassReason, decide};
use relay_common::packet::NotSegment;

use crate::maps::{Maps, count, count_connector, state};
use crate::reader::Frame;

#[inline(always)]
pub fn passes(context: &XdpContext) -> bool {
    let (generation, _) = state();
    let verdict = decide(&Frame::new(context), &Maps, generation);
    #[cfg(feature = "log")]
    log(context, verdict);
    match verdict {
        GuardDecision::Pass(reason) => {
            count(|counters| match reason {
                PassReason::NoConnector => &mut counters.guard_no_connector,
                PassReason::NoBinding => &mut counters.guard_no_binding,
                PassReason::NoGeneration => &mut counters.guard_no_generation,
                PassReason::NotSegment(NotSegment::Fragment) => &mut counters.guard_fragment,
                PassReason::NotSegment(NotSegment::NotIp) => &mut counters.guard_not_ip,
                PassReason::NotSegment(NotSegment::NotTcp) => &mut counters.guard_not_tcp,
                PassReason::NotSegment(NotSegment::Truncated) => &mut counters.guard_truncated,
                PassReason::NotSyn => &mut counters.guard_not_syn,
            });
            true
        }
        GuardDecision::PassConnector(connector) => {
            count_connector(connector, |counters| &mut counters.syn_seen);
            true
        }
        GuardDecision::Drop(connector, reason) => {
            count_connector(connector, |counters| &mut counters.syn_seen);
            count_connector(connector, |counters| match reason {
                DropReason::OverBudget => &mut counters.syn_over_budget,
                DropReason::OverSourceBudget => &mut counters.syn_over_source_budget,
                DropReason::Refused => &mut counters.syn_refused,
            });
            false
        }
    }
}

#[cfg(feature = "log")]
fn log(context: &XdpContext, verdict: GuardDecision) {
    use aya_log_ebpf::debug;

    match verdict {
        GuardDecision::Drop(connector, reason) => {
            debug!(context, "guard: connector {}: drop, reason {}", connector, reason as u32)
        }
        GuardDecision::PassConnector(connector) => {
            debug!(context, "guard: connector {}: pass", connector)
        }
        // One line for each frame of every flow would make the log unusable.
        GuardDecision::Pass(_) => {}
    }
}
