//! The texts of the fault rows, verbatim. Read only by `faults`.

/// A refusal in JSON.
pub(super) struct RefusalRow {
    pub(super) row: &'static str,
    pub(super) name: &'static str,
    pub(super) status: u16,
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

/// A code of the identity provider, in the envelope of F2.
pub(super) struct ProviderRow {
    pub(super) row: &'static str,
    pub(super) code: &'static str,
}

/// An answer that is not an OAuth error.
#[derive(Debug)]
pub(crate) struct PageRow {
    pub(super) row: &'static str,
    pub(super) name: &'static str,
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    /// Above 0, the body is JSON with a token of this many characters instead.
    pub(super) filler: usize,
}

const fn row(
    row: &'static str,
    name: &'static str,
    status: u16,
    error: &'static str,
    description: &'static str,
) -> RefusalRow {
    RefusalRow { row, name, status, error, description }
}

const fn nested(row: &'static str, code: &'static str) -> ProviderRow {
    ProviderRow { row, code }
}

const fn page(
    row: &'static str,
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> PageRow {
    PageRow { row, name, status, content_type: "text/html;charset=UTF-8", headers, body, filler: 0 }
}

/// An answer of the platform's router itself.
const fn router(
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> PageRow {
    let content_type = "text/plain; charset=utf-8";
    PageRow { row: "F24", name, status, content_type, headers, body, filler: 0 }
}

/// A 200 that does not hold a token answer.
const fn other(name: &'static str, content_type: &'static str, body: &'static str) -> PageRow {
    PageRow { row: "F26", name, status: 200, content_type, headers: &[], body, filler: 0 }
}

/// One byte more than a client should read of a token answer (256 KiB).
const TOO_LONG: usize = 256 * 1024 + 1;

/// The rows that are plain OAuth errors. An empty `error` is a failure of UAA without any text.
pub(super) const REFUSALS: &[RefusalRow] = &[
    row("F1", "password", 401, "invalid_client", "Bad credentials"),
    row(
        "F4",
        "locked",
        401,
        "unauthorized",
        "Your account has been locked because of too many failed attempts to login.",
    ),
    row("F5", "change", 401, "unauthorized", "password change required"),
    row(
        "F8",
        "origin",
        401,
        "unauthorized",
        "The origin provided in the login_hint does not match an active Identity Provider, that supports password grant.",
    ),
    row(
        "F9",
        "limited",
        401,
        "unauthorized",
        "Client is not authorized for specified user's identity provider.",
    ),
    row(
        "F10",
        "several",
        401,
        "invalid_client",
        "The client is authorized for multiple identity providers that support password grant and could not determine which identity provider to use.",
    ),
    row(
        "F10",
        "none",
        401,
        "invalid_client",
        "The client is not authorized for any identity provider that supports password grant.",
    ),
    row(
        "F11",
        "id_token",
        401,
        "invalid_client",
        "Could not obtain id_token from external OpenID Connect provider.",
    ),
    row("F11", "missing", 401, "invalid_client", "Request is missing username or password."),
    row("F11", "no_password", 401, "invalid_client", "No password supplied"),
    row(
        "F11",
        "party_id",
        401,
        "unauthorized",
        "External OpenID Connect provider configuration is missing relyingPartyId.",
    ),
    row(
        "F11",
        "party_secret",
        401,
        "unauthorized",
        "External OpenID Connect provider configuration is missing relyingPartySecret, jwtClientAuthentication or authMethod.",
    ),
    row(
        "F12",
        "shadow_user",
        401,
        "unauthorized",
        "The user account must be pre-created. Please contact your system administrator.",
    ),
    row(
        "F13",
        "issuer",
        401,
        "unauthorized",
        "Unable to map issuer, https://sandbox-platform.accounts.example.test , to a single registered provider",
    ),
    row("F14", "verified", 403, "access_denied", "Account not verified"),
    row("F15", "client", 401, "invalid_client", "Bad credentials"),
    row("F15", "missing_credentials", 401, "invalid_client", "Missing credentials"),
    row("F15", "authentication_failed", 401, "invalid_client", "Client authentication failed"),
    row("F15", "no_authentication", 401, "invalid_client", "No client authentication found."),
    row("F15", "no_such_client", 401, "invalid_client", "Client with requested ID does not exist"),
    row(
        "F15",
        "no_such_client_named",
        401,
        "invalid_client",
        "Client with requested ID does not exist: cf",
    ),
    row(
        "F15",
        "other_client",
        401,
        "invalid_client",
        "Given client ID does not match authenticated client",
    ),
    row("F15", "bad_token", 401, "invalid_client", "Invalid basic authentication token"),
    row("F16", "grant", 401, "invalid_client", "Unauthorized grant type"),
    row(
        "F17",
        "scopes",
        400,
        "invalid_scope",
        "[cloud_controller.read, cloud_controller.write] is invalid. This user is not allowed any of the requested scopes",
    ),
    row(
        "F17",
        "groups",
        400,
        "invalid_scope",
        "User does not meet the client's required group criteria.",
    ),
    row("F18", "missing", 400, "invalid_request", "Missing grant type"),
    row("F18", "unknown", 400, "unsupported_grant_type", "Unsupported grant type"),
    row(
        "F19",
        "query",
        406,
        "query_string_not_allowed",
        "Parameters must be passed in the body of the request",
    ),
    row("F19", "method", 405, "method_not_allowed", "Request method 'GET' not supported"),
    row(
        "F20",
        "limiter",
        429,
        "429 - Too Many Request - Request limited by Rate Limiter configuration: sandbox",
        "",
    ),
    row(
        "F21",
        "limited_mode",
        503,
        "uaa_unavailable",
        "UAA intentionally in limited mode, operation not permitted. Please try later.",
    ),
    row("F22", "provider_down", 500, "", ""),
    row("F22", "too_many_requests", 401, "invalid_client", "{\"error\": \"too_many_requests\"}"),
    row(
        "F22",
        "html_404",
        401,
        "invalid_client",
        "<!DOCTYPE html><html><head><title>404</title></head><body><h1>Not Found</h1></body></html>",
    ),
    row("F23", "json", 500, "server_error", "Internal Server Error"),
    row(
        "F24",
        "csrf",
        403,
        "Could not verify the provided CSRF token because no token was found to compare.",
        "",
    ),
    row(
        "F24",
        "csrf_session",
        403,
        "Could not verify the provided CSRF token because your session was not found.",
        "",
    ),
    row(
        "JWT",
        "audience",
        401,
        "invalid_token",
        "Some parties were not in the token audience: uaa-rp",
    ),
    row("JWT", "signature", 401, "invalid_token", "Could not verify token signature."),
    row("JWT", "garbage", 401, "invalid_token", "Invalid token"),
    row("JWT", "empty", 401, "unauthorized", "Unable to decode expected id_token"),
    row("JWT", "missing", 401, "unauthorized", "Assertion is missing"),
];

/// The rows that carry the provider's own JSON.
pub(super) const NESTED: &[ProviderRow] = &[
    nested("F2", "Unauthorized"),
    nested("F3", "PASSWORD_LOCKED"),
    nested("F6", "PASSWORD_CHANGE_REQUIRED"),
    nested("F6", "PASSWORD_RESET_REQUIRED"),
    nested("F6", "INITIAL_PASSWORD_EXPIRED"),
    nested("F6", "PASSWORD_DISABLED"),
    nested("F6", "USER_INACTIVE"),
    nested("F6", "MAIL_NOT_VERIFIED"),
    nested("F6", "RBA_RULE_ACTION_DENY"),
    nested("F7", "INVALID_AUTHORIZATION_HEADER_LENGTH"),
    nested("F7", "INVALID_OTP_CODE"),
];

/// The rows that are pages, redirects, errors of the router and broken answers.
pub(super) const PAGES: &[PageRow] = &[
    page("F20", "html", 429, &[], "<html><body><h1>Too many requests</h1></body></html>"),
    page(
        "F20",
        "retry_after",
        429,
        &[("retry-after", "7")],
        "<html><body><h1>Too many requests</h1></body></html>",
    ),
    page("F23", "html", 500, &[], "<!DOCTYPE html><html><body><h1>500</h1></body></html>"),
    page("F23", "empty", 500, &[], ""),
    page("F24", "zone", 404, &[], "<!DOCTYPE html><html><body><h1>Not found</h1></body></html>"),
    router(
        "unknown_route",
        404,
        &[("x-cf-routererror", "unknown_route")],
        "404 Not Found: Requested route ('login.example.test') does not exist.\n",
    ),
    router(
        "endpoint_failure",
        502,
        &[("x-cf-routererror", "endpoint_failure")],
        "502 Bad Gateway: Registered endpoint failed to handle the request.\n",
    ),
    router(
        "no_endpoints",
        503,
        &[("x-cf-routererror", "no_endpoints")],
        "503 Service Unavailable: Requested route ('login.example.test') has no available endpoints.\n",
    ),
    page("F24", "html_502", 502, &[], "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    page("F24", "html_504", 504, &[], "<html><body><h1>504 Gateway Time-out</h1></body></html>"),
    page("F25", "login", 302, &[("location", "/login")], ""),
    page("F25", "elsewhere", 307, &[("location", "http://127.0.0.1:9/oauth/token")], ""),
    other(
        "html",
        "text/html;charset=UTF-8",
        "<html><body>Welcome to the hotel network</body></html>",
    ),
    other("no_token", "application/json", "{\"token_type\":\"bearer\",\"expires_in\":1199}"),
    other("cut_json", "application/json", "{\"access_token\":\"eyJhbGciOiJS"),
    other("empty", "application/json", ""),
    PageRow {
        row: "F26",
        name: "too_long",
        status: 200,
        content_type: "application/json",
        headers: &[],
        body: "",
        filler: TOO_LONG,
    },
];
