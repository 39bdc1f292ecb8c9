//! Errors of destinations. Callers may see what the variants hold; no variant quotes a value.

use crate::{
    binding::BindingError, oauth::IdentityError, upstream::UpstreamError,
    upstream::body::DecodeError,
};
use std::{io::ErrorKind, path::PathBuf, time::Duration};

/// What a JSON file may hold.
const NO_DESTINATION_HINT: &str = "put in the properties as one object (Name or name, URL or url, \
     …), an array of such objects, destinationConfiguration, init_data or destinations. A file with \
     VCAP_SERVICES is default-env.json in the working directory";

/// Why no destination can be returned now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The service answered 404, or no source has it.
    #[error("destination {name} does not exist")]
    Missing {
        /// The name that was looked for.
        name: String,
        /// The sources that were searched.
        tried: String,
    },
    /// The properties break rules; all findings are listed. No request to UAA is made.
    #[error("destination {name} is invalid: {}", findings.join("; "))]
    Invalid {
        /// Name of the destination.
        name: String,
        /// What is wrong, with what to do where that is not obvious.
        findings: Vec<String>,
    },
    /// The certificate of a system that is asked for it is refused, and no cached content is fresh
    /// enough.
    #[error("destination {name} cannot be read: {advice}")]
    Untrusted {
        /// Name of the destination.
        name: String,
        /// Which system, and what to do.
        advice: String,
    },
    /// A system that is asked for it is down and no cached content is fresh enough.
    #[error("destination {name} cannot be read now: {advice}")]
    Unavailable {
        /// Name of the destination.
        name: String,
        /// Which system, and what is known.
        advice: String,
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
}

impl DestinationError {
    /// Returns whether waiting may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Missing { .. } | Self::Invalid { .. } | Self::Untrusted { .. } => false,
        }
    }

    /// Returns whether nothing was learned about the destination, so that what is known of it
    /// stays.
    pub fn tells_nothing(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Untrusted { .. } => true,
            Self::Missing { .. } | Self::Invalid { .. } => false,
        }
    }
}

/// Why the destinations cannot be set up; each is a configuration error (exit code 78).
#[derive(Debug, thiserror::Error)]
pub enum DestinationSetupError {
    /// The file that the settings name cannot be read.
    #[error("destination.file names {}, which cannot be read: {kind}", path.display())]
    FileUnreadable {
        /// The path as it was given.
        path: PathBuf,
        /// Error kind of the file system.
        kind: ErrorKind,
    },
    /// The file is neither JSON nor Java properties.
    #[error("destination file {} is not readable: {error}", path.display())]
    FileMalformed {
        /// The path as it was given.
        path: PathBuf,
        /// Position and kind of the syntax error.
        error: DestinationFileError,
    },
    /// The variable `destinations` is not JSON, or has no destination.
    #[error("variable destinations is not readable: {0}")]
    VariableMalformed(DestinationFileError),
    /// The bindings cannot be used, for example several user-provided services match.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The binding's certificate or key cannot be used.
    #[error("the X.509 credential of binding {binding} cannot be used")]
    Identity {
        /// Name of the binding.
        binding: String,
        /// Error of the TLS layer.
        #[source]
        source: IdentityError,
    },
    /// The binding's certificate and key do not match.
    #[error("certificate and key of binding {binding} do not match")]
    Mismatch {
        /// Name of the binding.
        binding: String,
        /// Error of the TLS layer.
        #[source]
        source: UpstreamError,
    },
    /// No HTTP client could be built.
    #[error("no client for the Destination service")]
    Client(#[from] UpstreamError),
}

impl DestinationSetupError {
    /// Returns what an operator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::FileUnreadable { .. } => "correct destination.file, or leave it out".to_owned(),
            Self::FileMalformed { error: DestinationFileError::NoDestination, .. } => {
                NO_DESTINATION_HINT.to_owned()
            }
            Self::FileMalformed { .. } => {
                "export the destination again, as Properties or JSON".to_owned()
            }
            Self::VariableMalformed(_) => {
                "destinations is JSON: objects with name or Name, in an array".to_owned()
            }
            Self::Binding(error) => error.hint(),
            Self::Identity { .. } | Self::Mismatch { .. } => {
                "unbind the service, bind it again and restart".to_owned()
            }
            Self::Client(_) => "check the setting for the extra CA file".to_owned(),
        }
    }
}

/// Where and why a destination file cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationFileError {
    /// As JSON.
    #[error("{0}")]
    Json(#[from] DecodeError),
    /// It is JSON of another kind.
    #[error("no destination is in it")]
    NoDestination,
    /// As Java properties.
    #[error("{kind} at line {line}")]
    Properties {
        /// Counted from 1.
        line: usize,
        /// Kind of the syntax error.
        kind: &'static str,
    },
}
