//! What may pass to the CF API, and in which form; pure, without I/O.
//!
//! Invariant: what is judged is what is sent. Callers: `proxy`, `http`.

pub mod path;
