//! Attaches the guard to an interface: in the driver where it can, generic otherwise.

use std::fmt;

use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};

use super::KernelError;

/// An interface that the guard watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedInterface {
    /// The interface's name.
    pub name: String,
    /// How the guard is attached.
    pub mode: GuardMode,
}

/// How the guard is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardMode {
    /// In the driver: before the kernel has made anything of the frame.
    Native,
    /// In the stack, for drivers without XDP: later, and dearer for each frame.
    Generic,
}

/// The link; the kernel detaches the guard when it is dropped.
pub(super) type GuardLink = FdLink;

impl fmt::Display for GuardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Attaches the loaded guard to this interface.
pub(super) fn attach(
    guard: &mut Xdp,
    name: &str,
) -> Result<(GuardLink, GuardedInterface), KernelError> {
    let failed =
        |source| KernelError::Guard { interface: name.to_owned(), source: Box::new(source) };
    let (link, mode) = match guard.attach(name, XdpMode::Driver) {
        Ok(link) => (link, GuardMode::Native),
        // Whatever the driver's reason is, if generic mode fails too, that error is told.
        Err(_) => (guard.attach(name, XdpMode::Skb).map_err(failed)?, GuardMode::Generic),
    };
    let link = guard.take_link(link).map_err(failed)?;
    // Kernels without XDP links would keep the guard after a kill -9, with nobody to lift it.
    let link =
        FdLink::try_from(link).map_err(|_| KernelError::GuardWithoutLink(name.to_owned()))?;
    Ok((link, GuardedInterface { name: name.to_owned(), mode }))
}
