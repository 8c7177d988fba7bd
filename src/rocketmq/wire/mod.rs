//! The remoting protocol on the wire: frames, headers and the loose JSON of bodies. No I/O, no client semantics.

pub mod codes;
pub mod command;
pub mod loose_json;
pub mod stored;

pub use command::{Command, MAX_FRAME_BYTES};
