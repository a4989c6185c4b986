//! Why did the kernel refuse a program? One sentence for people, and the verifier's complete log
//! for `debug`.

use std::io;

use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};
use relay_host::error_chain::error_chain;

/// Oldest kernel with all features of the programs: multi-buffer XDP exists since 5.18, the cookie
/// of the network namespace in sock_ops since 5.15.
const OLDEST: (u32, u32) = (5, 18);

/// Why this program was refused. Its log goes to the daemon's log at `debug`.
pub(super) fn reason(program: &str, error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            refused(program, io_error, &verifier_log.to_string())
        }
        error => error_chain(error),
    }
}

/// The same for the whole object: its types and its maps.
pub(super) fn reason_of_object(error: &EbpfError) -> String {
    match error {
        EbpfError::BtfError(BtfError::LoadError { io_error, verifier_log }) => {
            refused("types", io_error, &verifier_log.to_string())
        }
        error => error_chain(error),
    }
}

fn refused(what: &str, error: &io::Error, log: &str) -> String {
    for line in log.lines() {
        tracing::debug!(what, "verifier: {line}");
    }
    match last_words(log) {
        Some(words) => format!("{error}; verifier: {words}"),
        None => error.to_string(),
    }
}

/// The last line that is not an instruction, a state of registers or statistics: the objection.
fn last_words(log: &str) -> Option<&str> {
    log.lines().rev().map(str::trim).find(|line| {
        let is_instruction = || {
            let number = line.split([':', ' ']).next().unwrap_or_default();
            !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit())
        };
        let is_statistics = || {
            ["processed ", "verification time ", "stack depth ", "mark_precise", "from "]
                .iter()
                .any(|start| line.starts_with(start))
        };
        // "R1=ctx(off=0) R10=fp0" is a state, "R1 pointer arithmetic prohibited" is not.
        let is_state = || line.starts_with('R') && line.contains('=') && line.contains("R10=");
        !line.is_empty()
            && !line.starts_with(';')
            && !is_instruction()
            && !is_statistics()
            && !is_state()
    })
}

/// The release of this kernel, if it is older than the programs need.
pub(super) fn too_old() -> Option<String> {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    is_older(&release, OLDEST).then(|| release.into_owned())
}

/// Is this kernel older than the version?
pub(super) fn kernel_is_older(version: (u32, u32)) -> bool {
    is_older(&rustix::system::uname().release().to_string_lossy(), version)
}

fn is_older(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < version,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::verifier::*;

    #[test]
    fn the_objection_is_found_in_a_verifier_log() {
        let without_perfmon = "\
            func#0 @0\n0: R1=ctx(off=0,imm=0) R10=fp0\n; fn tag() @ tagger.rs:23\n\
            0: (61) r2 = *(u32 *)(r1 +0)\n12: (0f) r3 += r2\n\
            R3 pointer arithmetic on fp prohibited for !root\n\
            processed 13 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(
            last_words(without_perfmon),
            Some("R3 pointer arithmetic on fp prohibited for !root")
        );
        let too_old = "unknown func bpf_get_netns_cookie#122\nprocessed 5 insns (limit 1)\n\n";
        assert_eq!(last_words(too_old), Some("unknown func bpf_get_netns_cookie#122"));
        assert_eq!(last_words(""), None);
        assert_eq!(last_words("0: (95) exit\nprocessed 1 insns"), None);
    }

    #[test]
    fn the_release_tells_whether_the_kernel_is_too_old() {
        let too_old = |release| is_older(release, OLDEST);
        assert!(too_old("5.10.0-46-amd64") && too_old("5.17.99") && too_old("4.19.0"));
        assert!(!too_old("5.18.0") && !too_old("6.1.0-57-amd64") && !too_old("7.3.4+deb13"));
        assert!(!too_old("unknown"));
    }
}
