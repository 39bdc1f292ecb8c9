//! The password grant. Invariant: the checks have UAA's order, so a refusal shows how far a request
//! came: client, provider, password, then the client's right to the grant, then scopes. Called by
//! `uaa`.

use crate::identity::UAA_ORIGIN;
use crate::oauth::OAuthRefusal;
use crate::uaa::{GrantOutcome, IdToken, PASSWORD, TokenCall, Uaa, login_hint};

/// Logs a user on at the provider of the login hint.
pub(super) fn granted(uaa: &Uaa, call: &mut TokenCall<'_>) -> Result<GrantOutcome, OAuthRefusal> {
    let settings = uaa.settings();
    let hint = call.parameters.get("login_hint");
    let origin = login_hint::provider(hint, settings.default_origin.as_deref())?;
    let (name, password) = (call.parameters.get("username"), call.parameters.get("password"));
    // An empty password goes to the provider. Only a missing one is noticed here.
    let (Some(name), Some(password)) = (name, password) else {
        let own = origin == UAA_ORIGIN && password.is_none();
        let text = "Request is missing username or password.";
        return Err(OAuthRefusal::invalid_client(if own { "No password supplied" } else { text }));
    };
    call.asked_provider = Some(origin.clone());
    let user = uaa.directory.log_on(&origin, name, password, uaa.clock.seconds())?;
    if !call.client.may(PASSWORD) {
        return Err(OAuthRefusal::unauthorized_grant());
    }
    let scopes = scopes(call, &user.scopes)?;
    let refresh_token = uaa.first_refresh(&call.client, &user, &scopes);
    Ok(GrantOutcome { user, scopes, refresh_token, id_token: IdToken::ByScope })
}

/// Returns the scopes that the user has, the client may request, and this call requests. An empty
/// `scope` requests all (source: the Python client sends it).
pub(super) fn scopes(call: &TokenCall<'_>, held: &[String]) -> Result<Vec<String>, OAuthRefusal> {
    let asked = call.parameters.get("scope").unwrap_or_default();
    let asked: Vec<&str> = asked.split_whitespace().collect();
    let of_client = |asked: &&&str| call.client.scopes.iter().any(|scope| scope == **asked);
    if let Some(unknown) = asked.iter().find(|asked| !of_client(asked)) {
        let text = format!("{unknown} is invalid. Please use a valid scope name in the request");
        return Err(OAuthRefusal::bad_request("invalid_scope", text));
    }
    let wanted = |scope: &&String| asked.is_empty() || asked.contains(&scope.as_str());
    let of_client = call.client.scopes.iter().filter(wanted);
    let granted: Vec<String> = of_client.filter(|scope| held.contains(scope)).cloned().collect();
    if granted.is_empty() {
        let shown = if asked.is_empty() { call.client.scopes.join(", ") } else { asked.join(", ") };
        return Err(OAuthRefusal::bad_request(
            "invalid_scope",
            format!("[{shown}] is invalid. This user is not allowed any of the requested scopes"),
        ));
    }
    Ok(granted)
}
