//! Levers for the refusals of the UAA: any row of `docs/reference/uaa-faults.md`, any cause of a
//! refused refresh.

use serde_json::{Value, json};

use crate::landscape::Landscape;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;
use crate::part::locked;
use crate::uaa::faults::{ArmedUaaFault, Dialect, FaultGrants, UaaFault};
use crate::uaa::refresh::refusal::RefreshRefusal;
use crate::uaa::release::UaaRelease;

pub(super) const LEVERS: &[(&str, &str)] = &[
    (
        "uaa_fault",
        "{row: \"F1\"…\"F26\" or \"JWT\", n=1, variant (name or index), dialect: invalid_client|unauthorized, release: \"77.18.0\"|\"4.30.0\", grant: log_on|any|password|refresh_token|…}: the next n token calls get this row",
    ),
    ("uaa_release", "{release: \"77.18.0\"|\"4.30.0\"}: which UAA answers from now on"),
    ("uaa_faults", "{}: lists rows and variants"),
    ("refresh_fault", "{cause, n=1}: the next n refresh calls are refused for this cause"),
];

pub(super) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    Some(match lever {
        "uaa_fault" => uaa_fault(landscape, args),
        "uaa_release" => uaa_release(landscape, args),
        "uaa_faults" => uaa_faults(args),
        "refresh_fault" => refresh_fault(landscape, args),
        _ => return None,
    })
}

fn uaa_fault(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["row", "n", "variant", "dialect", "release", "grant"])?;
    let row = args.text("row")?;
    let fault = variant(UaaFault::of_row(row), args.get("variant"))
        .ok_or_else(|| format!("no such row or variant of {row}: see uaa_faults"))?;
    let dialect = match args.maybe_text("dialect")? {
        None => None,
        Some("invalid_client") => Some(Dialect::InvalidClient),
        Some("unauthorized") => Some(Dialect::Unauthorized),
        Some(_) => return Err("argument dialect is invalid_client or unauthorized".to_owned()),
    };
    let grants = match args.maybe_text("grant")? {
        None | Some("log_on") => FaultGrants::LogOn,
        Some("any") => FaultGrants::Any,
        Some(one) => FaultGrants::One(one.to_owned()),
    };
    let release = args.maybe_text("release")?.map(release).transpose()?;
    let left = args.count("n")?;
    landscape.uaa.faults.arm(ArmedUaaFault { fault, grants, left, release, dialect });
    Ok(Value::Null)
}

fn uaa_release(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["release"])?;
    locked(&landscape.uaa.settings).release = release(args.text("release")?)?;
    Ok(Value::Null)
}

fn release(number: &str) -> Result<UaaRelease, String> {
    UaaRelease::named(number).ok_or_else(|| "argument release is 77.18.0 or 4.30.0".to_owned())
}

/// Returns the variant with this name or index. The default is the first one.
fn variant(faults: Vec<(&'static str, UaaFault)>, wanted: Option<&Value>) -> Option<UaaFault> {
    let mut faults = faults.into_iter();
    let found = match wanted {
        None => faults.next(),
        Some(Value::String(name)) => faults.find(|(own, _)| own == name),
        Some(index) => faults.nth(usize::try_from(index.as_u64()?).ok()?),
    };
    found.map(|(_, fault)| fault)
}

fn uaa_faults(args: &Value) -> LeverResult {
    LeverArgs::read(args, &[])?;
    let row = |row: String| {
        let names: Vec<&str> = UaaFault::of_row(&row).into_iter().map(|(name, _)| name).collect();
        (row, json!(names))
    };
    Ok(Value::Object(UaaFault::rows().map(row).collect()))
}

fn refresh_fault(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["cause", "n"])?;
    let cause = RefreshRefusal::named(args.text("cause")?)
        .ok_or_else(|| format!("argument cause is one of {}", RefreshRefusal::CAUSES.join(", ")))?;
    landscape.uaa.refresh.plan(&cause, args.count("n")?);
    Ok(Value::Null)
}
