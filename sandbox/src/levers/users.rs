//! Levers for the technical users: passwords, locks, second factors. The default user is the user
//! of the default destination.

use serde_json::{Value, json};

use crate::identity::{Account, TECHNICAL_ORIGIN, TECHNICAL_USER, UAA_ORIGIN, User};
use crate::landscape::Landscape;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;
use crate::part::locked;
use crate::token::CfTokenSpec;

pub(super) const LEVERS: &[(&str, &str)] = &[
    ("change_password", "{user, password}: at the identity provider, not in the destination"),
    ("lock_user", "{user, seconds}: as five wrong logons do; 3600 s, or 300 s for origin uaa"),
    ("unlock_user", "{user}: clears lock and failures"),
    ("require_second_factor", "{user, on=true}: the provider wants a code besides the password"),
    (
        "require_action",
        "{user, code}: right passwords are answered with this code of F6 (origin uaa: password change, NOT_VERIFIED); null ends it",
    ),
    ("add_user", "{user, password, origin, guid, scopes}: adds or replaces a user"),
    (
        "delete_user",
        "{user, at: uaa|everywhere}: in UAA (the provider goes on to know the password) or everywhere",
    ),
    ("deactivate_user", "{user, on=true}: in UAA; the provider goes on to know the password"),
    ("set_scopes", "{user, scopes}: what the user holds of the client's scopes"),
    ("user_state", "{user, origin}: attempts, failures, locked_until (seconds since 1970)"),
    ("default_origin", "{origin}: whom UAA asks without a hint; null = none (F10)"),
];

pub(super) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    Some(match lever {
        "change_password" => change_password(landscape, args),
        "lock_user" => lock(landscape, args),
        "unlock_user" => unlock(landscape, args),
        "require_second_factor" => second_factor(landscape, args),
        "require_action" => action(landscape, args),
        "add_user" => add(landscape, args),
        "delete_user" => delete(landscape, args),
        "deactivate_user" => deactivate(landscape, args),
        "set_scopes" => set_scopes(landscape, args),
        "user_state" => state(landscape, args),
        "default_origin" => default_origin(landscape, args),
        _ => return None,
    })
}

/// UAA keeps only its own users' passwords. So only their refresh tokens end with a new password.
fn change_password(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "password"])?;
    let password = args.text("password")?.to_owned();
    let user = changed(landscape, &args, |user| user.password = password)?;
    if user.origin == UAA_ORIGIN {
        landscape.uaa.refresh.password_changed(&user.guid);
    }
    Ok(Value::Null)
}

fn lock(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "seconds"])?;
    let user = named(landscape, &args)?;
    let seconds = args.maybe_number("seconds")?;
    landscape.uaa.directory.lock(&user, landscape.clock.seconds(), seconds);
    Ok(Value::Null)
}

fn unlock(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user"])?;
    landscape.uaa.directory.unlock(&named(landscape, &args)?);
    Ok(Value::Null)
}

fn second_factor(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "on"])?;
    let code = args.is_on()?.then(|| "INVALID_AUTHORIZATION_HEADER_LENGTH".to_owned());
    changed(landscape, &args, |user| user.required_action = code).map(|_| Value::Null)
}

fn action(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "code"])?;
    let code = args.maybe_text("code")?.map(str::to_owned);
    changed(landscape, &args, |user| user.required_action = code).map(|_| Value::Null)
}

fn add(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "password", "origin", "guid", "scopes"])?;
    let scopes = args.texts("scopes")?;
    let guid = args.maybe_text("guid")?.map(str::to_owned);
    let name = args.text("user")?;
    let origin = args.maybe_text("origin")?.unwrap_or(TECHNICAL_ORIGIN);
    if origin == UAA_ORIGIN && !name.chars().all(is_of_local_name) {
        return Err("Username must match pattern: [\\p{L}+0-9+\\-_.@'!]+".to_owned());
    }
    let user = User {
        guid: guid.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        name: name.to_owned(),
        password: args.text("password")?.to_owned(),
        origin: origin.to_owned(),
        scopes: if scopes.is_empty() { CfTokenSpec::default().scopes } else { scopes },
        required_action: None,
        account: Account::Active,
    };
    let guid = user.guid.clone();
    landscape.uaa.directory.add(user);
    Ok(json!({"guid": guid}))
}

fn delete(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "at"])?;
    let name = args.text("user")?;
    let directory = &landscape.uaa.directory;
    let known = directory.by_name(name).filter(|user| user.account != Account::Deleted);
    let known = known.ok_or_else(|| format!("no user {name}"))?;
    match args.maybe_text("at")? {
        Some("everywhere") => directory.remove(name),
        None | Some("uaa") if known.origin == UAA_ORIGIN => directory.remove(name),
        None | Some("uaa") => directory.change(name, |user| user.account = Account::Deleted),
        Some(_) => return Err("argument at is uaa or everywhere".to_owned()),
    };
    landscape.uaa.refresh.user_deleted(&known.guid);
    Ok(Value::Null)
}

fn deactivate(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "on"])?;
    let account = if args.is_on()? { Account::Inactive } else { Account::Active };
    changed(landscape, &args, |user| user.account = account).map(|_| Value::Null)
}

/// UAA takes only these characters in the names of its own users.
fn is_of_local_name(character: char) -> bool {
    character.is_alphabetic() || character.is_ascii_digit() || "+-_.@'!".contains(character)
}

fn set_scopes(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "scopes"])?;
    let scopes = args.texts("scopes")?;
    changed(landscape, &args, |user| user.scopes = scopes).map(|_| Value::Null)
}

fn state(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["user", "origin"])?;
    let name = args.maybe_text("user")?.unwrap_or(TECHNICAL_USER);
    let own = landscape.uaa.directory.by_name(name).map(|user| user.origin);
    let origin = args.maybe_text("origin")?.map(str::to_owned).or(own).unwrap_or_default();
    let (attempts, failures, until) = landscape.uaa.directory.count(&origin, name);
    let until = until.filter(|until| *until > landscape.clock.seconds());
    Ok(json!({"origin": origin, "attempts": attempts, "failures": failures, "locked_until": until}))
}

fn default_origin(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["origin"])?;
    let origin = args.maybe_text("origin")?.map(str::to_owned);
    locked(&landscape.uaa.settings).default_origin = origin;
    Ok(Value::Null)
}

/// Returns the user of the argument `user`, or the default user.
fn named(landscape: &Landscape, args: &LeverArgs<'_>) -> Result<User, String> {
    let name = args.maybe_text("user")?.unwrap_or(TECHNICAL_USER);
    landscape.uaa.directory.by_name(name).ok_or_else(|| format!("no user {name}"))
}

fn changed(
    landscape: &Landscape,
    args: &LeverArgs<'_>,
    change: impl FnOnce(&mut User),
) -> Result<User, String> {
    let name = args.maybe_text("user")?.unwrap_or(TECHNICAL_USER);
    landscape.uaa.directory.change(name, change).ok_or_else(|| format!("no user {name}"))
}
