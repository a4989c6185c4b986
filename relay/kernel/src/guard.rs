//! The attachment of the guard: in the driver if possible, otherwise in generic mode, on each
//! configured interface while the interface exists.
//!
//! An interface may appear late, disappear, and appear again under its name. Its MTU may change,
//! which some drivers support only in one mode. So the interfaces are checked regularly, and their
//! reported state is the state that the kernel reports at that moment.

use std::fmt;
use std::io::ErrorKind;

use crate::limits::GUARD_RETRY_LOOKS;
use crate::links::{Link, Links};
use crate::{KernelError, verifier};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use relay_host::error_chain::error_chain;
use tracing::{info, warn};

/// A configured interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedInterface {
    /// The interface's name.
    pub name: String,
    /// Is the guard attached?
    pub state: GuardState,
}

/// The state of the guard on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// The host has no interface of this name now. The guard is attached when it appears.
    Absent,
    /// The guard is attached.
    Attached(GuardMode),
    /// The interface exists but the guard is not attached, for this reason. The daemon tries again.
    Refused(String),
}

/// The mode of the attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardMode {
    /// In the driver: before the kernel processes the frame.
    Native,
    /// In the stack, for drivers without XDP: later, and at a higher cost for each frame.
    Generic,
}

impl fmt::Display for GuardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl fmt::Display for GuardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent: the host has no such interface now"),
            Self::Attached(mode) => mode.fmt(f),
            Self::Refused(why) => write!(f, "not attached: {why}"),
        }
    }
}

/// The interfaces, and the guard's links to them. Dropping it detaches the guard.
pub(super) struct Guards {
    links: Links,
    /// The kernel's number of the guard program.
    program: u32,
    interfaces: Vec<Interface>,
}

struct Interface {
    name: String,
    attachment: Option<Attachment>,
    /// The last logged state.
    logged: Option<GuardState>,
    /// Checks until a refused attachment is tried again.
    pause: u32,
}

/// The guard on an interface; when the link is dropped, the kernel detaches the guard.
struct Attachment {
    _link: FdLink,
    index: u32,
    mtu: u32,
}

/// The necessary change of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Attach,
    /// The driver checks whether it supports frames of this size together with a program only when
    /// the program is attached.
    AttachForMtu,
    Nothing(GuardMode),
}

impl Guards {
    /// Attaches the loaded guard to the existing interfaces.
    pub(super) fn begin(guard: &mut Xdp, names: &[String]) -> Result<Self, KernelError> {
        let links = Links::new()
            .map_err(KernelError::io("cannot ask the kernel about interfaces (AF_NETLINK)"))?;
        let program = guard.info().map_err(|error| KernelError::program("guard", &error))?.id();
        let interfaces = names
            .iter()
            .map(|name| Interface { name: name.clone(), attachment: None, logged: None, pause: 0 })
            .collect();
        let mut guards = Self { links, program, interfaces };
        guards.look(guard);
        Ok(guards)
    }

    /// Attaches the guard to configured interfaces without it, and logs changes.
    pub(super) fn look(&mut self, guard: &mut Xdp) {
        let Self { links, program, interfaces } = self;
        for interface in interfaces {
            let state = interface.look(guard, links, *program);
            interface.log_change(state);
        }
    }

    /// The kernel's state of the guard now. Attaches nothing.
    pub(super) fn observe(&mut self) -> Vec<GuardedInterface> {
        let Self { links, program, interfaces } = self;
        let observe = |interface: &Interface| {
            let state = match links.find(&interface.name) {
                Err(error) => {
                    GuardState::Refused(format!("cannot read the state from the kernel: {error}"))
                }
                Ok(None) => GuardState::Absent,
                Ok(Some(link)) => match (link.mode_of(*program), &interface.logged) {
                    (Some(mode), _) => GuardState::Attached(mode),
                    (None, Some(GuardState::Refused(why))) => GuardState::Refused(why.clone()),
                    (None, _) => GuardState::Refused("attaching is in progress".to_owned()),
                },
            };
            GuardedInterface { name: interface.name.clone(), state }
        };
        interfaces.iter().map(observe).collect()
    }
}

impl Interface {
    fn look(&mut self, guard: &mut Xdp, links: &mut Links, program: u32) -> GuardState {
        let link = match links.find(&self.name) {
            Ok(Some(link)) => link,
            Ok(None) => {
                self.attachment = None;
                self.pause = 0;
                return GuardState::Absent;
            }
            Err(error) => {
                return GuardState::Refused(format!(
                    "cannot read the state from the kernel: {error}"
                ));
            }
        };
        match self.need(link, program) {
            Need::Nothing(mode) => return GuardState::Attached(mode),
            Need::AttachForMtu => {
                info!(
                    interface = self.name,
                    mtu = link.mtu,
                    "the MTU has changed; the guard is attached again"
                );
            }
            Need::Attach => {
                if self.pause > 0
                    && let Some(refused @ GuardState::Refused(_)) = &self.logged
                {
                    self.pause -= 1;
                    return refused.clone();
                }
            }
        }
        // The kernel accepts one program at a time.
        self.attachment = None;
        match attach(guard, link) {
            Ok((attached, mode)) => {
                self.attachment =
                    Some(Attachment { _link: attached, index: link.index, mtu: link.mtu });
                GuardState::Attached(mode)
            }
            Err(error) => {
                self.pause = GUARD_RETRY_LOOKS;
                GuardState::Refused(error_chain(&error))
            }
        }
    }

    fn need(&self, link: Link, program: u32) -> Need {
        // The interface may have two names in the configuration.
        let Some(attachment) = &self.attachment else {
            return link.mode_of(program).map_or(Need::Attach, Need::Nothing);
        };
        match link.mode_of(program) {
            Some(_) if link.index == attachment.index && link.mtu != attachment.mtu => {
                Need::AttachForMtu
            }
            Some(mode) if link.index == attachment.index => Need::Nothing(mode),
            // The interface was created again, or the guard was removed from it.
            _ => Need::Attach,
        }
    }

    /// Logs the state if it has changed.
    fn log_change(&mut self, state: GuardState) {
        if self.logged.as_ref() == Some(&state) {
            return;
        }
        let interface = &self.name;
        match &state {
            GuardState::Absent => warn!(
                interface,
                "no guard: the host has no such interface; the guard is attached when the interface appears"
            ),
            GuardState::Attached(mode) => {
                info!(interface, %mode, "the guard is attached");
                if self.logged == Some(GuardState::Attached(GuardMode::Native)) {
                    warn!(
                        interface,
                        "the guard changed to generic mode: the driver does not support it with this MTU"
                    );
                }
            }
            GuardState::Refused(why) => {
                warn!(interface, why, "the guard cannot be attached; trying again");
            }
        }
        self.logged = Some(state);
    }
}

impl Link {
    /// The mode of this program on this interface.
    fn mode_of(&self, program: u32) -> Option<GuardMode> {
        if self.native == Some(program) {
            Some(GuardMode::Native)
        } else {
            (self.generic == Some(program)).then_some(GuardMode::Generic)
        }
    }
}

/// From this version on, virtio_net accepts frames of several buffers in native mode. In earlier
/// versions, an interface whose MTU grows beyond a page under a native program drops large frames
/// and refuses to remove the program, because the check of the MTU runs at the removal too.
const VIRTIO_MULTI_BUFFER: (u32, u32) = (6, 3);

/// Why the guard cannot be attached to an interface.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    /// EBUSY; EEXIST if the other program is attached in the other mode, native or generic.
    #[error("another XDP program is attached to it; `ip link show` names the program")]
    OtherProgram,
    /// Without a link the guard would stay attached after a kill -9, without a process that detaches
    /// it.
    #[error("the kernel has no links for XDP (Linux 5.9 has)")]
    NoLinks,
    #[error(transparent)]
    Program(ProgramError),
}

impl From<ProgramError> for AttachError {
    fn from(error: ProgramError) -> Self {
        use ErrorKind::{AlreadyExists, ResourceBusy};
        match &error {
            ProgramError::SyscallError(call)
                if matches!(call.io_error.kind(), ResourceBusy | AlreadyExists) =>
            {
                Self::OtherProgram
            }
            _ => Self::Program(error),
        }
    }
}

/// Attaches the loaded guard to this interface. Needs the program's descriptor and, since Linux
/// 5.19, no capability.
fn attach(guard: &mut Xdp, link: Link) -> Result<(FdLink, GuardMode), AttachError> {
    let native = if link.on_virtio && verifier::kernel_is_older(VIRTIO_MULTI_BUFFER) {
        None
    } else {
        // If generic mode fails too, its error is reported, regardless of the driver's.
        guard.attach_to_if_index(link.index, XdpMode::Driver).ok()
    };
    let (link, mode) = match native {
        Some(attached) => (attached, GuardMode::Native),
        None => (guard.attach_to_if_index(link.index, XdpMode::Skb)?, GuardMode::Generic),
    };
    let link = guard.take_link(link)?;
    let link = FdLink::try_from(link).map_err(|_| AttachError::NoLinks)?;
    Ok((link, mode))
}
