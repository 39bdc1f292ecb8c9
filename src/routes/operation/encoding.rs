//! An operation as bytes; short, because the id must fit into a path.
//!
//! Invariant: [`read()`] accepts exactly what [`write()`] makes. Callers: [`super`].

use super::{DeletingRoute, Operation};
use crate::capi::Guid;
use uuid::Uuid;

/// Bytes of a UUID. The length 0 marks a UUID, because no guid is empty.
const UUID: usize = 16;

/// Writes owner, tenant and the routes; `None` if the owner has more than 65,535 bytes, or another
/// name more than 255.
pub(super) fn write(operation: &Operation) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let owner = operation.owner.as_bytes();
    bytes.extend_from_slice(&u16::try_from(owner.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(owner);
    put(&mut bytes, operation.tenant.as_bytes())?;
    for route in &operation.routes {
        put_guid(&mut bytes, &route.guid)?;
        put_guid(&mut bytes, &route.job)?;
        put(&mut bytes, route.host.as_bytes())?;
    }
    Some(bytes)
}

/// Reads it back.
pub(super) fn read(mut bytes: &[u8]) -> Option<Operation> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (owner, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let owner = std::str::from_utf8(owner).ok()?.to_owned();
    bytes = rest;
    let tenant = take(&mut bytes)?;
    let mut routes = Vec::new();
    while !bytes.is_empty() {
        let (guid, job) = (take_guid(&mut bytes)?, take_guid(&mut bytes)?);
        routes.push(DeletingRoute { guid, job, host: take(&mut bytes)? });
    }
    Some(Operation { owner, tenant, routes })
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    bytes.push(u8::try_from(text.len()).ok()?);
    bytes.extend_from_slice(text);
    Some(())
}

/// CF's guids are UUIDs in lower case; others are written as they are.
fn put_guid(bytes: &mut Vec<u8>, guid: &Guid) -> Option<()> {
    let uuid = Uuid::try_parse(guid.as_str()).ok();
    match uuid.filter(|uuid| uuid.hyphenated().to_string() == guid.as_str()) {
        Some(uuid) => {
            bytes.push(0);
            bytes.extend_from_slice(uuid.as_bytes());
            Some(())
        }
        None => put(bytes, guid.as_str().as_bytes()),
    }
}

fn take(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    Some(std::str::from_utf8(text).ok()?.to_owned())
}

fn take_guid(bytes: &mut &[u8]) -> Option<Guid> {
    let (0, rest) = bytes.split_first().map(|(length, rest)| (*length, rest))? else {
        return Guid::parse(&take(bytes)?);
    };
    let (uuid, rest) = rest.split_at_checked(UUID)?;
    *bytes = rest;
    Guid::parse(&Uuid::from_slice(uuid).ok()?.hyphenated().to_string())
}
