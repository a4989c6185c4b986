//! Kernel or daemon: which classifier is in use, by `classifier.mode`.
//!
//! `auto` selects the kernel if it can be used. Otherwise the log has the reason in one line.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use relay_config::ClassifierMode;
use relay_host::error_chain::error_chain;
use relay_kernel::classifier::Classifier;
use relay_kernel::{
    BucketReader, CounterReader, GuardState, GuardedInterface, KernelError, KernelHalf, KernelLog,
    KernelSettings, Programs,
};
use relay_policy::Rules;
use tracing::{error, info, warn};

/// The classifier, and its state for `status`.
pub(super) struct ChosenClassifier {
    pub(super) classifier: Classifier,
    pub(super) in_use: InUse,
    pub(super) attached: Attached,
}

/// The classifier in use.
pub(super) enum InUse {
    /// The kernel.
    Kernel(Box<Kernel>),
    /// The daemon, for this reason.
    Userspace(String),
}

/// The kernel half in use.
pub(super) struct Kernel {
    pub(super) counters: CounterReader,
    pub(super) buckets: BucketReader,
    pub(super) programs: Attachment,
    pub(super) self_test: String,
    pub(super) cgroup: PathBuf,
    pub(super) pins: Result<PathBuf, KernelError>,
}

/// Resources that must live as long as the daemon.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) programs: Attachment,
    pub(super) log: Option<KernelLog>,
}

/// The attached programs, if any. `status` reads their state, a task attaches them to new
/// interfaces, and the end of the daemon detaches them.
#[derive(Clone, Default)]
pub(super) struct Attachment(Arc<Mutex<Option<Programs>>>);

impl Attachment {
    /// The interfaces with an attached guard.
    pub(super) fn interfaces(&self) -> Vec<GuardedInterface> {
        let mut programs = self.0.lock();
        programs.as_mut().map(Programs::interfaces).unwrap_or_default()
    }

    /// Attaches the guard to configured interfaces that do not have it. Blocks as long as a driver
    /// needs.
    pub(super) fn check_interfaces(&self) {
        let mut programs = self.0.lock();
        if let Some(Err(error)) = programs.as_mut().map(Programs::check_interfaces) {
            error!(%error, "cannot check the guard's interfaces");
        }
    }

    /// Changes the owner of the pins to the daemon's user.
    pub(super) fn change_owner_of_pins(&self, user: u32) -> io::Result<()> {
        let programs = self.0.lock();
        programs.as_ref().map_or(Ok(()), |programs| programs.change_owner_of_pins(user))
    }

    /// Detaches the programs and removes their pins.
    pub(super) fn detach(&self) {
        let programs = self.0.lock().take();
        drop(programs);
    }
}

impl InUse {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "kernel",
            Self::Userspace(_) => "daemon",
        }
    }
}

/// Loads the kernel half if the mode requires it, and puts the rules in force.
///
/// # Errors
///
/// The mode is `kernel` and the kernel half cannot be used.
pub(super) fn load_or_fall_back(
    settings: &relay_config::ClassifierConfig,
    owner: Option<u32>,
    self_test: u32,
    rules: Arc<Rules>,
) -> Result<ChosenClassifier, KernelError> {
    if settings.mode == ClassifierMode::Userspace {
        return Ok(userspace(rules, "classifier.mode is \"userspace\"".to_owned()));
    }
    let kernel = KernelSettings {
        interfaces: settings.interfaces.clone(),
        pin_directory: settings.pin_directory.clone(),
        pin_owner: owner,
    };
    let loaded = KernelHalf::load(&kernel, self_test)
        .and_then(|half| with_kernel(half, Arc::clone(&rules), settings.cross_check));
    match loaded {
        Ok(chosen) => match unattached(&chosen).filter(|_| settings.mode == ClassifierMode::Kernel)
        {
            Some(error) => Err(error),
            None => Ok(chosen),
        },
        // Two instances with one pin directory are an error of configuration. Falling back to the
        // other classifier would hide it.
        Err(error @ KernelError::PinDirectoryInUse(_)) => Err(error),
        Err(error) if settings.mode == ClassifierMode::Auto => {
            let error = error_chain(&error);
            warn!(
                error,
                "the kernel half is not in use; the daemon's own table classifies connections"
            );
            Ok(userspace(rules, error))
        }
        Err(error) => Err(error),
    }
}

/// The first interface that exists and has no guard.
fn unattached(chosen: &ChosenClassifier) -> Option<KernelError> {
    chosen.attached.programs.interfaces().into_iter().find_map(|interface| match interface.state {
        GuardState::Refused(why) => Some(KernelError::Guard { interface: interface.name, why }),
        GuardState::Absent | GuardState::Attached(_) => None,
    })
}

fn userspace(rules: Arc<Rules>, why: String) -> ChosenClassifier {
    ChosenClassifier {
        classifier: Classifier::userspace(rules),
        in_use: InUse::Userspace(why),
        attached: Attached::default(),
    }
}

fn with_kernel(
    half: KernelHalf,
    rules: Arc<Rules>,
    cross_check: bool,
) -> Result<ChosenClassifier, KernelError> {
    let KernelHalf { publisher, tags, counters, buckets, self_test, cgroup, pins, log, programs } =
        half;
    info!(cgroup = %cgroup.display(), "{self_test}");
    match &pins {
        Ok(directory) => info!(directory = %directory.display(), "programs and maps are pinned"),
        Err(error) => warn!(%error, "programs and maps are not pinned; bpftool finds them by name"),
    }
    let programs = Attachment(Arc::new(Mutex::new(Some(programs))));
    let classifier = Classifier::kernel(rules, tags, publisher, cross_check)?;
    let kernel = Kernel {
        counters,
        buckets,
        programs: programs.clone(),
        self_test: self_test.to_string(),
        cgroup,
        pins,
    };
    Ok(ChosenClassifier {
        classifier,
        in_use: InUse::Kernel(Box::new(kernel)),
        attached: Attached { programs, log },
    })
}
