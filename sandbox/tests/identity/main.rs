//! The identity half of the landscape, asked over its real ports by a client that knows nothing of it.

#[cfg(test)]
mod destination;
#[cfg(test)]
mod ias;
#[cfg(test)]
mod levers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod uaa;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod xsuaa;
