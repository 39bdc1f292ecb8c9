//! The fault rows F1 to F26 of `docs/reference/uaa-faults.md` and the refusals of an assertion, on
//! demand and byte for byte.
//! Invariant: a fault answers before anything else is checked, so no logon is counted and no token
//! is issued. Armed by the lever `uaa_fault`, used up by `uaa`.

mod table;

use std::sync::Mutex;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::oauth::OAuthRefusal;
use crate::part::locked;
use crate::uaa::faults::table::{NESTED, PAGES, PageRow, ProviderRow, REFUSALS, RefusalRow};
use crate::uaa::release::UaaRelease;
use crate::uaa::{JWT_BEARER, PASSWORD};

/// One answer of one fault row.
#[derive(Clone, Debug)]
pub(crate) enum UaaFault {
    /// JSON with `error` and `error_description`.
    Refusal(OAuthRefusal),
    /// Anything else: HTML, redirects, broken bodies.
    Page(&'static PageRow),
}

/// The value of `error` in a 401: as since UAA 76.26, or as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `invalid_client`.
    InvalidClient,
    /// `unauthorized`.
    Unauthorized,
}

/// Which grants a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaultGrants {
    /// The grants that log a user on. The fault rows are about them.
    LogOn,
    /// Every token call.
    Any,
    /// One grant.
    One(String),
}

/// The faults that wait for a token call.
#[derive(Debug, Default)]
pub(crate) struct UaaFaults(Mutex<Vec<ArmedUaaFault>>);

/// A fault, the calls it is for, and how it is written.
#[derive(Clone, Debug)]
pub(crate) struct ArmedUaaFault {
    pub(crate) fault: UaaFault,
    pub(crate) grants: FaultGrants,
    pub(crate) left: usize,
    /// `None` is the release of the UAA.
    pub(crate) release: Option<UaaRelease>,
    /// `None` is the word of the release.
    pub(crate) dialect: Option<Dialect>,
}

impl UaaFaults {
    /// Adds a fault behind the faults that are already armed.
    pub(crate) fn arm(&self, armed: ArmedUaaFault) {
        locked(&self.0).push(armed);
    }

    /// Takes the first fault for this grant.
    pub(crate) fn next(&self, grant: &str) -> Option<ArmedUaaFault> {
        let mut armed = locked(&self.0);
        let first = armed.iter_mut().find(|armed| armed.left > 0 && armed.grants.hold(grant))?;
        first.left = first.left.saturating_sub(1);
        let taken = first.clone();
        armed.retain(|armed| armed.left > 0);
        Some(taken)
    }

    /// Removes all faults.
    pub(crate) fn clear(&self) {
        locked(&self.0).clear();
    }
}

impl ArmedUaaFault {
    /// Returns the answer of a UAA of this release to a client that sent these headers.
    pub(crate) fn answer(&self, release: UaaRelease, headers: &HeaderMap) -> Response<Body> {
        let release = self.release.unwrap_or(release);
        match &self.fault {
            UaaFault::Page(page) => page.answer(),
            UaaFault::Refusal(refusal) => {
                let refusal = release.worded(refusal.clone());
                let refusal = match self.dialect {
                    Some(dialect) => spelled(refusal, dialect),
                    None => refusal,
                };
                release.answer(&refusal, headers)
            }
        }
    }
}

/// Returns the refusal with the other value of `error`. Only a 401 about credentials has two.
fn spelled(refusal: OAuthRefusal, dialect: Dialect) -> OAuthRefusal {
    let error = match dialect {
        Dialect::InvalidClient => "invalid_client",
        Dialect::Unauthorized => "unauthorized",
    };
    let has_two = refusal.status == StatusCode::UNAUTHORIZED && refusal.error != "invalid_token";
    if has_two { OAuthRefusal { error: error.to_owned(), ..refusal } } else { refusal }
}

impl FaultGrants {
    fn hold(&self, grant: &str) -> bool {
        match self {
            Self::LogOn => grant == PASSWORD || grant == JWT_BEARER,
            Self::Any => true,
            Self::One(one) => one == grant,
        }
    }
}

impl UaaFault {
    /// Lists the rows: F1 to F26, and the refusals of an assertion.
    pub(crate) fn rows() -> impl Iterator<Item = String> {
        (1..=26).map(|number| format!("F{number}")).chain(["JWT".to_owned()])
    }

    /// Returns the answers of a row, each with its name. Empty if the row does not exist.
    pub(crate) fn of_row(row: &str) -> Vec<(&'static str, Self)> {
        let plain = REFUSALS.iter().filter(|entry| entry.row == row);
        let nested = NESTED.iter().filter(|entry| entry.row == row);
        let pages = PAGES.iter().filter(|entry| entry.row == row);
        plain
            .map(|entry| (entry.name, Self::Refusal(entry.refusal())))
            .chain(nested.map(|entry| (entry.code, Self::Refusal(entry.refusal()))))
            .chain(pages.map(|entry| (entry.name, Self::Page(entry))))
            .collect()
    }
}

impl RefusalRow {
    fn refusal(&self) -> OAuthRefusal {
        let status = StatusCode::from_u16(self.status).unwrap_or_default();
        OAuthRefusal::new(status, self.error, self.description)
    }
}

impl ProviderRow {
    fn refusal(&self) -> OAuthRefusal {
        crate::identity::nested(self.code)
    }
}

impl PageRow {
    fn answer(&self) -> Response<Body> {
        let text = match self.filler {
            0 => self.body.to_owned(),
            filler => format!("{{\"access_token\":\"{}\"}}", "x".repeat(filler)),
        };
        let mut answer = Response::new(Body::from(text));
        *answer.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE.as_str(), self.content_type)];
        let lines = kind.iter().chain(self.headers);
        for (name, value) in lines.filter(|(_, value)| !value.is_empty()) {
            let name = HeaderName::from_static(name);
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

/// F19, parameters in the query: the answer of a UAA that does not accept them.
pub(super) fn query_refused() -> OAuthRefusal {
    let row = REFUSALS.iter().find(|entry| entry.name == "query");
    row.map_or_else(|| OAuthRefusal::bad_request("invalid_request", ""), RefusalRow::refusal)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::{ArmedUaaFault, Dialect, FaultGrants, UaaFault, UaaFaults};
    use crate::uaa::release::UaaRelease;

    #[test]
    fn every_row_has_an_answer_and_its_variants_have_different_names() {
        for row in UaaFault::rows() {
            let faults = UaaFault::of_row(&row);
            assert!(!faults.is_empty(), "{row}");
            let mut names: Vec<_> = faults.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), faults.len(), "{row}");
        }
        assert!(UaaFault::of_row("F27").is_empty());
    }

    fn armed(row: &str, dialect: Option<Dialect>) -> ArmedUaaFault {
        let (_, fault) = UaaFault::of_row(row).remove(0);
        ArmedUaaFault { fault, grants: FaultGrants::LogOn, left: 1, release: None, dialect }
    }

    #[test]
    fn the_old_dialect_changes_only_a_401_and_its_header() {
        let answer = |row: &str, dialect: Option<Dialect>| {
            armed(row, dialect).answer(UaaRelease::New, &HeaderMap::new())
        };
        let challenge = "Basic realm=\"UAA/client\", error=\"unauthorized\", error_description=\"Bad credentials\"";
        for dialect in [None, Some(Dialect::Unauthorized)] {
            assert_eq!(answer("F1", dialect).headers()["www-authenticate"], challenge);
        }
        let verified = answer("F14", Some(Dialect::Unauthorized));
        assert_eq!(verified.status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_fault_affects_refreshes_only_on_request() {
        let faults = UaaFaults::default();
        faults.arm(armed("F1", None));
        assert!(faults.next("refresh_token").is_none());
        assert!(faults.next("password").is_some());
        assert!(faults.next("password").is_none());
        let grants = FaultGrants::One("refresh_token".to_owned());
        faults.arm(ArmedUaaFault { grants, ..armed("F1", None) });
        assert!(faults.next("refresh_token").is_some());
    }
}
