//! The query of a find. Invariant: a parameter that is not in the specification is refused. Called
//! by `destination`.

use serde_json::{Value, json};

use crate::destination::DestinationRefusal;

/// What a caller asks for in addition to the name.
#[derive(Debug, Default)]
pub(super) struct FindOptions {
    pub(super) skips_token: bool,
    pub(super) skips_credentials: bool,
    pub(super) wants_owner: bool,
}

impl FindOptions {
    /// Reads the query. An unknown name is a 400, and so is a name that was sent twice.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, DestinationRefusal> {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) || seen.iter().any(|earlier| *earlier == name) {
                return Err(DestinationRefusal::Parameter(name.into_owned()));
            }
            match name.as_ref() {
                "$skipTokenRetrieval" => options.skips_token = value == "true",
                "$skipCredentials" => options.skips_credentials = value == "true",
                _ => options.wants_owner = value.split(';').any(|part| part == "owner"),
            }
            seen.push(name.into_owned());
        }
        Ok(options)
    }

    /// Without `$skipTokenRetrieval` the service logs on itself. Here this always fails, and the
    /// answer is still 200. With the flag, the answer holds the key store for the token call, if
    /// there is one.
    pub(super) fn apply(&self, body: &mut Value) {
        let Some(members) = body.as_object_mut() else {
            return;
        };
        let properties = members.get_mut("destinationConfiguration").and_then(Value::as_object_mut);
        let Some(properties) = properties else { return };
        let key_store = properties.get("tokenService.KeyStoreLocation").cloned();
        if self.skips_credentials {
            for name in ["Password", "clientSecret", "tokenService.KeyStorePassword"] {
                properties.remove(name);
            }
        }
        if !self.skips_token {
            let failed = json!([{"type": "", "value": "", "expires_in": "0",
                "error": "Retrieval of the token failed: the token service answered with status 401"}]);
            members.insert("authTokens".to_owned(), failed);
        } else if let Some(name) = key_store {
            let certificate =
                json!([{"Name": name, "Content": "c2FuZGJveC1vbmx5", "Type": "CERTIFICATE"}]);
            members.insert("certificates".to_owned(), certificate);
        }
    }
}
