//! The bounds of the message tracking log.
//!
//! As in the parent, numbers only; the module that enforces one names it.
