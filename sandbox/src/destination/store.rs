//! The destinations of the subaccount and of the service instance. Invariant: the tag changes with
//! the content, unless a lever lets it ignore the password. Read by `destination`, changed by
//! levers.

use std::sync::Mutex;

use serde_json::{Map, Value, json};

use crate::identity::{TECHNICAL_ORIGIN, TECHNICAL_PASSWORD, TECHNICAL_USER};
use crate::journal::sha256_hex;
use crate::part::locked;

/// The name of the destination that exists at start.
pub(crate) const DEFAULT_NAME: &str = "CFAPI";

const QUERY_PROPERTY: &str = "tokenServiceURL.queries.login_hint";
const BODY_PROPERTY: &str = "tokenService.body.login_hint";
const ORIGIN_PROPERTY: &str = "origin";

/// Where a destination was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DestinationLevel {
    /// In the subaccount.
    Subaccount,
    /// In the service instance. This level is searched first.
    Instance,
}

/// A destination.
#[derive(Clone, Debug)]
pub(crate) struct StoredDestination {
    pub(crate) level: DestinationLevel,
    pub(crate) name: String,
    pub(crate) properties: Map<String, Value>,
}

/// The four ways to write the origin of the user, see `docs/reference/destination.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginSpelling {
    /// Nowhere.
    Absent,
    /// In the query of the token URL, with a raw colon, as in SAP's blog about this destination.
    Query,
    /// In `tokenServiceURL.queries.login_hint`.
    QueryProperty,
    /// In `tokenService.body.login_hint`.
    BodyProperty,
    /// In `origin`, with a token URL that has no path.
    Origin,
}

/// All destinations.
#[derive(Debug)]
pub(crate) struct Store {
    token_base: String,
    state: Mutex<StoreState>,
}

#[derive(Debug)]
struct StoreState {
    entries: Vec<StoredDestination>,
    tag: EtagScope,
}

/// What the `ETag` is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtagScope {
    /// Everything.
    Content,
    /// Everything except the password. It is not known whether the real service does this.
    ContentButPassword,
}

impl OriginSpelling {
    /// Returns the way with this number: 0 is nowhere, 1 to 4 as the lever `spell_origin` counts
    /// them.
    pub(crate) fn numbered(number: u64) -> Option<Self> {
        let all =
            [Self::Absent, Self::Query, Self::QueryProperty, Self::BodyProperty, Self::Origin];
        all.into_iter().nth(usize::try_from(number).ok()?)
    }
}

impl Store {
    /// Returns a store with the destination `CFAPI`, which points into the landscape.
    pub(crate) fn seeded(token_base: &str, api_base: &str) -> Self {
        let properties = json!({"Name": DEFAULT_NAME, "Type": "HTTP", "URL": api_base,
            "Authentication": "OAuth2Password", "ProxyType": "Internet",
            "User": TECHNICAL_USER, "Password": TECHNICAL_PASSWORD,
            "clientId": "cf", "clientSecret": "",
            "Description": "CF API with technical user"});
        let properties = properties.as_object().cloned().unwrap_or_default();
        let entry = StoredDestination {
            level: DestinationLevel::Subaccount,
            name: DEFAULT_NAME.to_owned(),
            properties,
        };
        let state = StoreState { entries: vec![entry], tag: EtagScope::Content };
        let store = Self { token_base: token_base.to_owned(), state: Mutex::new(state) };
        store.spell(DEFAULT_NAME, OriginSpelling::Query, TECHNICAL_ORIGIN);
        store
    }

    /// Finds as `v1` does: instance level first.
    pub(crate) fn find(&self, name: &str) -> Option<StoredDestination> {
        self.find_at(name, DestinationLevel::Instance)
            .or_else(|| self.find_at(name, DestinationLevel::Subaccount))
    }

    /// Finds at one level.
    pub(crate) fn find_at(&self, name: &str, level: DestinationLevel) -> Option<StoredDestination> {
        let state = locked(&self.state);
        state.entries.iter().find(|entry| entry.level == level && entry.name == name).cloned()
    }

    /// Returns the tag: 64 hex digits, without quotes.
    pub(crate) fn etag(&self, entry: &StoredDestination) -> String {
        let mut properties = entry.properties.clone();
        if locked(&self.state).tag == EtagScope::ContentButPassword {
            properties.remove("Password");
        }
        sha256_hex(Value::Object(properties).to_string().as_bytes())
    }

    /// Sets what the tag is computed from.
    pub(crate) fn set_tag(&self, tag: EtagScope) {
        locked(&self.state).tag = tag;
    }

    /// Adds a destination, or replaces the one of the same name and level.
    pub(crate) fn add(&self, entry: StoredDestination) {
        let mut state = locked(&self.state);
        state.entries.retain(|old| old.name != entry.name || old.level != entry.level);
        state.entries.push(entry);
    }

    /// Changes the destination that a find would return. Returns whether there is one.
    pub(crate) fn edit(&self, name: &str, set: &Map<String, Value>, unset: &[String]) -> bool {
        let Some(mut entry) = self.find(name) else {
            return false;
        };
        entry.properties.extend(set.clone());
        entry.properties.retain(|name, _| !unset.contains(name));
        self.add(entry);
        true
    }

    /// Removes a destination at every level. Returns whether there was one.
    pub(crate) fn delete(&self, name: &str) -> bool {
        let mut state = locked(&self.state);
        let before = state.entries.len();
        state.entries.retain(|entry| entry.name != name);
        state.entries.len() < before
    }

    /// Writes the origin in one way and removes it from the others. Returns whether the destination
    /// exists.
    pub(crate) fn spell(&self, name: &str, spelling: OriginSpelling, origin: &str) -> bool {
        let hint = format!("{{\"origin\":\"{origin}\"}}");
        let plain = format!("{}/oauth/token", self.token_base);
        let (url, property) = match spelling {
            OriginSpelling::Absent => (plain, None),
            OriginSpelling::Query => {
                (format!("{plain}?login_hint=%7B%22origin%22:%22{origin}%22%7D"), None)
            }
            OriginSpelling::QueryProperty => (plain, Some((QUERY_PROPERTY, hint.as_str()))),
            OriginSpelling::BodyProperty => (plain, Some((BODY_PROPERTY, hint.as_str()))),
            OriginSpelling::Origin => (self.token_base.clone(), Some((ORIGIN_PROPERTY, origin))),
        };
        let mut set = Map::new();
        set.insert("tokenServiceURL".to_owned(), Value::String(url));
        if let Some((key, value)) = property {
            set.insert(key.to_owned(), Value::String(value.to_owned()));
        }
        let keys = [QUERY_PROPERTY, BODY_PROPERTY, ORIGIN_PROPERTY];
        let others = keys.iter().filter(|key| !set.contains_key(**key));
        let unset: Vec<String> = others.map(|key| (*key).to_owned()).collect();
        self.edit(name, &set, &unset)
    }
}
