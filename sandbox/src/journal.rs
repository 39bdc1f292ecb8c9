//! The requests that each part received. Most tests read it. Invariant: it holds no secret in clear
//! text. A hash stands in its place, and equal secrets have equal hashes. Written by `service`,
//! read over the address of the levers and by [`crate::Sandbox::journal`].

use std::collections::VecDeque;
use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, Method, Uri, header};
use serde::Serialize;
use tokio::time::Instant;

use crate::part::{Part, locked};

/// The most entries; the oldest are dropped first. 50 requests a second fill it in more than an
/// hour.
const CAPACITY: usize = 200_000;

/// The client `cf` with its empty secret. It is public, and tests check these bytes.
const PUBLIC_BASIC: &str = "Basic Y2Y6";

/// Longer bodies are cut in the journal. Their hash covers the whole body.
const BODY_LIMIT: usize = 64 * 1024;

/// Form and query fields whose values are replaced by hashes.
const SECRET_FIELDS: [&str; 9] = [
    "password",
    "passcode",
    "client_secret",
    "client_assertion",
    "refresh_token",
    "assertion",
    "code",
    "code_verifier",
    "token",
];

/// One request as a part received it.
#[derive(Clone, Debug, Serialize)]
pub struct JournalEntry {
    /// The part that was asked.
    pub part: Part,
    /// The method as sent.
    pub method: String,
    /// The path as sent, not decoded.
    pub path: String,
    /// The query as sent, without `?`; empty if there was none.
    pub query: String,
    /// The status of the answer. `None` until there is an answer.
    pub status: Option<u16>,
    /// The field `grant_type` of a token call.
    pub grant_type: Option<String>,
    /// Scheme and hash of the `Authorization` header. `Basic Y2Y6` is shown unchanged.
    pub authorization: Option<String>,
    /// The `User-Agent` header as sent.
    pub user_agent: Option<String>,
    /// The identity provider that received the password. It shows whether a login hint was lost.
    pub provider: Option<String>,
    /// The body as sent. In a form the values of secret fields are replaced by their hashes.
    pub body: String,
    /// The hash of the whole body.
    pub body_sha256: String,
    /// Milliseconds since the landscape started. The clock lever does not change it.
    pub at_ms: u64,
}

/// The list of requests; empty at start.
#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    entries: Mutex<JournalEntries>,
}

/// The number of an entry, counted since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryId(u64);

#[derive(Debug, Default)]
struct JournalEntries {
    /// The number of the first entry in `list`.
    first: u64,
    list: VecDeque<JournalEntry>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), entries: Mutex::default() }
    }

    /// Adds a request before it is answered, so that a request that hangs is visible, too.
    pub(crate) fn open(&self, part: Part, head: &http::request::Parts, body: &[u8]) -> EntryId {
        let form = is_form(&head.headers);
        let text = String::from_utf8_lossy(body.get(..BODY_LIMIT).unwrap_or(body));
        let entry = JournalEntry {
            part,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: shown_pairs(head.uri.query().unwrap_or_default()),
            status: None,
            grant_type: grant_type(&head.method, &head.uri, if form { body } else { b"" }),
            authorization: shown_authorization(&head.headers),
            user_agent: shown_agent(&head.headers),
            provider: None,
            body: if form { shown_pairs(&text) } else { text.into_owned() },
            body_sha256: sha256_hex(body),
            at_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let mut entries = locked(&self.entries);
        entries.list.push_back(entry);
        if entries.list.len() > CAPACITY {
            entries.list.pop_front();
            entries.first = entries.first.saturating_add(1);
        }
        let place = u64::try_from(entries.list.len()).unwrap_or(u64::MAX);
        EntryId(entries.first.saturating_add(place).saturating_sub(1))
    }

    /// Adds the answer to an entry. Does nothing if the entry was removed by [`Journal::clear`]
    /// meanwhile.
    pub(crate) fn close(&self, entry_id: EntryId, status: u16, provider: Option<String>) {
        let mut entries = locked(&self.entries);
        let Some(place) = entry_id.0.checked_sub(entries.first) else {
            return;
        };
        let Ok(place) = usize::try_from(place) else {
            return;
        };
        if let Some(entry) = entries.list.get_mut(place) {
            entry.status = Some(status);
            entry.provider = provider;
        }
    }

    /// Returns all entries, oldest first.
    pub(crate) fn entries(&self) -> Vec<JournalEntry> {
        locked(&self.entries).list.iter().cloned().collect()
    }

    /// Removes all entries.
    pub(crate) fn clear(&self) {
        let mut entries = locked(&self.entries);
        let gone = u64::try_from(entries.list.len()).unwrap_or(u64::MAX);
        entries.first = entries.first.saturating_add(gone);
        entries.list.clear();
    }

    /// Counts the token calls with this grant type at one part.
    pub(crate) fn grants(&self, part: Part, grant_type: &str) -> usize {
        let of_kind = |entry: &&JournalEntry| {
            entry.part == part && entry.grant_type.as_deref() == Some(grant_type)
        };
        locked(&self.entries).list.iter().filter(of_kind).count()
    }
}

/// Returns the SHA-256 of the bytes in lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Returns bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

/// Tells whether servlets would read the body as form parameters.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"))
}

/// Returns the text that replaces a secret. Equal secrets have equal texts.
fn mark(secret: &[u8]) -> String {
    let hash = sha256_hex(secret);
    format!("sha256:{}", hash.get(..12).unwrap_or(&hash))
}

fn shown_authorization(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    if text == PUBLIC_BASIC {
        return Some(text.into_owned());
    }
    let (scheme, credentials) = text.split_once(' ').unwrap_or((&text, ""));
    Some(format!("{scheme} {}", mark(credentials.as_bytes())))
}

fn shown_agent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::USER_AGENT)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Keeps `name=value` pairs as they were sent, except the values of secret fields.
fn shown_pairs(text: &str) -> String {
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret(name) && !value.is_empty() => {
            let decoded = form_urlencoded::parse(pair.as_bytes()).next();
            let secret = decoded.map(|(_, value)| value.into_owned()).unwrap_or_default();
            format!("{name}={}", mark(secret.as_bytes()))
        }
        _ => pair.to_owned(),
    };
    text.split('&').map(shown).collect::<Vec<_>>().join("&")
}

/// Tells whether a field of a form or a query holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    SECRET_FIELDS.contains(&decoded.as_ref())
}

fn grant_type(method: &Method, uri: &Uri, form: &[u8]) -> Option<String> {
    let is_token_call = uri.path().trim_end_matches('/').ends_with("/oauth/token");
    if !is_token_call || ![Method::POST, Method::GET].contains(method) {
        return None;
    }
    let query = uri.query().unwrap_or_default().as_bytes();
    let pairs = form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
    pairs.into_iter().find(|(name, _)| name == "grant_type").map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Journal, mark, shown_pairs};
    use crate::part::Part;

    fn head(authorization: &str) -> http::request::Parts {
        let request = Request::post("/oauth/token?login_hint=x")
            .header("authorization", authorization)
            .header("user-agent", "probe/1")
            .header("content-type", "application/x-www-form-urlencoded");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn secrets_are_hashed_and_the_login_hint_is_not() {
        let shown = shown_pairs("grant_type=password&password=a%26b&login_hint=%7B%22o%22%7D");
        let secret = mark(b"a&b");
        let wanted = format!("grant_type=password&password={secret}&login_hint=%7B%22o%22%7D");
        assert_eq!(shown, wanted);
        assert_eq!(secret.len(), "sha256:".len() + 12);
    }

    #[test]
    fn credentials_are_hashed_except_the_public_client_and_the_user_agent_is_shown() {
        let journal = Journal::new();
        journal.open(Part::Uaa, &head("Basic Y2Y6"), b"grant_type=password");
        journal.open(Part::Uaa, &head("Basic Y2Y6eA=="), b"grant_type=refresh_token");
        let entries = journal.entries();
        assert_eq!(entries[0].authorization.as_deref(), Some("Basic Y2Y6"));
        assert!(entries[1].authorization.as_deref().unwrap().starts_with("Basic sha256:"));
        assert_eq!(entries[1].user_agent.as_deref(), Some("probe/1"));
        assert_eq!(journal.grants(Part::Uaa, "password"), 1);
        assert_eq!(journal.grants(Part::Xsuaa, "password"), 0);
    }

    #[test]
    fn an_answer_after_a_clear_does_not_change_another_entry() {
        let journal = Journal::new();
        let early = journal.open(Part::Uaa, &head("Basic Y2Y6"), b"");
        journal.clear();
        let late = journal.open(Part::Uaa, &head("Basic Y2Y6"), b"");
        journal.close(early, 500, None);
        assert_eq!(journal.entries()[0].status, None);
        journal.close(late, 200, Some("sap.ids".to_owned()));
        assert_eq!(journal.entries()[0].status, Some(200));
    }
}
