//! The fault rows F1 to F26 of `docs/reference/uaa-faults.md`, on demand and byte for byte.
//! Invariant: a fault answers before anything else is checked, so no logon is counted and no token
//! is issued. Armed by the lever `uaa_fault`, used up by `uaa`.

mod table;

use std::sync::Mutex;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::oauth::OAuthRefusal;
use crate::part::locked;
use crate::uaa::faults::table::{NESTED, PAGES, PageRow, ProviderRow, REFUSALS, RefusalRow};
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

#[derive(Debug)]
struct ArmedUaaFault {
    fault: UaaFault,
    grants: FaultGrants,
    left: usize,
}

impl UaaFaults {
    /// Adds a fault behind the faults that are already armed.
    pub(crate) fn arm(&self, fault: UaaFault, grants: FaultGrants, left: usize) {
        locked(&self.0).push(ArmedUaaFault { fault, grants, left });
    }

    /// Returns the answer of the first fault for this grant.
    pub(crate) fn next(&self, grant: &str) -> Option<Response<Body>> {
        let mut armed = locked(&self.0);
        let first = armed.iter_mut().find(|armed| armed.left > 0 && armed.grants.hold(grant))?;
        first.left = first.left.saturating_sub(1);
        let answer = first.fault.answer();
        armed.retain(|armed| armed.left > 0);
        Some(answer)
    }

    /// Removes all faults.
    pub(crate) fn clear(&self) {
        locked(&self.0).clear();
    }
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

    /// Returns the fault with the other value of `error`. Only a 401 has two.
    pub(crate) fn spelled(self, dialect: Dialect) -> Self {
        let error = match dialect {
            Dialect::InvalidClient => "invalid_client",
            Dialect::Unauthorized => "unauthorized",
        };
        match self {
            Self::Refusal(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
                Self::Refusal(OAuthRefusal { error: error.to_owned(), ..refusal })
            }
            other @ (Self::Refusal(_) | Self::Page(_)) => other,
        }
    }

    fn answer(&self) -> Response<Body> {
        match self {
            Self::Refusal(refusal) => refusal.answer(),
            Self::Page(page) => page.answer(),
        }
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
    use http::StatusCode;

    use super::{Dialect, FaultGrants, UaaFault, UaaFaults};

    #[test]
    fn every_row_has_an_answer_and_its_variants_have_different_names() {
        for row in 1..=26 {
            let faults = UaaFault::of_row(&format!("F{row}"));
            assert!(!faults.is_empty(), "F{row}");
            let mut names: Vec<_> = faults.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), faults.len(), "F{row}");
        }
        assert!(UaaFault::of_row("F27").is_empty());
    }

    #[test]
    fn the_old_dialect_changes_only_a_401_and_its_header() {
        let (_, wrong) = UaaFault::of_row("F1").remove(0);
        let answer = wrong.clone().spelled(Dialect::Unauthorized).answer();
        let challenge = "Basic realm=\"UAA/client\", error=\"unauthorized\", error_description=\"Bad credentials\"";
        assert_eq!(answer.headers()["www-authenticate"], challenge);
        assert_eq!(wrong.answer().headers()["www-authenticate"], challenge);
        let (_, verified) = UaaFault::of_row("F14").remove(0);
        assert_eq!(
            verified.spelled(Dialect::Unauthorized).answer().status(),
            StatusCode::FORBIDDEN
        );
    }

    #[test]
    fn a_fault_affects_refreshes_only_on_request() {
        let faults = UaaFaults::default();
        let (_, fault) = UaaFault::of_row("F1").remove(0);
        faults.arm(fault.clone(), FaultGrants::LogOn, 1);
        assert!(faults.next("refresh_token").is_none());
        assert!(faults.next("password").is_some());
        assert!(faults.next("password").is_none());
        faults.arm(fault, FaultGrants::One("refresh_token".to_owned()), 1);
        assert!(faults.next("refresh_token").is_some());
    }
}
