//! The verifier as its callers see it: tokens signed in the test, keys over a real socket, a fixed
//! clock.

mod admission;
mod corpus;
mod forms;
mod ias;
mod robustness;
mod support;
mod verifier;
