//! Support for tests of whole behaviours.
