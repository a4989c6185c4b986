//! Users of our own, who can prove with AUTH who they are.
//!
//! A user's name is a [`UserName`], folded once, so that comparing two is comparing octets.

mod name;

pub use name::{UserName, UserNameError};
