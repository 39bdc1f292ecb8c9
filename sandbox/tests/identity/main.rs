//! Tests of the identity services over their real ports, with a client that shares no code with
//! them.

#[cfg(test)]
mod destination;
#[cfg(test)]
mod echo;
#[cfg(test)]
mod ias;
#[cfg(test)]
mod levers;
#[cfg(test)]
mod measured;
#[cfg(test)]
mod support;
#[cfg(test)]
mod uaa;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod xsuaa;
