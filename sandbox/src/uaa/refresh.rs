//! Refresh tokens: opaque, valid for 30 days, not rotated by default. UAA keeps the opaque ones; a
//! JWT is its own record. Invariant: a refresh never
//! asks the identity provider, so a password that was changed or locked there is not noticed here.
//! Called by `uaa` and by levers.

pub(crate) mod refusal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::clock::Clock;
use crate::part::locked;
use crate::token::{CfTokenSpec, CfTokens};
use crate::uaa::refresh::refusal::RefreshRefusal;
use crate::uaa::release::UaaRelease;

/// Seconds. The value of cf-deployment for the client `cf` (source).
const LIFETIME: i64 = 2_592_000;

/// All refresh tokens of the UAA.
#[derive(Debug)]
pub(crate) struct RefreshTokens {
    clock: Clock,
    /// Signs those that are JWTs.
    tokens: Arc<CfTokens>,
    state: Mutex<RefreshState>,
}

/// Settings that an operator of a UAA could change.
#[derive(Clone, Debug)]
pub(crate) struct RefreshSettings {
    /// Seconds.
    pub(crate) lifetime: i64,
    /// Whether the client may use the grant.
    pub(crate) is_granted: bool,
    pub(crate) rotation: Rotation,
    pub(crate) uniqueness: Uniqueness,
    pub(crate) format: RefreshFormat,
}

/// `jwt.token.refresh.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshFormat {
    /// As on BTP.
    Opaque,
    Jwt,
}

/// `jwt.token.refresh.rotate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// The same value comes back and keeps its end time.
    Off,
    /// A new value comes back, and the old one ends.
    On,
}

/// `jwt.token.refresh.unique`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uniqueness {
    Off,
    /// A new password grant ends the other opaque refresh tokens of user and client.
    On,
}

#[derive(Debug)]
struct RefreshState {
    settings: RefreshSettings,
    tokens: HashMap<String, RefreshToken>,
    /// The answers to the next refresh calls, whatever they send.
    planned: Vec<RefreshRefusal>,
}

#[derive(Clone, Debug)]
struct RefreshToken {
    client: String,
    user_guid: String,
    scopes: Vec<String>,
    format: RefreshFormat,
    end: i64,
    /// UAA's own user changed the password, so the signature in the token no longer matches.
    is_revoked_by_password: bool,
}

/// What a refresh call sends.
#[derive(Debug)]
pub(crate) struct RefreshCall<'a> {
    pub(crate) value: &'a str,
    pub(crate) client: &'a str,
    /// The parameter `scope`. Empty asks for all.
    pub(crate) asked: &'a str,
    pub(crate) release: UaaRelease,
}

/// The content of a refresh token that was used.
#[derive(Debug)]
pub(crate) struct Redeemed {
    pub(crate) value: String,
    pub(crate) user_guid: String,
    pub(crate) scopes: Vec<String>,
}

impl RefreshTokens {
    pub(crate) fn new(clock: Clock, tokens: Arc<CfTokens>) -> Self {
        let settings = RefreshSettings {
            lifetime: LIFETIME,
            is_granted: true,
            rotation: Rotation::Off,
            uniqueness: Uniqueness::Off,
            format: RefreshFormat::Opaque,
        };
        let state = RefreshState { settings, tokens: HashMap::new(), planned: Vec::new() };
        Self { clock, tokens, state: Mutex::new(state) }
    }

    pub(crate) fn settings(&self) -> RefreshSettings {
        locked(&self.state).settings.clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut RefreshSettings)) {
        change(&mut locked(&self.state).settings);
    }

    /// Plans refusals for the next calls.
    pub(crate) fn plan(&self, refusal: &RefreshRefusal, times: usize) {
        let planned = std::iter::repeat_n(refusal.clone(), times);
        locked(&self.state).planned.extend(planned);
    }

    /// Issues a refresh token. With uniqueness on, the other opaque ones of user and client end.
    pub(crate) fn issue(&self, client: &str, user_guid: &str, scopes: &[String]) -> String {
        let mut state = locked(&self.state);
        if state.settings.uniqueness == Uniqueness::On {
            let stays = |old: &RefreshToken| {
                let is_other = old.client != client || old.user_guid != user_guid;
                is_other || old.format == RefreshFormat::Jwt
            };
            state.tokens.retain(|_, old| stays(old));
        }
        let token = RefreshToken {
            client: client.to_owned(),
            user_guid: user_guid.to_owned(),
            scopes: scopes.to_vec(),
            format: state.settings.format,
            end: self.clock.seconds().saturating_add(state.settings.lifetime),
            is_revoked_by_password: false,
        };
        self.keep(&mut state, token)
    }

    /// Uses a refresh token. The result holds the value for the next time.
    pub(crate) fn redeem(&self, call: &RefreshCall<'_>) -> Result<Redeemed, RefreshRefusal> {
        let mut state = locked(&self.state);
        if !state.planned.is_empty() {
            return Err(state.planned.remove(0));
        }
        let token = state.tokens.get(call.value).cloned().ok_or(RefreshRefusal::Unknown)?;
        if token.end <= self.clock.seconds() {
            return Err(token.format.expired());
        }
        if token.client != call.client {
            return Err(RefreshRefusal::WrongClient(token.client));
        }
        if token.is_revoked_by_password {
            return Err(RefreshRefusal::Signature);
        }
        let scopes = narrowed(&token.scopes, call.asked)?;
        let user_guid = token.user_guid.clone();
        let value = match (state.settings.rotation, token.format) {
            (Rotation::Off, _) => call.value.to_owned(),
            // A JWT is not kept by UAA, so it cannot be ended.
            (Rotation::On, RefreshFormat::Jwt) => self.keep(&mut state, token),
            (Rotation::On, RefreshFormat::Opaque) => {
                state.tokens.remove(call.value);
                let is_unique = state.settings.uniqueness == Uniqueness::On;
                if is_unique && call.release == UaaRelease::New {
                    return Err(RefreshRefusal::Broken);
                }
                self.keep(&mut state, token)
            }
        };
        Ok(Redeemed { value, user_guid, scopes })
    }

    /// Ends an opaque token of this user. Returns whether there was one.
    pub(crate) fn revoke(&self, value: &str, user_guid: &str) -> bool {
        let mut state = locked(&self.state);
        let own = |token: &RefreshToken| {
            token.user_guid == user_guid && token.format == RefreshFormat::Opaque
        };
        let found = state.tokens.get(value).is_some_and(own);
        if found {
            state.tokens.remove(value);
        }
        found
    }

    /// Ends what UAA keeps of a user that is deleted: the opaque tokens.
    pub(crate) fn user_deleted(&self, user_guid: &str) {
        let stays = |token: &RefreshToken| {
            token.user_guid != user_guid || token.format == RefreshFormat::Jwt
        };
        locked(&self.state).tokens.retain(|_, token| stays(token));
    }

    /// Keeps a token under a new value. An id of a refresh token ends with `-r`, as in UAA.
    fn keep(&self, state: &mut RefreshState, token: RefreshToken) -> String {
        let id = format!("{}-r", uuid::Uuid::new_v4().simple());
        let value = match token.format {
            RefreshFormat::Opaque => id,
            RefreshFormat::Jwt => self.tokens.mint(&CfTokenSpec {
                user_guid: token.user_guid.clone(),
                scopes: token.scopes.clone(),
                lifetime: token.end.saturating_sub(self.clock.seconds()),
                jti: id,
                ..CfTokenSpec::default()
            }),
        };
        state.tokens.insert(value.clone(), token);
        value
    }

    /// Ends all refresh tokens.
    pub(crate) fn revoke_all(&self) {
        locked(&self.state).tokens.clear();
    }

    /// Marks the tokens of a user after a password change in UAA itself.
    pub(crate) fn password_changed(&self, user_guid: &str) {
        let mut state = locked(&self.state);
        for token in state.tokens.values_mut().filter(|token| token.user_guid == user_guid) {
            token.is_revoked_by_password = true;
        }
    }
}

impl RefreshFormat {
    /// Returns the refusal of a token that has ended. UAA forgets opaque ones.
    fn expired(self) -> RefreshRefusal {
        match self {
            Self::Opaque => RefreshRefusal::Unknown,
            Self::Jwt => RefreshRefusal::JwtExpired,
        }
    }
}

/// Returns the scopes that are asked for, or all if none are.
fn narrowed(held: &[String], asked: &str) -> Result<Vec<String>, RefreshRefusal> {
    let asked: Vec<&str> = asked.split_whitespace().collect();
    if asked.iter().any(|asked| !held.iter().any(|scope| scope == asked)) {
        return Err(RefreshRefusal::Wider(asked.join(", ")));
    }
    let wanted = |scope: &&String| asked.is_empty() || asked.contains(&scope.as_str());
    Ok(held.iter().filter(wanted).cloned().collect())
}
