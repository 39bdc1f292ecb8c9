//! `sandbox`: a simulated landscape and a broker in one process, on loopback and in memory.
//!
//! Invariant: it never starts on a real platform. Its broker is the ordinary one: it gets only the
//! variables that any other landscape would give it.

use std::process::ExitCode;

use cfapi_sandbox::{Options, Sandbox};

use crate::{
    app::{Broker, StartupError},
    cli::{CommandError, fail, misconfigured, print_line, serve},
    config::{self, Flags, env::EnvSnapshot},
    lifecycle::{SignalAction, Signals},
};

/// First port of the sandbox, used by the broker; the landscape takes the next six.
const PORT_BASE: u16 = 8080;

/// Options of `sandbox`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cfapi-broker sandbox\n  cfapi-broker sandbox --port-base 0 --json"
)]
pub(super) struct SandboxArgs {
    /// First of seven consecutive ports; 0 takes free ports.
    #[arg(long, default_value_t = PORT_BASE, value_name = "N")]
    port_base: u16,
    /// Print one JSON object with all addresses, tokens and variables as the first line.
    #[arg(long)]
    json: bool,
    /// Start no broker, so that separate broker processes can use the landscape.
    #[arg(long)]
    landscape_only: bool,
}

/// Runs the landscape, and a broker in it, until a signal.
pub(super) async fn run(flags: &Flags, args: SandboxArgs, mut signals: Signals) -> ExitCode {
    let own = match EnvSnapshot::take() {
        Ok(own) => own,
        Err(problems) => return misconfigured(&problems),
    };
    if own.get("VCAP_APPLICATION").is_some() {
        let hint = "the sandbox is for development machines; run `cfapi-broker serve` here";
        return fail(&CommandError::new(
            "this is a Cloud Foundry container",
            "variable VCAP_APPLICATION",
            hint,
        ));
    }
    let base = (args.port_base != 0).then_some(args.port_base);
    let started = tokio::select! {
        started = Sandbox::start(Options { port_base: base }) => started,
        () = stopped(&mut signals) => return ExitCode::SUCCESS,
    };
    let sandbox = match started {
        Ok(sandbox) => sandbox,
        Err(error) => {
            return fail(&CommandError::new(
                error.to_string(),
                "sandbox",
                "choose other ports with --port-base",
            ));
        }
    };
    let code = if args.landscape_only {
        announce(args, &sandbox, None);
        stopped(&mut signals).await;
        ExitCode::SUCCESS
    } else {
        with_broker((flags, args), &sandbox, &own, signals).await
    };
    sandbox.stop().await;
    code
}

/// Waits for SIGTERM or SIGINT.
async fn stopped(signals: &mut Signals) {
    while signals.next().await != SignalAction::Stop {}
}

async fn with_broker(
    (flags, args): (&Flags, SandboxArgs),
    sandbox: &Sandbox,
    own: &EnvSnapshot,
    signals: Signals,
) -> ExitCode {
    let snapshot = landscape_variables(args, sandbox, own);
    let loaded = match config::load(&snapshot, flags) {
        Ok(loaded) => loaded,
        Err(problems) => return misconfigured(&problems),
    };
    let mut settings = loaded.settings.clone();
    settings.server.address = std::net::Ipv4Addr::LOCALHOST.into();
    // The announcement is the first line of standard output, so the log starts after it.
    let broker = match Broker::build(settings, &snapshot).await {
        Ok(broker) => broker,
        Err(StartupError::Configuration(problems)) => return misconfigured(&problems),
        Err(StartupError::Listen { address, .. }) => {
            let hint = "choose other ports with --port-base";
            return fail(&CommandError::new(
                format!("port {} is in use", address.port()),
                "sandbox",
                hint,
            ));
        }
    };
    announce(args, sandbox, Some(&format!("http://{}", broker.address())));
    let log = serve::start_logs(&loaded, own);
    serve::until_signalled(broker.with_log(log), signals).await
}

/// The variables that a platform would set for the broker, and the settings of the real
/// environment.
fn landscape_variables(args: SandboxArgs, sandbox: &Sandbox, own: &EnvSnapshot) -> EnvSnapshot {
    let settings =
        own.with_prefix("CFAPI_").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let landscape = [
        ("PORT", args.port_base.to_string()),
        ("VCAP_SERVICES", sandbox.vcap_services()),
        ("VCAP_APPLICATION", sandbox.vcap_application("127.0.0.1")),
    ];
    let landscape = landscape.map(|(name, value)| (name.to_owned(), value));
    EnvSnapshot::from_vars(settings.chain(landscape))
}

fn announce(args: SandboxArgs, sandbox: &Sandbox, broker: Option<&str>) {
    if args.json {
        print_line(
            &serde_json::json!({
                "broker": broker,
                "destination": sandbox.destination_url(),
                "xsuaa": sandbox.xsuaa_url(),
                "uaa": sandbox.uaa_url(),
                "cf_api": sandbox.cf_url(),
                "levers": sandbox.levers_url(),
                "provider_token": sandbox.provider_token(),
                "developer_token": sandbox.developer_token(),
                "vcap_services": sandbox.vcap_services(),
                "vcap_application": sandbox.vcap_application("127.0.0.1"),
            })
            .to_string(),
        );
    } else {
        print_line(&block(sandbox, broker));
    }
}

/// The text with addresses and calls; each call can be pasted and needs only curl and a POSIX
/// shell.
fn block(sandbox: &Sandbox, broker: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (destination, xsuaa, uaa) =
        (sandbox.destination_url(), sandbox.xsuaa_url(), sandbox.uaa_url());
    let (cf, levers) = (sandbox.cf_url(), sandbox.levers_url());
    let first = broker
        .map(|broker| format!("\n  broker       {broker}        /routes, /spaces, /docs, /health"));
    let rest = match broker {
        Some(broker) => calls(&xsuaa, &levers, broker),
        None => {
            "no broker was started: --landscape-only --json prints the variables for one".to_owned()
        }
    };
    format!(
        "cfapi-broker {version} sandbox - everything below runs on this machine and in memory only{}\n  \
         destination  {destination}        xsuaa {xsuaa} · uaa {uaa} · cf api {cf}\n  \
         levers       {levers}        make something fail on purpose\n{rest}\nstop with Ctrl-C",
        first.unwrap_or_default(),
    )
}

fn calls(xsuaa: &str, levers: &str, broker: &str) -> String {
    let (client, secret) = (cfapi_sandbox::PROVIDER_CLIENT, cfapi_sandbox::PROVIDER_SECRET);
    let people = cfapi_sandbox::people().join(", ");
    format!(
        r#"open {broker}/ in a browser and choose who you are: {people}
try it (a provider app's tenant `t1` subscribes and leaves again):
  TOKEN=$(curl -s -u '{client}:{secret}' -d grant_type=client_credentials {xsuaa}/oauth/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s -w '\n' -X PUT -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"subdomain":"acme","app":"saas-approuter"}}' {broker}/routes/t1
  curl -s -w '\n' -H "Authorization: Bearer $TOKEN" {broker}/routes
  curl -s -X DELETE -H "Authorization: Bearer $TOKEN" -w '%{{http_code}}\n' {broker}/routes/t1
  curl -s {levers}/journal"#
    )
}
