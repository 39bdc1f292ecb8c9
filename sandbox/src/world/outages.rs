//! What the Cloud Controller (CC) cannot reach: its database, and its UAA. The answers follow from
//! where CC needs them: it looks up the user of a good token, and it asks the UAA for its issuer
//! and for keys that it does not know (source: `uaa_token_decoder.rb`,
//! `security_context_setter.rb`). Called by `capi` before anything else; the levers set it.

use crate::token::{CfTokenRefusal, CfUser};

/// The connections of CC.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outages {
    pub(crate) database: DatabaseLink,
    pub(crate) uaa: UaaLink,
}

/// Whether CC reaches its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DatabaseLink {
    #[default]
    Up,
    Down,
}

/// Whether CC reaches its UAA, and what it still knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UaaLink {
    #[default]
    Up,
    /// Keys and issuer are cached, so that good tokens are still accepted.
    Down,
    /// CC had not read the issuer before.
    DownWithoutIssuer,
    /// CC gave up its keys to look for an unknown one, and got none.
    DownWithoutKeys,
}

/// The end of a request that CC cannot judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutageAnswer {
    /// An error that nothing in CC handles: an empty 500 of the server.
    Crash,
    /// 502, from the check of the token.
    UaaUnavailable,
}

impl Outages {
    /// Tells how a request ends before CC looks at it; `None` if CC can judge it.
    pub(crate) fn end(&mut self, bearer: &Result<CfUser, CfTokenRefusal>) -> Option<OutageAnswer> {
        match (self.uaa, bearer) {
            (_, Err(CfTokenRefusal::NotAuthenticated)) => None,
            (UaaLink::DownWithoutKeys, _) => Some(OutageAnswer::UaaUnavailable),
            (UaaLink::Down | UaaLink::DownWithoutIssuer, Err(CfTokenRefusal::UnknownKey)) => {
                self.uaa = UaaLink::DownWithoutKeys;
                Some(OutageAnswer::UaaUnavailable)
            }
            (UaaLink::DownWithoutIssuer, Ok(_)) => Some(OutageAnswer::Crash),
            (UaaLink::Up | UaaLink::Down, Ok(_)) => {
                (self.database == DatabaseLink::Down).then_some(OutageAnswer::Crash)
            }
            (_, Err(CfTokenRefusal::Invalid | CfTokenRefusal::UnknownKey)) => None,
        }
    }
}
