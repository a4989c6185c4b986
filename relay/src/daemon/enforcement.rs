//! Which settings only the guard enforces, and does the guard enforce them?
//!
//! Only the guard counts and drops SYNs. If an interface has no guard, `status`, `check` and the
//! log show this list. All other rules apply to the connections without the guard too.

use relay_config::{ClassifierMode, Config};
use relay_connector::Connector;
use relay_host::error_chain::error_chain;
use relay_kernel::{GuardState, GuardedInterface, KernelError, NotPermitted};

use super::kernel_half::InUse;

/// The part of `relay check` that is about the kernel half on this host.
#[derive(Debug, Default)]
pub struct HostCheck {
    /// The reason why the daemon would not start.
    pub error: Option<KernelError>,
    /// Warnings, one sentence each.
    pub warnings: Vec<String>,
}

/// Settings that are not enforced now, one clause each. Empty if all are enforced.
pub(super) fn not_enforced<'a>(
    interfaces: &[GuardedInterface],
    connectors: impl Iterator<Item = &'a Connector>,
) -> Vec<String> {
    let is_attached = |state: &GuardState| matches!(state, GuardState::Attached(_));
    let mut list: Vec<String> = interfaces
        .iter()
        .filter(|interface| !is_attached(&interface.state))
        .map(|interface| {
            format!("SYNs on interface {} are neither counted nor dropped", interface.name)
        })
        .collect();
    if interfaces.iter().any(|interface| is_attached(&interface.state)) {
        return list;
    }
    for connector in connectors.filter(|connector| connector.enabled) {
        let name = &connector.name;
        for (key, budget) in [
            ("syn_budget", connector.syn_budget),
            ("syn_budget_per_source", connector.syn_budget_per_source),
        ] {
            if budget.is_some() {
                list.push(format!("{key} of connector \"{name}\""));
            }
        }
        if connector.refuse && !interfaces.is_empty() {
            list.push(format!(
                "refuse of connector \"{name}\" for SYNs; its connections are refused after they \
                 are accepted"
            ));
        }
    }
    list
}

/// The configured interfaces, in a daemon without the kernel half.
pub(super) fn unguarded(names: &[String], why: &str) -> Vec<GuardedInterface> {
    let state = || GuardState::Refused(why.to_owned());
    names.iter().map(|name| GuardedInterface { name: name.clone(), state: state() }).collect()
}

/// The current state of the configured interfaces.
pub(super) fn interfaces(in_use: &InUse, names: &[String]) -> Vec<GuardedInterface> {
    match in_use {
        InUse::Kernel(kernel) => kernel.programs.interfaces(),
        InUse::Userspace(why) => unguarded(names, why),
    }
}

/// Logs the settings that are not enforced.
pub(super) fn warn(in_use: &InUse, config: &Config) {
    let interfaces = interfaces(in_use, &config.classifier.interfaces);
    for what in not_enforced(&interfaces, config.connectors().iter()) {
        tracing::warn!(what, "not enforced: the guard is not attached");
    }
}

/// Checks this host with the rights of this process, as the daemon would check it at its start.
/// Loads no program.
pub fn check(config: &Config) -> HostCheck {
    let names = &config.classifier.interfaces;
    let mode = config.classifier.mode;
    if mode == ClassifierMode::Userspace {
        return HostCheck::default();
    }
    let Some(obstacle) = relay_kernel::obstacle() else {
        let absent = relay_kernel::absent_interfaces(names);
        return HostCheck {
            error: None,
            warnings: absent
                .into_iter()
                .map(|name| {
                    format!(
                        "[classifier]: interfaces: this host does not have interface {name} now; the \
                         guard is attached when it appears"
                    )
                })
                .collect(),
        };
    };
    let why = error_chain(&obstacle);
    if mode == ClassifierMode::Kernel {
        // A process of another user does not have the capabilities of the daemon's start.
        let is_about_us =
            matches!(obstacle, KernelError::NotPermitted(NotPermitted::Capabilities(_)))
                && !rustix::process::geteuid().is_root();
        if !is_about_us {
            return HostCheck { error: Some(obstacle), warnings: Vec::new() };
        }
        let warning =
            format!("[classifier]: mode: as this process, the daemon does not start: {why}");
        return HostCheck { error: None, warnings: vec![warning] };
    }
    let list = not_enforced(&unguarded(names, &why), config.connectors().iter());
    let warnings = list
        .into_iter()
        .map(|what| format!("not enforced by a daemon started as this process: {what}; {why}"));
    HostCheck { error: None, warnings: warnings.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_kernel::GuardMode;

    fn config(connectors: &str) -> Config {
        let text = format!("hostname = \"edge1.contoso.example\"\n{connectors}");
        Config::parse(&text, "relay.toml").unwrap()
    }

    const BUDGETS: &str = r#"
[classifier]
interfaces = ["eth0", "eth1"]

[[connector]]
name = "Default"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
syn_budget = { rate = "20/s", burst = 50 }

[[connector]]
name = "Refused"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["203.0.113.0/24"]
refuse = true
"#;

    fn interface(name: &str, state: GuardState) -> GuardedInterface {
        GuardedInterface { name: name.to_owned(), state }
    }

    #[test]
    fn without_the_guard_interfaces_budgets_and_refusals_are_listed() {
        let config = config(BUDGETS);
        let connectors = || config.connectors().iter();
        let none = unguarded(&config.classifier.interfaces, "no kernel half");
        let list = not_enforced(&none, connectors());
        for (what, clause) in ["eth0", "eth1", "syn_budget of connector \"Default\"", "\"Refused\""]
            .into_iter()
            .zip(&list)
        {
            assert!(clause.contains(what), "{clause}");
        }
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn an_interface_without_guard_is_listed_beside_one_that_has_it() {
        let config = config(BUDGETS);
        let native = GuardState::Attached(GuardMode::Native);
        let mixed = [interface("eth0", native.clone()), interface("eth1", GuardState::Absent)];
        let list = not_enforced(&mixed, config.connectors().iter());
        assert_eq!(list.len(), 1);
        assert!(list[0].contains("eth1"), "{list:?}");
        let whole = [interface("eth0", native)];
        assert!(not_enforced(&whole, config.connectors().iter()).is_empty());
    }
}
