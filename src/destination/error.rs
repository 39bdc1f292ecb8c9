//! Why there is no destination. What callers may be told stands in the variants; nothing quotes a
//! value.

use crate::{
    binding::BindingError, oauth::IdentityError, upstream::UpstreamError,
    upstream::body::DecodeError,
};
use std::{io::ErrorKind, path::PathBuf, time::Duration};

/// Why a destination cannot be had now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Not there (404), or no source at all.
    #[error("destination {name} does not exist")]
    Missing {
        /// The name that was looked for.
        name: String,
        /// Where it was looked for.
        tried: String,
    },
    /// Every finding at once; no request to UAA is made.
    #[error("destination {name} is invalid: {}", findings.join("; "))]
    Invalid {
        /// Name of the destination.
        name: String,
        /// What is wrong, each with what to do where that is not plain.
        findings: Vec<String>,
    },
    /// The service is down and nothing (fresh enough) is cached.
    #[error("destination service unavailable")]
    Unavailable {
        /// Name of the destination.
        name: String,
        /// When asking again makes sense.
        retry_after: Duration,
    },
}

impl DestinationError {
    /// Tells whether waiting may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Missing { .. } | Self::Invalid { .. } => false,
        }
    }

    /// Returns how long to wait before asking again, where waiting may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Missing { .. } | Self::Invalid { .. } => None,
        }
    }
}

/// Why the room cannot start; each of them is bad configuration (exit code 78).
#[derive(Debug, thiserror::Error)]
pub enum DestinationSetupError {
    /// The file that the settings name cannot be read.
    #[error("destination.file names {}, which cannot be read: {kind}", path.display())]
    FileUnreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the file system said.
        kind: ErrorKind,
    },
    /// The file is neither JSON nor Java properties.
    #[error("destination file {} is not readable: {error}", path.display())]
    FileMalformed {
        /// The path as it was given.
        path: PathBuf,
        /// Place and kind.
        error: DestinationFileError,
    },
    /// The variable `destinations` is no JSON array of objects.
    #[error("variable destinations is not readable: {0}")]
    VariableMalformed(DecodeError),
    /// Several user-provided services could be meant, and the like.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The binding's certificate or key cannot be used.
    #[error("the X.509 credential of binding {binding} cannot be used")]
    Identity {
        /// Name of the binding.
        binding: String,
        /// What the TLS layer said.
        #[source]
        source: IdentityError,
    },
    /// The binding's certificate and key do not fit each other.
    #[error("certificate and key of binding {binding} do not fit each other")]
    Mismatch {
        /// Name of the binding.
        binding: String,
        /// What the TLS layer said.
        #[source]
        source: UpstreamError,
    },
    /// No HTTP client could be made.
    #[error("no client for the Destination service")]
    Client(#[from] UpstreamError),
}

impl DestinationSetupError {
    /// Tells what an operator does about it.
    pub fn hint(&self) -> String {
        match self {
            Self::FileUnreadable { .. } => "correct destination.file, or leave it out".to_owned(),
            Self::FileMalformed { .. } => {
                "export the destination again, as Properties or JSON".to_owned()
            }
            Self::VariableMalformed(_) => {
                "destinations is a JSON array of objects with name or Name".to_owned()
            }
            Self::Binding(error) => error.hint(),
            Self::Identity { .. } | Self::Mismatch { .. } => {
                "unbind the service, bind it anew and restart".to_owned()
            }
            Self::Client(_) => "check the setting for the extra CA file".to_owned(),
        }
    }
}

/// Where a destination file stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationFileError {
    /// As JSON.
    #[error("{0}")]
    Json(#[from] DecodeError),
    /// As Java properties.
    #[error("{kind} at line {line}")]
    Properties {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        kind: &'static str,
    },
}
