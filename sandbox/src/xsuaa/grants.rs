//! XSUAA's token endpoint: client credentials for applications, passwords and codes for people.
//! Called by `xsuaa`.

use axum::body::Body;
use http::{HeaderMap, Response};
use serde::Serialize;
use serde_json::Value;

use crate::oauth::{
    BasicEncoding, OAuthClient, OAuthRefusal, TokenParameters, authenticate, token_answer,
};
use crate::part::locked;
use crate::xsuaa::{
    ADMIN_CLIENT, ADMIN_SECRET, BROKER_CLIENT, BROKER_SECRET, DESTINATION_CLIENT,
    DESTINATION_SECRET, DESTINATION_XSAPPNAME, DEVELOPER_PASSWORD, DEVELOPER_USER, PROVIDER_CLIENT,
    PROVIDER_SECRET, SECOND_PROVIDER_CLIENT, SECOND_PROVIDER_SECRET, Xsuaa, full_scopes,
};

const CLIENT_CREDENTIALS: &str = "client_credentials";
const PASSWORD: &str = "password";
const AUTHORIZATION_CODE: &str = "authorization_code";

/// People of the subaccount: name, password, scopes.
pub(super) const PEOPLE: &[(&str, &str, &[&str])] = &[
    (DEVELOPER_USER, DEVELOPER_PASSWORD, &["Spaces.Read"]),
    (
        "operator@example.test",
        "sandbox-only-operator",
        &["Routes.Read", "Routes.Write", "Routes.Admin", "Spaces.Read", "Metrics.Read"],
    ),
    ("stranger@example.test", "sandbox-only-stranger", &[]),
];

/// The members have the order of the real body.
#[derive(Serialize)]
struct XsuaaTokenBody {
    access_token: String,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    expires_in: i64,
    scope: String,
    jti: Value,
}

/// The tokens and scopes that a grant brings.
struct XsuaaTokens {
    access_token: String,
    id_token: Option<String>,
    scopes: Vec<String>,
}

/// Answers one token call.
pub(super) fn answer(xsuaa: &Xsuaa, headers: &HeaderMap, call: &TokenParameters) -> Response<Body> {
    match granted(xsuaa, headers, call) {
        Ok(granted) => success(xsuaa, granted),
        Err(refusal) => refusal.answer(),
    }
}

/// Returns the scopes of a client's own tokens. An unknown client has none.
pub(super) fn scopes_of(client: &str) -> Vec<String> {
    let known = clients().into_iter().find(|known| known.id == client);
    known.map(|known| known.authorities).unwrap_or_default()
}

fn granted(
    xsuaa: &Xsuaa,
    headers: &HeaderMap,
    call: &TokenParameters,
) -> Result<XsuaaTokens, OAuthRefusal> {
    let client = authenticate(&clients(), BasicEncoding::Announced, headers, call)?;
    let grant = call.get("grant_type").unwrap_or_default();
    if grant.is_empty() {
        return Err(OAuthRefusal::bad_request("invalid_request", "Missing grant type"));
    }
    if ![CLIENT_CREDENTIALS, PASSWORD, AUTHORIZATION_CODE].contains(&grant) {
        return Err(OAuthRefusal::bad_request("unsupported_grant_type", "Unsupported grant type"));
    }
    if !client.may(grant) {
        return Err(OAuthRefusal::unauthorized_grant());
    }
    match grant {
        PASSWORD => by_password(xsuaa, &client, call),
        AUTHORIZATION_CODE => by_code(xsuaa, &client, call),
        _ => Ok(XsuaaTokens {
            access_token: xsuaa.client_token(&client.id, &client.authorities),
            id_token: None,
            scopes: client.authorities,
        }),
    }
}

fn by_password(
    xsuaa: &Xsuaa,
    client: &OAuthClient,
    call: &TokenParameters,
) -> Result<XsuaaTokens, OAuthRefusal> {
    let (name, password) = (call.get("username"), call.get("password"));
    let person =
        PEOPLE.iter().find(|(known, secret, _)| name == Some(*known) && password == Some(*secret));
    let Some((name, _, scopes)) = person else {
        return Err(OAuthRefusal::unauthorized("Bad credentials"));
    };
    let scopes = with_openid(scopes);
    let access_token = xsuaa.user_token(&client.id, name, &scopes);
    Ok(XsuaaTokens { access_token, id_token: None, scopes })
}

fn by_code(
    xsuaa: &Xsuaa,
    client: &OAuthClient,
    call: &TokenParameters,
) -> Result<XsuaaTokens, OAuthRefusal> {
    let code = xsuaa.codes.redeem(&client.id, call, xsuaa.clock.seconds())?;
    let person = PEOPLE.iter().find(|(name, _, _)| *name == code.user);
    let scopes = with_openid(person.map_or(&[][..], |(_, _, scopes)| *scopes));
    Ok(XsuaaTokens {
        access_token: xsuaa.user_token(&client.id, code.user, &scopes),
        id_token: Some(xsuaa.id_token(&client.id, code.user, code.nonce.as_deref())),
        scopes,
    })
}

fn with_openid(names: &[&str]) -> Vec<String> {
    let mut scopes = full_scopes(names);
    scopes.push("openid".to_owned());
    scopes
}

fn success(xsuaa: &Xsuaa, granted: XsuaaTokens) -> Response<Body> {
    let claims = xsuaa.ring.verified(&granted.access_token).unwrap_or_default();
    let mut settings = locked(&xsuaa.settings);
    let body = XsuaaTokenBody {
        access_token: granted.access_token,
        token_type: "bearer",
        id_token: granted.id_token,
        expires_in: settings.lifetime.saturating_sub(1),
        scope: granted.scopes.join(" "),
        jti: claims.get("jti").cloned().unwrap_or_default(),
    };
    let Some(patch) = settings.patch.as_mut() else {
        return token_answer(&body);
    };
    let mut changed = serde_json::to_value(&body).unwrap_or_default();
    if patch.apply(&mut changed) == 0 {
        settings.patch = None;
    }
    token_answer(&changed)
}

/// Returns the clients of the subaccount.
fn clients() -> Vec<OAuthClient> {
    let client = |id: &str, secret: &str, authorities: Vec<String>| OAuthClient {
        id: id.to_owned(),
        secret: secret.to_owned(),
        grants: vec![CLIENT_CREDENTIALS.to_owned()],
        scopes: Vec::new(),
        authorities,
    };
    let of_service = ["Destination_Read", "AccessClientSecrets"];
    let of_service = of_service.map(|name| format!("{DESTINATION_XSAPPNAME}.{name}")).to_vec();
    let provider = full_scopes(&["Routes.Read", "Routes.Write", "Api.Proxy"]);
    let second = full_scopes(&["Routes.Read", "Routes.Write"]);
    let admin = full_scopes(&["Routes.Read", "Routes.Write", "Routes.Admin", "Metrics.Read"]);
    let mut broker = client(BROKER_CLIENT, BROKER_SECRET, vec!["uaa.resource".to_owned()]);
    // The provider app's approuter logs people on with the app's own client.
    let mut provider = client(PROVIDER_CLIENT, PROVIDER_SECRET, provider);
    for application in [&mut broker, &mut provider] {
        application.grants.extend([PASSWORD, AUTHORIZATION_CODE].map(str::to_owned));
    }
    vec![
        client(DESTINATION_CLIENT, DESTINATION_SECRET, of_service),
        provider,
        client(SECOND_PROVIDER_CLIENT, SECOND_PROVIDER_SECRET, second),
        client(ADMIN_CLIENT, ADMIN_SECRET, admin),
        broker,
    ]
}
