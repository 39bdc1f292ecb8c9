//! The verifier as its callers see it: tokens signed here, keys served over a real socket, a fixed
//! wall clock.

mod admission;
mod corpus;
mod forms;
mod ias;
mod robustness;
mod support;
mod verifier;
