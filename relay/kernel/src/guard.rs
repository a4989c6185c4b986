//! Where the guard is attached: in the driver where it can, generic otherwise, on each interface
//! of the configuration for as long as that interface exists.
//!
//! An interface may come late, go, and come again under its name; its MTU may change, which some
//! drivers bear in one mode only. So the interfaces are looked at every now and then, and what is
//! told about them is what the kernel says at that moment.

use std::fmt;
use std::io::ErrorKind;

use crate::limits::GUARD_RETRY_LOOKS;
use crate::links::{Link, Links};
use crate::{KernelError, verifier};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use relay_host::error_chain::error_chain;
use tracing::{info, warn};

/// An interface of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedInterface {
    /// The interface's name.
    pub name: String,
    /// Is the guard there?
    pub state: GuardState,
}

/// Is the guard on an interface?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// The host has no interface of this name now. The guard is attached when it comes.
    Absent,
    /// The guard is attached.
    Attached(GuardMode),
    /// The interface exists and the guard is not on it, for this reason. It is tried again.
    Refused(String),
}

/// How the guard is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardMode {
    /// In the driver: before the kernel has made anything of the frame.
    Native,
    /// In the stack, for drivers without XDP: later, and dearer for each frame.
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
    /// The kernel's number of the guard's program.
    program: u32,
    interfaces: Vec<Interface>,
}

struct Interface {
    name: String,
    attachment: Option<Attachment>,
    /// As it was told to the log last.
    told: Option<GuardState>,
    /// Looks until a refused attachment is tried again.
    pause: u32,
}

/// The guard on an interface; the kernel detaches it when the link is dropped.
struct Attachment {
    _link: FdLink,
    index: u32,
    mtu: u32,
}

/// What a look at an interface makes necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Attach,
    /// The driver checks whether it can carry frames of this size beside a program only when the
    /// program is attached.
    AttachForMtu,
    Nothing(GuardMode),
}

impl Guards {
    /// Attaches the loaded guard to the interfaces that are there.
    pub(super) fn begin(guard: &mut Xdp, names: &[String]) -> Result<Self, KernelError> {
        let links = Links::new()
            .map_err(KernelError::io("cannot ask the kernel about interfaces (AF_NETLINK)"))?;
        let program = guard.info().map_err(|error| KernelError::program("guard", &error))?.id();
        let interfaces = names
            .iter()
            .map(|name| Interface { name: name.clone(), attachment: None, told: None, pause: 0 })
            .collect();
        let mut guards = Self { links, program, interfaces };
        guards.look(guard);
        Ok(guards)
    }

    /// Attaches the guard where it should be and is not, and logs what has changed.
    pub(super) fn look(&mut self, guard: &mut Xdp) {
        let Self { links, program, interfaces } = self;
        for interface in interfaces {
            let state = interface.look(guard, links, *program);
            interface.tell(state);
        }
    }

    /// Where the guard is attached now, as the kernel says. Attaches nothing.
    pub(super) fn observe(&mut self) -> Vec<GuardedInterface> {
        let Self { links, program, interfaces } = self;
        let observe = |interface: &Interface| {
            let state = match links.find(&interface.name) {
                Err(error) => GuardState::Refused(format!("the kernel does not tell: {error}")),
                Ok(None) => GuardState::Absent,
                Ok(Some(link)) => match (link.mode_of(*program), &interface.told) {
                    (Some(mode), _) => GuardState::Attached(mode),
                    (None, Some(GuardState::Refused(why))) => GuardState::Refused(why.clone()),
                    (None, _) => GuardState::Refused("it is about to be attached".to_owned()),
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
                return GuardState::Refused(format!("the kernel does not tell: {error}"));
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
                    && let Some(refused @ GuardState::Refused(_)) = &self.told
                {
                    self.pause -= 1;
                    return refused.clone();
                }
            }
        }
        // The kernel takes one program at a time.
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
        // Another name of the configuration may be this interface's too.
        let Some(attachment) = &self.attachment else {
            return link.mode_of(program).map_or(Need::Attach, Need::Nothing);
        };
        match link.mode_of(program) {
            Some(_) if link.index == attachment.index && link.mtu != attachment.mtu => {
                Need::AttachForMtu
            }
            Some(mode) if link.index == attachment.index => Need::Nothing(mode),
            // The interface was made again, or the guard was taken off it.
            _ => Need::Attach,
        }
    }

    /// Logs the state if it is another one than before.
    fn tell(&mut self, state: GuardState) {
        if self.told.as_ref() == Some(&state) {
            return;
        }
        let interface = &self.name;
        match &state {
            GuardState::Absent => warn!(
                interface,
                "no guard: the host has no such interface; it is attached when the interface comes"
            ),
            GuardState::Attached(mode) => {
                info!(interface, %mode, "the guard is attached");
                if self.told == Some(GuardState::Attached(GuardMode::Native)) {
                    warn!(
                        interface,
                        "the guard went generic: the driver does not run it with this MTU"
                    );
                }
            }
            GuardState::Refused(why) => {
                warn!(interface, why, "no guard: it cannot be attached; it is tried again");
            }
        }
        self.told = Some(state);
    }
}

impl Link {
    /// How this program is attached here.
    fn mode_of(&self, program: u32) -> Option<GuardMode> {
        if self.native == Some(program) {
            Some(GuardMode::Native)
        } else {
            (self.generic == Some(program)).then_some(GuardMode::Generic)
        }
    }
}

/// Since this version virtio_net takes frames of several buffers in native mode. Before it, one whose
/// MTU grows beyond a page under a native program drops large frames and does not let the program
/// go again: the check that refuses the MTU is made at the removal too.
const VIRTIO_MULTI_BUFFER: (u32, u32) = (6, 3);

/// Why the guard cannot be attached to an interface.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    /// EBUSY; EEXIST if the other program is attached in the other mode, native or generic.
    #[error("another XDP program is attached to it; `ip link show` names the program")]
    OtherProgram,
    /// Without a link the guard would stay after a kill -9, with no process to detach it.
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

/// Attaches the loaded guard to this interface. Takes the program's descriptor and,
/// since Linux 5.19, no capability.
fn attach(guard: &mut Xdp, link: Link) -> Result<(FdLink, GuardMode), AttachError> {
    let native = if link.on_virtio && verifier::kernel_is_older(VIRTIO_MULTI_BUFFER) {
        None
    } else {
        // Whatever the driver's reason is, if generic mode fails too, that error is told.
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
