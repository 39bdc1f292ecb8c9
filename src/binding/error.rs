//! Errors of bindings. Each variant says what was found and where, and `hint` says what to do. No
//! variant quotes a credential.

use crate::upstream::body::DecodeError;
use std::{io::ErrorKind, path::PathBuf};

/// Why the bindings cannot be used; the start fails with it (exit code 78).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// A file or directory that a variable or setting names cannot be read.
    #[error("{source_name} names {}, which cannot be read: {kind}", path.display())]
    Unreadable {
        /// The variable or setting that names the path.
        source_name: &'static str,
        /// The path as it was given.
        path: PathBuf,
        /// Error kind of the file system.
        kind: ErrorKind,
    },
    /// A text is not the JSON that its variable or file should contain.
    #[error("{source_name} is not readable JSON: {error}")]
    Malformed {
        /// The variable or file.
        source_name: &'static str,
        /// Position and kind of the syntax error.
        error: DecodeError,
    },
    /// Variable and file are both set and differ.
    #[error("VCAP_SERVICES and VCAP_SERVICES_FILE_PATH are both set and differ")]
    Conflict,
    /// The settings name a binding that does not exist.
    #[error(
        "no binding or instance has the name in setting binding.{kind}; found: {}",
        list(found)
    )]
    NotFound {
        /// `destination`, `xsuaa` or `identity`.
        kind: &'static str,
        /// Names of all bindings.
        found: Vec<String>,
    },
    /// Several bindings match.
    #[error("several bindings could be the {kind} binding: {}", list(found))]
    Ambiguous {
        /// What was looked for.
        kind: &'static str,
        /// Names and deliveries of the candidates.
        found: Vec<String>,
    },
    /// Credential fields are missing.
    #[error("binding {binding} ({delivery}) lacks {}", list(missing))]
    Incomplete {
        /// Name of the binding.
        binding: String,
        /// How it was delivered.
        delivery: &'static str,
        /// The missing fields.
        missing: Vec<&'static str>,
    },
    /// A URL of the credentials cannot be used: not https (nor loopback), or not a bare base URL.
    #[error("field {field} of binding {binding} is not a usable https address")]
    Address {
        /// Name of the binding.
        binding: String,
        /// The credential field.
        field: &'static str,
    },
    /// Credential type `x509_attested`: its key never leaves Cloud Foundry.
    #[error("binding {binding} is attested (x509_attested): it has no usable key")]
    Attested {
        /// Name of the binding.
        binding: String,
    },
    /// Created with `hide-secret`: there is no secret to log on with.
    #[error("binding {binding} was created with hide-secret: it has no client secret")]
    SecretHidden {
        /// Name of the binding.
        binding: String,
    },
    /// A self-managed X.509 binding: the key (or certificate) must come from a file that the
    /// settings name.
    #[error("binding {binding} has no {field}, and setting {setting} names no file")]
    PartMissing {
        /// Name of the binding.
        binding: String,
        /// `key` or `certificate`.
        field: &'static str,
        /// The setting that would supply it.
        setting: &'static str,
    },
    /// `VCAP_APPLICATION` has a value that cannot be used.
    #[error("field {field} of VCAP_APPLICATION is not a usable https address")]
    Application {
        /// The field.
        field: &'static str,
    },
}

impl BindingError {
    /// Returns what an operator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { source_name, .. } => {
                format!("correct {source_name}, or make the path readable for the broker")
            }
            Self::Malformed { source_name, .. } => format!("correct {source_name}"),
            Self::Conflict => "unset one of the two variables".to_owned(),
            Self::NotFound { kind, .. } => {
                format!("correct binding.{kind}, or remove it to choose by label or tag")
            }
            Self::Ambiguous { kind, .. } => {
                format!("unbind all but one, or name one in the setting binding.{kind}")
            }
            Self::Incomplete { .. } | Self::Address { .. } => {
                "unbind the service, bind it again and restart; a user-provided service needs a \
                 whole service key"
                    .to_owned()
            }
            Self::Attested { .. } => {
                "bind again with credential-type x509 or binding-secret and restart".to_owned()
            }
            Self::SecretHidden { .. } => "bind again without hide-secret and restart".to_owned(),
            Self::PartMissing { setting, .. } => {
                format!("provide the PEM file and name it in {setting}")
            }
            Self::Application { .. } => {
                "on Cloud Foundry the platform sets VCAP_APPLICATION; elsewhere correct or unset it"
                    .to_owned()
            }
        }
    }
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}
