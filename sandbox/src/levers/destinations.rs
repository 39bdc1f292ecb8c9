//! Levers for destinations. The default name is the destination that exists at start.

use serde_json::Value;

use crate::destination::{
    DEFAULT_NAME, DestinationLevel, EtagScope, OriginSpelling, StoredDestination,
};
use crate::identity::TECHNICAL_ORIGIN;
use crate::landscape::Landscape;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;

pub(super) const LEVERS: &[(&str, &str)] = &[
    ("edit_destination", "{name=CFAPI, set={}, unset=[]}: changes properties"),
    (
        "add_destination",
        "{name, like=CFAPI, level=subaccount|instance, set={}, unset=[]}: a copy with changes; like=\"\" starts empty",
    ),
    ("delete_destination", "{name=CFAPI}: at every level"),
    (
        "spell_origin",
        "{spelling: 0…4, name=CFAPI, origin}: 0 nowhere, 1 URL query, 2 queries property, 3 body property, 4 origin property and a token URL without path",
    ),
    ("etag_ignores_password", "{on=true}: the tag does not change with the password"),
];

pub(super) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    Some(match lever {
        "edit_destination" => edit(landscape, args),
        "add_destination" => add(landscape, args),
        "delete_destination" => delete(landscape, args),
        "spell_origin" => spell(landscape, args),
        "etag_ignores_password" => tag(landscape, args),
        _ => return None,
    })
}

fn edit(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["name", "set", "unset"])?;
    let name = name(&args)?;
    let there = landscape.destinations.store.edit(name, &args.map("set")?, &args.texts("unset")?);
    found(there, name)
}

fn add(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["name", "like", "level", "set", "unset"])?;
    let name = args.text("name")?;
    let like = args.maybe_text("like")?.unwrap_or(DEFAULT_NAME);
    let level = match args.maybe_text("level")? {
        None | Some("subaccount") => DestinationLevel::Subaccount,
        Some("instance") => DestinationLevel::Instance,
        Some(_) => return Err("argument level is subaccount or instance".to_owned()),
    };
    let store = &landscape.destinations.store;
    let mut properties = store.find(like).map(|entry| entry.properties).unwrap_or_default();
    properties.insert("Name".to_owned(), Value::String(name.to_owned()));
    properties.extend(args.map("set")?);
    let unset = args.texts("unset")?;
    properties.retain(|name, _| !unset.contains(name));
    store.add(StoredDestination { level, name: name.to_owned(), properties });
    Ok(Value::Null)
}

fn delete(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["name"])?;
    let name = name(&args)?;
    found(landscape.destinations.store.delete(name), name)
}

fn spell(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["spelling", "name", "origin"])?;
    let number = args.get("spelling").and_then(Value::as_u64);
    let spelling = number.and_then(OriginSpelling::numbered);
    let spelling = spelling.ok_or("argument spelling is a number from 0 to 4")?;
    let origin = args.maybe_text("origin")?.unwrap_or(TECHNICAL_ORIGIN);
    let name = name(&args)?;
    found(landscape.destinations.store.spell(name, spelling, origin), name)
}

fn tag(landscape: &Landscape, args: &Value) -> LeverResult {
    let is_on = LeverArgs::read(args, &["on"])?.is_on()?;
    let tag = if is_on { EtagScope::ContentButPassword } else { EtagScope::Content };
    landscape.destinations.store.set_tag(tag);
    Ok(Value::Null)
}

fn name<'a>(args: &LeverArgs<'a>) -> Result<&'a str, String> {
    Ok(args.maybe_text("name")?.unwrap_or(DEFAULT_NAME))
}

fn found(there: bool, name: &str) -> LeverResult {
    if there { Ok(Value::Null) } else { Err(format!("no destination {name}")) }
}
