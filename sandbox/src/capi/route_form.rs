//! The bodies that create and change a route. Shape and syntax are checked; all faults go into one
//! detail, in CC's order.

use crate::capi::errors::{ApiRefusal, unprocessable};
use crate::capi::json::Json;
use crate::capi::metadata::MetadataChange;
use crate::world::Release;

const LONGEST_HOST: usize = 63;
const LONGEST_PATH: usize = 128;
const LAST_PORT: i64 = 65_535;
const ALGORITHMS: &[&str] = &["round-robin", "least-connection"];
/// Options that CC accepts only with the flag `hash_based_routing`, which is off.
const CLOSED_OPTIONS: &[&str] = &["hash_header", "hash_balance"];

/// A valid body of `POST /v3/routes`.
#[derive(Clone, Debug)]
pub(crate) struct RouteForm {
    pub(crate) host: String,
    pub(crate) path: String,
    /// 0 = none.
    pub(crate) port: i64,
    pub(crate) space: String,
    pub(crate) domain: String,
    pub(crate) options: Vec<(String, Json)>,
    pub(crate) metadata: MetadataChange,
}

/// A valid body of `PATCH /v3/routes/{guid}`.
#[derive(Clone, Debug)]
pub(crate) struct RoutePatch {
    pub(crate) options: Vec<(String, Json)>,
    pub(crate) metadata: MetadataChange,
}

impl RouteForm {
    /// Reads the body.
    pub(crate) fn read(body: &Json, release: Release) -> Result<Self, ApiRefusal> {
        let mut faults = Vec::new();
        let metadata = MetadataChange::read(body, &mut faults);
        host_faults(body.get("host"), &mut faults);
        path_faults(body.get("path"), &mut faults);
        let port = port(body.get("port"), &mut faults);
        if body.get("relationships").is_none_or(Json::is_blank) {
            faults.push("Relationships can't be blank".to_owned());
        }
        let mut known = vec!["host", "path", "port", "relationships", "metadata"];
        known.extend((release == Release::Current).then_some("options"));
        faults.extend(unknown_fields(body, &known));
        let (space, domain) = relationships(body.get("relationships"), &mut faults);
        let options = match release {
            Release::Current => options(body.get("options"), &mut faults),
            Release::Older => Vec::new(),
        };
        refuse(&faults)?;
        let text = |name: &str| body.get(name).map(Json::to_s).unwrap_or_default();
        Ok(Self {
            host: text("host"),
            path: text("path"),
            port,
            space,
            domain,
            options: options.into_iter().filter(|(_, value)| *value != Json::Null).collect(),
            metadata,
        })
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.host == "*"
    }
}

impl RoutePatch {
    /// Reads the body.
    pub(crate) fn read(body: &Json, release: Release) -> Result<Self, ApiRefusal> {
        let mut faults = Vec::new();
        let metadata = MetadataChange::read(body, &mut faults);
        let (known, options): (&[&str], _) = match release {
            Release::Current => {
                (&["metadata", "options"], options(body.get("options"), &mut faults))
            }
            Release::Older => (&["metadata"], Vec::new()),
        };
        faults.extend(unknown_fields(body, known));
        refuse(&faults)?;
        Ok(Self { options, metadata })
    }
}

/// Returns the complaint about members that are not allowed.
pub(crate) fn unknown_fields(body: &Json, known: &[&str]) -> Option<String> {
    let names = body.members().unwrap_or_default().iter().map(|(name, _)| name.as_str());
    let unknown: Vec<&str> = names.filter(|name| !known.contains(name)).collect();
    (!unknown.is_empty()).then(|| format!("Unknown field(s): '{}'", unknown.join("', '")))
}

/// Refuses with all faults in one detail.
pub(crate) fn refuse(faults: &[String]) -> Result<(), ApiRefusal> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(unprocessable(&faults.join(", ")))
}

fn host_faults(host: Option<&Json>, faults: &mut Vec<String>) {
    let Some(host) = host.filter(|host| **host != Json::Null) else {
        return;
    };
    if host.as_text().is_none() {
        faults.push("Host must be a string".to_owned());
    }
    let text = host.to_s();
    if text.chars().count() > LONGEST_HOST {
        faults.push(format!("Host is too long (maximum is {LONGEST_HOST} characters)"));
    }
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if text != "*" && !text.chars().all(is_good) {
        faults.push(
            "Host must be either \"*\" or contain only alphanumeric characters, \"_\", or \"-\""
                .to_owned(),
        );
    }
}

fn path_faults(path: Option<&Json>, faults: &mut Vec<String>) {
    let Some(path) = path.filter(|path| **path != Json::Null) else {
        return;
    };
    if path.as_text().is_none() {
        faults.push("Path must be a string".to_owned());
    }
    let text = path.to_s();
    if text.chars().count() > LONGEST_PATH {
        faults.push(format!("Path is too long (maximum is {LONGEST_PATH} characters)"));
    }
    // CC's pattern does not match beyond the end of a line.
    if !text.is_empty() && (!text.starts_with('/') || text.contains('\n')) {
        faults.push("Path must begin with /".to_owned());
    }
    if text.contains('?') {
        faults.push("Path cannot contain ?".to_owned());
    }
    if text == "/" {
        faults.push("Path cannot be exactly /".to_owned());
    }
}

fn port(port: Option<&Json>, faults: &mut Vec<String>) -> i64 {
    let Some(port) = port.filter(|port| **port != Json::Null) else {
        return 0;
    };
    let text = port.to_s();
    let Ok(number) = text.parse::<i64>() else {
        let fault =
            if text.parse::<f64>().is_ok() { "must be an integer" } else { "is not a number" };
        faults.push(format!("Port {fault}"));
        return 0;
    };
    if number < 0 {
        faults.push("Port must be greater than or equal to 0".to_owned());
    }
    if number > LAST_PORT {
        faults.push(format!("Port must be less than or equal to {LAST_PORT}"));
    }
    number
}

fn relationships(relationships: Option<&Json>, faults: &mut Vec<String>) -> (String, String) {
    let Some(members) = relationships.and_then(Json::members) else {
        faults.push("Relationships 'relationships' is not an object".to_owned());
        return (String::new(), String::new());
    };
    let Some(relationships) = relationships.filter(|_| !members.is_empty()) else {
        faults.push(
            "Relationships 'relationships' must include one or more valid relationships".to_owned(),
        );
        return (String::new(), String::new());
    };
    let unknown = unknown_fields(relationships, &["space", "domain"]);
    faults.extend(unknown.map(|fault| format!("Relationships {fault}")));
    let space = to_one(relationships, "space", faults);
    let domain = to_one(relationships, "domain", faults);
    (space, domain)
}

/// Reads `{"data":{"guid":"…"}}`. A null in `data` passes here and is unknown later.
fn to_one(relationships: &Json, name: &str, faults: &mut Vec<String>) -> String {
    let label = if name == "space" { "Relationships Space" } else { "Relationships Domain" };
    let relationship = relationships.get(name);
    if relationship.is_none_or(Json::is_blank) {
        faults.push(format!("{label} can't be blank"));
    }
    let only = |json: &Json, key: &str| -> Option<Json> {
        let [(name, value)] = json.members()? else {
            return None;
        };
        (name == key).then(|| value.clone())
    };
    let data = relationship.and_then(|relationship| only(relationship, "data"));
    let guid = match &data {
        Some(Json::Null) => return String::new(),
        Some(data) => only(data, "guid"),
        None => None,
    };
    let Some(guid) = guid else {
        faults.push(format!(
            "{label} must be structured like this: \"{name}: {{\"data\": {{\"guid\": \"valid-guid\"}}}}\""
        ));
        return String::new();
    };
    let text = guid.as_text();
    if text.is_none() {
        faults.push(format!("{label} guid must be a string"));
    }
    if !text.is_some_and(|text| (1..=200).contains(&text.chars().count())) {
        faults.push(format!("{label} guid must be between 1 and 200 characters"));
    }
    text.unwrap_or_default().to_owned()
}

fn options(options: Option<&Json>, faults: &mut Vec<String>) -> Vec<(String, Json)> {
    let Some(options) = options else {
        return Vec::new();
    };
    let Some(members) = options.members() else {
        faults.push("Options 'options' is not a valid object".to_owned());
        return Vec::new();
    };
    let unknown = unknown_fields(options, &["loadbalancing", "hash_header", "hash_balance"]);
    faults.extend(unknown.map(|fault| format!("Options {fault}")));
    if let Some(algorithm) = options.get("loadbalancing").filter(|value| !value.is_blank())
        && !algorithm.as_text().is_some_and(|text| ALGORITHMS.contains(&text))
    {
        let valid = ALGORITHMS.join(", ");
        faults.push(format!("Options Loadbalancing must be one of '{valid}' if present"));
    }
    let closed: Vec<&str> = members
        .iter()
        .filter(|(name, value)| CLOSED_OPTIONS.contains(&name.as_str()) && !value.is_blank())
        .map(|(name, _)| name.as_str())
        .collect();
    if !closed.is_empty() {
        faults.push(format!("Options Unknown field(s): '{}'", closed.join("', '")));
    }
    let kept = members.iter().filter(|(name, _)| !CLOSED_OPTIONS.contains(&name.as_str()));
    kept.cloned().collect()
}
