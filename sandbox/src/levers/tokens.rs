//! Levers for tokens and keys of UAA, XSUAA and the IAS tenant.

use serde_json::{Value, json};

use crate::ias::Registration;
use crate::identity::TECHNICAL_USER;
use crate::landscape::Landscape;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;
use crate::part::{Part, locked};
use crate::token::ring::{KeyRing, OldKey};
use crate::uaa::QueryParameters;
use crate::uaa::answer::AnswerPatch;
use crate::uaa::refresh::{RefreshFormat, Rotation, Uniqueness};

pub(super) const LEVERS: &[(&str, &str)] = &[
    ("disable_refresh", "{on=true}: no refresh token is given or taken"),
    ("rotate_refresh", "{on=true}: a refresh brings a new refresh token, the old one ends"),
    (
        "unique_refresh",
        "{on=true}: a logon ends the other opaque refresh tokens of user and client",
    ),
    ("refresh_format", "{format: opaque|jwt}: of refresh tokens issued from now on"),
    ("refresh_lifetime", "{seconds}: of refresh tokens issued from now on"),
    ("token_lifetime", "{seconds, part=uaa|xsuaa}: of access tokens; expires_in is one less"),
    (
        "token_answer",
        "{part=uaa|xsuaa, n=1, set={}, unset=[]}: changes the next n successful token answers",
    ),
    ("token_origin", "{origin}: the claim origin of access tokens; null = the truth"),
    ("expire_all", "{}: the CF API takes no access token issued so far"),
    ("revoke_all", "{}: as expire_all, and all refresh tokens end"),
    ("rotate_keys", "{part=uaa|xsuaa|ias, keep_old=false}: a new key signs"),
    (
        "add_odd_keys",
        "{part=uaa|xsuaa|ias, keys}: symmetric, unknown, encryption and short keys in the key set; or these JWKs",
    ),
    ("query_parameters", "{on=true}: whether UAA's token endpoint takes a query (F19)"),
    ("assertion", "{user, claims={}}: an assertion for the JWT-bearer grant"),
    ("caller_token", "{client, scopes} or {claims}: an XSUAA token for a caller of the broker"),
    ("ias_token", "{client, claims={}}: an IAS token for a caller of the broker"),
    ("ias_client", "{client, on=true}: whether IAS hands out keys for a client"),
    ("ias_tenant", "{tenant, on=true}: whether IAS hands out keys for a tenant"),
];

pub(super) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    Some(match lever {
        "disable_refresh" | "rotate_refresh" | "unique_refresh" | "refresh_lifetime" => {
            refresh_setting(landscape, lever, args)
        }
        "refresh_format" => refresh_format(landscape, args),
        "token_lifetime" => lifetime(landscape, args),
        "token_answer" => token_answer(landscape, args),
        "token_origin" => token_origin(landscape, args),
        "expire_all" | "revoke_all" => end_all(landscape, lever, args),
        "rotate_keys" => rotate_keys(landscape, args),
        "add_odd_keys" => add_odd_keys(landscape, args),
        "query_parameters" => query_parameters(landscape, args),
        "assertion" => assertion(landscape, args),
        "caller_token" => caller_token(landscape, args),
        "ias_token" => ias_token(landscape, args),
        "ias_client" => ias_knows(landscape, "client", args),
        "ias_tenant" => ias_knows(landscape, "tenant", args),
        _ => return None,
    })
}

fn refresh_setting(landscape: &Landscape, lever: &str, args: &Value) -> LeverResult {
    let known: &[&str] = if lever == "refresh_lifetime" { &["seconds"] } else { &["on"] };
    let args = LeverArgs::read(args, known)?;
    let is_on = args.is_on()?;
    let seconds = args.maybe_number("seconds")?;
    landscape.uaa.refresh.change(|settings| match lever {
        "disable_refresh" => settings.is_granted = !is_on,
        "rotate_refresh" => settings.rotation = if is_on { Rotation::On } else { Rotation::Off },
        "unique_refresh" => {
            settings.uniqueness = if is_on { Uniqueness::On } else { Uniqueness::Off };
        }
        _ => settings.lifetime = seconds.unwrap_or(settings.lifetime),
    });
    Ok(Value::Null)
}

fn refresh_format(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["format"])?;
    let format = match args.text("format")? {
        "opaque" => RefreshFormat::Opaque,
        "jwt" => RefreshFormat::Jwt,
        _ => return Err("argument format is opaque or jwt".to_owned()),
    };
    landscape.uaa.refresh.change(|settings| settings.format = format);
    Ok(Value::Null)
}

fn lifetime(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["seconds", "part"])?;
    let seconds = args.maybe_number("seconds")?.ok_or("argument seconds is missing")?;
    match login_part(&args)? {
        Login::Uaa => locked(&landscape.uaa.settings).lifetime = seconds,
        Login::Xsuaa => locked(&landscape.xsuaa.settings).lifetime = seconds,
    }
    Ok(Value::Null)
}

fn token_answer(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "n", "set", "unset"])?;
    let left = args.count("n")?;
    let patch = AnswerPatch { set: args.map("set")?, unset: args.texts("unset")?, left };
    let patch = (left > 0).then_some(patch);
    match login_part(&args)? {
        Login::Uaa => locked(&landscape.uaa.settings).patch = patch,
        Login::Xsuaa => locked(&landscape.xsuaa.settings).patch = patch,
    }
    Ok(Value::Null)
}

fn token_origin(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["origin"])?;
    let origin = args.maybe_text("origin")?.map(str::to_owned);
    locked(&landscape.uaa.settings).claimed_origin = origin;
    Ok(Value::Null)
}

fn end_all(landscape: &Landscape, lever: &str, args: &Value) -> LeverResult {
    LeverArgs::read(args, &[])?;
    landscape.tokens.end_all();
    if lever == "revoke_all" {
        landscape.uaa.refresh.revoke_all();
    }
    Ok(Value::Null)
}

fn rotate_keys(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "keep_old"])?;
    let keeps = args.get("keep_old").and_then(Value::as_bool).unwrap_or_default();
    let old = if keeps { OldKey::Stays } else { OldKey::Ends };
    ring(landscape, &args)?.rotate(old);
    Ok(Value::Null)
}

fn add_odd_keys(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["part", "keys"])?;
    let keys = args.get("keys").map(|keys| {
        keys.as_array().cloned().ok_or_else(|| "argument keys must be a list".to_owned())
    });
    ring(landscape, &args)?.add_odd(keys.transpose()?);
    Ok(Value::Null)
}

fn query_parameters(landscape: &Landscape, args: &Value) -> LeverResult {
    let is_on = LeverArgs::read(args, &["on"])?.is_on()?;
    let query = if is_on { QueryParameters::Taken } else { QueryParameters::Refused };
    locked(&landscape.uaa.settings).query = query;
    Ok(Value::Null)
}

fn assertion(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "claims"])?;
    let user = args.maybe_text("user")?.unwrap_or(TECHNICAL_USER);
    let overrides = Value::Object(args.map("claims")?);
    let assertion = landscape.uaa.assertions.issue(&landscape.clock, user, &overrides);
    Ok(json!({"assertion": assertion}))
}

fn caller_token(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["client", "scopes", "claims"])?;
    if args.get("claims").is_some() {
        let claims = Value::Object(args.map("claims")?);
        return Ok(json!({"access_token": landscape.xsuaa.token_with_overrides(&claims)}));
    }
    let scopes = args.texts("scopes")?;
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let scopes = crate::xsuaa::full_scopes(&scopes);
    let token = landscape.xsuaa.client_token(args.text("client")?, &scopes);
    Ok(json!({"access_token": token}))
}

fn ias_token(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["client", "claims"])?;
    let overrides = Value::Object(args.map("claims")?);
    Ok(json!({"access_token": landscape.ias.token(args.text("client")?, &overrides)}))
}

fn ias_knows(landscape: &Landscape, what: &str, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &[what, "on"])?;
    let registration =
        if args.is_on()? { Registration::Registered } else { Registration::Unregistered };
    let name = args.text(what)?;
    if what == "client" {
        landscape.ias.client(name, registration);
    } else {
        landscape.ias.tenant(name, registration);
    }
    Ok(Value::Null)
}

/// The two parts with a token endpoint.
enum Login {
    Uaa,
    Xsuaa,
}

fn login_part(args: &LeverArgs<'_>) -> Result<Login, String> {
    match args.part_or(Part::Uaa)? {
        Part::Uaa => Ok(Login::Uaa),
        Part::Xsuaa => Ok(Login::Xsuaa),
        Part::Destination | Part::Cf | Part::Ias => Err("argument part is uaa or xsuaa".to_owned()),
    }
}

fn ring<'a>(landscape: &'a Landscape, args: &LeverArgs<'_>) -> Result<&'a KeyRing, String> {
    if args.part_or(Part::Uaa)? == Part::Ias {
        return Ok(&landscape.ias.ring);
    }
    Ok(match login_part(args)? {
        Login::Uaa => landscape.tokens.ring(),
        Login::Xsuaa => &landscape.xsuaa.ring,
    })
}
