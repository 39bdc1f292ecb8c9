//! The service bindings of the app: read once at start, checked as far as the broker needs them.
//!
//! Invariant: an unusable or ambiguous binding ends the start; a missing binding does not.

use crate::{
    binding::{
        Application, BindingError, BindingSources, Bindings, DestinationBinding, IdentityBinding,
        LoginKeys, XsuaaBinding,
    },
    config::{
        Settings,
        env::EnvSnapshot,
        problem::{ConfigProblem, ConfigProblems},
    },
    telemetry::logs::LogIdentity,
};

/// The services that are bound, checked as far as the broker needs them.
#[derive(Debug)]
pub struct BoundServices {
    pub(super) all: Bindings,
    pub(super) destination: Option<DestinationBinding>,
    pub(super) xsuaa: Option<XsuaaBinding>,
    /// Read only if IAS is enabled, because the app may have this binding for other reasons.
    pub(super) identity: Option<IdentityBinding>,
    pub(super) login_keys: Option<LoginKeys>,
}

impl BoundServices {
    /// Returns one line per binding: name, label, plan, delivery and the names of the credential
    /// fields.
    pub fn inventory(&self) -> Vec<String> {
        let lines = self.all.inventory().into_iter().map(|binding| {
            let plan = binding.plan.as_deref().unwrap_or("-");
            let fields: Vec<_> =
                binding.fields.iter().map(|field| format!("{field}=***")).collect();
            format!(
                "binding {} ({} {plan}, {}): {}",
                binding.name,
                binding.label,
                binding.delivery.name(),
                fields.join(" ")
            )
        });
        lines.collect()
    }
}

/// Reads the bindings that the environment names.
///
/// # Errors
/// Every unusable or ambiguous binding.
pub fn bindings(
    settings: &Settings,
    snapshot: &EnvSnapshot,
) -> Result<BoundServices, ConfigProblems> {
    let text = |name: &str| snapshot.get(name).map(str::to_owned);
    let sources = BindingSources {
        vcap_services: text("VCAP_SERVICES").map(Into::into),
        vcap_services_file: text("VCAP_SERVICES_FILE_PATH").map(Into::into),
        binding_root: text("SERVICE_BINDING_ROOT").map(Into::into),
        vcap_application: text("VCAP_APPLICATION"),
    };
    let problem = |subject: &str, error: BindingError| {
        ConfigProblem::from_source(subject, "bindings", error.to_string(), error.hint())
    };
    let all = Bindings::read(&sources)
        .map_err(|error| ConfigProblems::from(problem("bindings", error)))?;
    let mut problems = ConfigProblems::default();
    let mut keep = |subject: &str, error| problems.push(problem(subject, error));
    let destination = all
        .destination(&settings.binding)
        .map_err(|error| keep("destination", error))
        .ok()
        .flatten();
    let xsuaa = all.xsuaa(&settings.binding).map_err(|error| keep("xsuaa", error)).ok().flatten();
    let identity = settings.auth.ias.enabled.then(|| all.identity(&settings.binding)).transpose();
    let identity = identity.map_err(|error| keep("identity", error)).ok().flatten().flatten();
    let login_keys =
        all.login_keys(&settings.binding).map_err(|error| keep("login", error)).ok().flatten();
    problems.or(BoundServices { all, destination, xsuaa, identity, login_keys })
}

/// Returns the fields that name this instance in log lines; empty outside the platform.
pub fn log_identity(snapshot: &EnvSnapshot) -> LogIdentity {
    let Some(application) = snapshot.get("VCAP_APPLICATION") else {
        return LogIdentity::default();
    };
    let application = Application::parse(application).unwrap_or_default();
    let instance = snapshot.get("CF_INSTANCE_INDEX").unwrap_or("0");
    LogIdentity::default()
        .with("component_type", Some("application"))
        .with("component_id", application.application_id.as_deref())
        .with("component_name", application.name.as_deref())
        .with("component_instance", Some(instance))
        .with("source_instance", Some(instance))
        .with("organization_id", application.organization_id.as_deref())
        .with("organization_name", application.organization_name.as_deref())
        .with("space_id", application.space_id.as_deref())
        .with("space_name", application.space_name.as_deref())
        .with("container_id", snapshot.get("CF_INSTANCE_IP"))
}
