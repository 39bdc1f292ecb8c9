//! The parts of the landscape, and values that exist once for each part. Invariant: a part has one
//! name in the journal, in levers and in errors. Used everywhere.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A service of the landscape. The address of the levers is not a part, so it cannot be made to
/// fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The Destination service.
    Destination,
    /// The XSUAA of the broker's subaccount.
    Xsuaa,
    /// The UAA of the CF foundation.
    Uaa,
    /// The CF API.
    Cf,
    /// The Identity Authentication tenant.
    Ias,
}

impl Part {
    /// Every part, in the order of the ports.
    pub const ALL: [Self; 5] = [Self::Destination, Self::Xsuaa, Self::Uaa, Self::Cf, Self::Ias];

    /// Returns the name used in the journal and by levers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Xsuaa => "xsuaa",
            Self::Uaa => "uaa",
            Self::Cf => "cf",
            Self::Ias => "ias",
        }
    }

    /// Finds a part by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// One value for each part.
#[derive(Debug, Default)]
pub(crate) struct PerPart<T> {
    pub(crate) destination: T,
    pub(crate) xsuaa: T,
    pub(crate) uaa: T,
    pub(crate) cf: T,
    pub(crate) ias: T,
}

impl<T> PerPart<T> {
    /// Returns the value of one part.
    pub(crate) fn of(&self, part: Part) -> &T {
        match part {
            Part::Destination => &self.destination,
            Part::Xsuaa => &self.xsuaa,
            Part::Uaa => &self.uaa,
            Part::Cf => &self.cf,
            Part::Ias => &self.ias,
        }
    }
}

/// The addresses of the landscape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) destination: SocketAddr,
    pub(crate) xsuaa: SocketAddr,
    pub(crate) uaa: SocketAddr,
    pub(crate) cf: SocketAddr,
    pub(crate) ias: SocketAddr,
    pub(crate) levers: SocketAddr,
}

impl Addresses {
    /// Returns the base address of a part, without a trailing slash.
    pub(crate) fn url(&self, part: Part) -> String {
        let address = match part {
            Part::Destination => self.destination,
            Part::Xsuaa => self.xsuaa,
            Part::Uaa => self.uaa,
            Part::Cf => self.cf,
            Part::Ias => self.ias,
        };
        format!("http://{address}")
    }
}

/// Locks a mutex. A mutex that a panicking test left behind is still good, because no update here
/// takes two statements.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
