//! Client and user of the password grant, as the properties give them.
//!
//! Invariant: no empty password, no placeholder, no leftover client secret and no NUL character
//! reaches a grant. Used by `validate`.

use crate::{
    binding::{Fields, SecretForm, is_unfilled},
    destination::{
        model::PasswordCredentials,
        report::{ValidationReport, missing, required},
    },
};
use secrecy::SecretString;

/// Client whose secret is empty on every Cloud Foundry.
const CF_CLIENT: &str = "cf";

/// Reads both; errors are reported.
pub(super) fn read(fields: &Fields, report: &mut ValidationReport) -> Option<PasswordCredentials> {
    let client_id = required(fields, "clientId", report);
    let user = required(fields, "User", report);
    for property in ["clientId", "User", "scope"] {
        if fields.text(property).is_some_and(|text| text.contains('\0')) {
            report.finding(format!("{property} holds a NUL character"));
        }
    }
    if user.is_some_and(is_unfilled) {
        report.finding("User is a placeholder that was not replaced: enter the technical user");
    }
    let password = password(fields, report);
    let client_secret = client_secret(fields, client_id, report);
    Some(PasswordCredentials {
        client_id: client_id?.to_owned(),
        client_secret: client_secret?,
        user: user?.to_owned(),
        password: password?,
    })
}

fn password(fields: &Fields, report: &mut ValidationReport) -> Option<SecretString> {
    let Some(password) = fields.sealed("Password") else {
        report.finding(missing(fields, "Password"));
        return None;
    };
    match password.form {
        SecretForm::Usable => return Some(password.text.clone()),
        SecretForm::Empty => report.finding("Password is empty"),
        SecretForm::HasNul => report.finding("Password holds a NUL character"),
        SecretForm::Placeholder => report.finding(
            "Password is a placeholder that was not replaced: enter the technical user's password",
        ),
        SecretForm::ExportMark => report.finding(
            "Password missing: removed on export. Add a line Password=… to the file by hand",
        ),
    }
    None
}

/// Absent and empty mean the same. A leftover dummy secret is found here, because UAA's answer to
/// it looks like a wrong password (fault F15 in `docs/reference/uaa-faults.md`).
fn client_secret(
    fields: &Fields,
    client_id: Option<&str>,
    report: &mut ValidationReport,
) -> Option<SecretString> {
    let Some(secret) = fields.sealed("clientSecret") else {
        return Some(SecretString::default());
    };
    match secret.form {
        // The cockpit's remark replaces a secret that the file no longer has; `cf` never had one.
        SecretForm::Empty => Some(SecretString::default()),
        SecretForm::ExportMark if client_id == Some(CF_CLIENT) => Some(SecretString::default()),
        SecretForm::ExportMark => {
            report.finding("clientSecret missing: removed on export");
            None
        }
        SecretForm::HasNul => {
            report.finding("clientSecret holds a NUL character");
            None
        }
        SecretForm::Placeholder if client_id != Some(CF_CLIENT) => {
            report.finding("clientSecret is a placeholder that was not replaced");
            None
        }
        SecretForm::Usable | SecretForm::Placeholder if client_id == Some(CF_CLIENT) => {
            report.finding(
                "clientSecret is not empty, but client cf has an empty secret: probably a dummy is \
                 left over; edit the destination, clear the field, save",
            );
            None
        }
        SecretForm::Usable | SecretForm::Placeholder => Some(secret.text.clone()),
    }
}
