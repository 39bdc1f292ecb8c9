//! Turns a service's credential fields into what the broker uses: secret or X.509, addresses,
//! names.
//!
//! Invariant: a returned binding is complete and its addresses are secure; a missing field is an
//! error that names it. Used by `Bindings` only.

use super::{
    BindingError, DestinationBinding, IdentityBinding, LoginKeys, SecretForm, ServiceBinding,
    ServiceCredential, Settings, XsuaaBinding,
    address::base_url,
    lenient::{LenientList, LenientText},
};
use crate::upstream::body::decode_local;
use secrecy::SecretString;
use std::{fs, path::Path};
use url::Url;
use zeroize::Zeroizing;

/// Reads a binding of the Destination service.
pub(super) fn destination(
    binding: &ServiceBinding,
    settings: &Settings,
) -> Result<DestinationBinding, BindingError> {
    let [client_id, uri, url] = required(binding, ["clientid", "uri", "url"])?;
    Ok(DestinationBinding {
        name: binding.name.clone(),
        client_id: client_id.to_owned(),
        credential: credential(binding, settings)?,
        service: address(binding, "uri", uri)?,
        token_base: address(binding, "url", url)?,
    })
}

/// Reads a binding of XSUAA.
pub(super) fn xsuaa(
    binding: &ServiceBinding,
    settings: &Settings,
) -> Result<XsuaaBinding, BindingError> {
    let [client_id, url, uaa_domain, xsappname] =
        required(binding, ["clientid", "url", "uaadomain", "xsappname"])?;
    let zones = present(binding, &["zoneid", "identityzoneid", "tenantid"]);
    if zones.is_empty() {
        return Err(incomplete(binding, vec!["identityzoneid"]));
    }
    Ok(XsuaaBinding {
        name: binding.name.clone(),
        client_id: client_id.to_owned(),
        credential: credential(binding, settings)?,
        url: address(binding, "url", url)?,
        uaa_domain: uaa_domain.to_owned(),
        xsappname: xsappname.to_owned(),
        zones,
    })
}

/// Reads a binding of Identity Authentication. Tokens are verified without its credential, so every
/// credential type is accepted. A `domains` that is not a list counts as missing; an empty list is
/// accepted.
pub(super) fn identity(binding: &ServiceBinding) -> Result<IdentityBinding, BindingError> {
    let [client_id, domains] = required(binding, ["clientid", "domains"])?;
    let domains = decode_local::<LenientList<LenientText>>(domains.as_bytes())
        .map_err(|_| incomplete(binding, vec!["domains"]))?;
    let secret = binding.credentials.sealed("clientsecret");
    Ok(IdentityBinding {
        name: binding.name.clone(),
        client_id: client_id.to_owned(),
        secret: secret.filter(|it| it.form != SecretForm::Empty).map(|it| it.text.clone()),
        url: binding.credentials.text("url").and_then(base_url),
        domains: domains.into_texts(),
        tenants: present(binding, &["app_tid", "zone_uuid"]),
    })
}

/// Reads the keys of the login.
pub(super) fn login_keys(binding: &ServiceBinding) -> Result<LoginKeys, BindingError> {
    let usable = |field| {
        let found = binding.credentials.sealed(field);
        found.filter(|it| it.form == SecretForm::Usable).map(|it| it.text.clone())
    };
    let current = usable("key").ok_or_else(|| incomplete(binding, vec!["key"]))?;
    Ok(LoginKeys { current, previous: usable("previous_key") })
}

/// Returns the values of the fields that are present, each once.
fn present(binding: &ServiceBinding, fields: &[&str]) -> Vec<String> {
    let mut values: Vec<String> = fields
        .iter()
        .filter_map(|field| binding.credentials.text(field))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect();
    values.sort();
    values.dedup();
    values
}

fn credential(
    binding: &ServiceBinding,
    settings: &Settings,
) -> Result<ServiceCredential, BindingError> {
    let fields = &binding.credentials;
    match fields.text("credential-type") {
        Some("x509_attested") => {
            return Err(BindingError::Attested { binding: binding.name.clone() });
        }
        Some("x509") => return certificate(binding, settings),
        // `binding-secret`, `instance-secret`, none and unknown types: a secret if there is one.
        Some(_) | None => {}
    }
    match fields.sealed("clientsecret") {
        Some(secret) if secret.form != SecretForm::Empty => {
            return Ok(ServiceCredential::Secret(secret.text.clone()));
        }
        Some(_) | None => {}
    }
    if is_true(fields.text("hide-secret")) {
        return Err(BindingError::SecretHidden { binding: binding.name.clone() });
    }
    if fields.has("certurl") {
        return certificate(binding, settings);
    }
    Err(incomplete(binding, vec!["clientsecret"]))
}

fn certificate(
    binding: &ServiceBinding,
    settings: &Settings,
) -> Result<ServiceCredential, BindingError> {
    let fields = &binding.credentials;
    let Some(token_base) = fields.text("certurl") else {
        return Err(incomplete(binding, vec!["certurl"]));
    };
    let token_base = address(binding, "certurl", token_base)?;
    let key = match fields.sealed("key") {
        Some(key) if key.form != SecretForm::Empty => key.text.clone(),
        Some(_) | None => from_file(binding, &KEY, settings.key_file.as_deref())?,
    };
    let chain = match fields.text("certificate") {
        Some(chain) if !chain.is_empty() => SecretString::from(chain),
        Some(_) | None => from_file(binding, &CERTIFICATE, settings.certificate_file.as_deref())?,
    };
    Ok(ServiceCredential::Certificate { chain, key, token_base })
}

/// A part of a self-managed X.509 credential that may come from a file.
struct X509Part {
    field: &'static str,
    setting: &'static str,
}

const KEY: X509Part = X509Part { field: "key", setting: "binding.key_file" };
const CERTIFICATE: X509Part =
    X509Part { field: "certificate", setting: "binding.certificate_file" };

fn from_file(
    binding: &ServiceBinding,
    part: &X509Part,
    path: Option<&Path>,
) -> Result<SecretString, BindingError> {
    let X509Part { field, setting } = *part;
    let Some(path) = path else {
        return Err(BindingError::PartMissing { binding: binding.name.clone(), field, setting });
    };
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        BindingError::Unreadable { source_name: setting, path: path.to_owned(), kind: error.kind() }
    })?;
    Ok(SecretString::from(text.trim_start_matches('\u{feff}')))
}

fn required<'a, const N: usize>(
    binding: &'a ServiceBinding,
    names: [&'static str; N],
) -> Result<[&'a str; N], BindingError> {
    let value = |name: &str| binding.credentials.text(name).filter(|text| !text.is_empty());
    let missing: Vec<_> = names.iter().copied().filter(|name| value(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(incomplete(binding, missing));
    }
    Ok(names.map(|name| value(name).unwrap_or_default()))
}

fn address(binding: &ServiceBinding, field: &'static str, text: &str) -> Result<Url, BindingError> {
    base_url(text).ok_or_else(|| BindingError::Address { binding: binding.name.clone(), field })
}

fn incomplete(binding: &ServiceBinding, missing: Vec<&'static str>) -> BindingError {
    BindingError::Incomplete {
        binding: binding.name.clone(),
        delivery: binding.delivery.name(),
        missing,
    }
}

fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}
