//! Levers for the refusals of the UAA: any row of `docs/reference/uaa-faults.md`, any cause of a
//! refused refresh.

use serde_json::{Value, json};

use crate::landscape::Landscape;
use crate::levers::LeverResult;
use crate::levers::args::LeverArgs;
use crate::uaa::faults::{Dialect, FaultGrants, UaaFault};
use crate::uaa::refresh::refusal::RefreshRefusal;

pub(super) const LEVERS: &[(&str, &str)] = &[
    (
        "uaa_fault",
        "{row: \"F1\"…\"F26\", n=1, variant (name or index), dialect: invalid_client|unauthorized, grant: log_on|any|password|refresh_token|…}: the next n token calls get this row",
    ),
    ("uaa_faults", "{}: lists rows and variants"),
    ("refresh_fault", "{cause, n=1}: the next n refresh calls are refused for this cause"),
];

pub(super) fn pull(landscape: &Landscape, lever: &str, args: &Value) -> Option<LeverResult> {
    Some(match lever {
        "uaa_fault" => uaa_fault(landscape, args),
        "uaa_faults" => uaa_faults(args),
        "refresh_fault" => refresh_fault(landscape, args),
        _ => return None,
    })
}

fn uaa_fault(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["row", "n", "variant", "dialect", "grant"])?;
    let row = args.text("row")?;
    let fault = variant(UaaFault::of_row(row), args.get("variant"))
        .ok_or_else(|| format!("no such row or variant of {row}: see uaa_faults"))?;
    let fault = match args.maybe_text("dialect")? {
        None => fault,
        Some("invalid_client") => fault.spelled(Dialect::InvalidClient),
        Some("unauthorized") => fault.spelled(Dialect::Unauthorized),
        Some(_) => return Err("argument dialect is invalid_client or unauthorized".to_owned()),
    };
    let grants = match args.maybe_text("grant")? {
        None | Some("log_on") => FaultGrants::LogOn,
        Some("any") => FaultGrants::Any,
        Some(one) => FaultGrants::One(one.to_owned()),
    };
    landscape.uaa.faults.arm(fault, grants, args.count("n")?);
    Ok(Value::Null)
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
    let row = |number: u8| {
        let row = format!("F{number}");
        let names: Vec<&str> = UaaFault::of_row(&row).into_iter().map(|(name, _)| name).collect();
        (row, json!(names))
    };
    Ok(Value::Object((1..=26).map(row).collect()))
}

fn refresh_fault(landscape: &Landscape, args: &Value) -> LeverResult {
    let args = LeverArgs::read(args, &["cause", "n"])?;
    let cause = RefreshRefusal::named(args.text("cause")?)
        .ok_or_else(|| format!("argument cause is one of {}", RefreshRefusal::CAUSES.join(", ")))?;
    landscape.uaa.refresh.plan(&cause, args.count("n")?);
    Ok(Value::Null)
}
