//! Refresh tokens: opaque, valid for 30 days, not rotated by default. Invariant: a refresh never
//! asks the identity provider, so a password that was changed or locked there is not noticed here.
//! Called by `uaa` and by levers.

pub(crate) mod refusal;

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Clock;
use crate::part::locked;
use crate::uaa::refresh::refusal::RefreshRefusal;

/// Seconds. The value of cf-deployment for the client `cf` (source).
const LIFETIME: i64 = 2_592_000;

/// All refresh tokens of the UAA.
#[derive(Debug)]
pub(crate) struct RefreshTokens {
    clock: Clock,
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
    /// A new password grant ends the other refresh tokens of user and client.
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
    end: i64,
    /// UAA's own user changed the password, so the signature in the token no longer matches.
    is_revoked_by_password: bool,
}

/// The content of a refresh token that was used.
#[derive(Debug)]
pub(crate) struct Redeemed {
    pub(crate) value: String,
    pub(crate) user_guid: String,
    pub(crate) scopes: Vec<String>,
}

impl RefreshTokens {
    pub(crate) fn new(clock: Clock) -> Self {
        let settings = RefreshSettings {
            lifetime: LIFETIME,
            is_granted: true,
            rotation: Rotation::Off,
            uniqueness: Uniqueness::Off,
        };
        let state = RefreshState { settings, tokens: HashMap::new(), planned: Vec::new() };
        Self { clock, state: Mutex::new(state) }
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

    /// Issues a refresh token. With uniqueness on, the other tokens of user and client end.
    pub(crate) fn issue(&self, client: &str, user_guid: &str, scopes: &[String]) -> String {
        let mut state = locked(&self.state);
        if state.settings.uniqueness == Uniqueness::On {
            state.tokens.retain(|_, old| old.client != client || old.user_guid != user_guid);
        }
        let token = RefreshToken {
            client: client.to_owned(),
            user_guid: user_guid.to_owned(),
            scopes: scopes.to_vec(),
            end: self.clock.seconds().saturating_add(state.settings.lifetime),
            is_revoked_by_password: false,
        };
        state.put(token)
    }

    /// Uses a refresh token. The result holds the value for the next time.
    pub(crate) fn redeem(&self, value: &str, client: &str) -> Result<Redeemed, RefreshRefusal> {
        let mut state = locked(&self.state);
        if !state.planned.is_empty() {
            return Err(state.planned.remove(0));
        }
        let now = self.clock.seconds();
        let found = state.tokens.get(value).filter(|token| token.end > now).cloned();
        let token = found.ok_or(RefreshRefusal::Unknown)?;
        if token.client != client {
            return Err(RefreshRefusal::WrongClient(token.client));
        }
        if token.is_revoked_by_password {
            return Err(RefreshRefusal::Signature);
        }
        let (user_guid, scopes) = (token.user_guid.clone(), token.scopes.clone());
        let value = match state.settings.rotation {
            Rotation::Off => value.to_owned(),
            Rotation::On => {
                state.tokens.remove(value);
                state.put(token)
            }
        };
        Ok(Redeemed { value, user_guid, scopes })
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

impl RefreshState {
    /// Keeps a token under a new opaque value that ends with `-r`, as in UAA.
    fn put(&mut self, token: RefreshToken) -> String {
        let value = format!("{}-r", uuid::Uuid::new_v4().simple());
        self.tokens.insert(value.clone(), token);
        value
    }
}
