//! What each problem code means, where it usually comes from, what to check, and whether to repeat:
//! the words of `/problems`.
//!
//! Invariant: every code has all four. The words hold for every occurrence; what is known about
//! one occurrence is in its `detail`.

use crate::{http::code::ProblemCode, pages::ProblemGuide};

/// Declares the words: one block for each code. The match is exhaustive.
macro_rules! guides {
    ($($code:ident { means: $means:literal, causes: [$($cause:literal),+], check: [$($check:literal),+], again: $again:literal })+) => {
        impl ProblemCode {
            /// Returns the words for the code.
            pub(crate) const fn guide(self) -> ProblemGuide {
                match self {
                    $(Self::$code => ProblemGuide {
                        meaning: $means,
                        causes: &[$($cause),+],
                        checks: &[$($check),+],
                        again: $again,
                    },)+
                }
            }
        }
    };
}

guides! {
    Unauthenticated {
        means: "The broker does not know who calls.",
        causes: ["No token was sent.", "The token has expired, or was issued for another application or zone.", "A browser has no login, or its login has ended."],
        check: ["People: open the page and log in.", "Programs: send a token of the bound XSUAA (or IAS) as Authorization: Bearer.", "Operators: the log line of the request has the reason."],
        again: "No. Log in again, or fetch a new token first."
    }
    ForbiddenScope {
        means: "The caller is known, but does not have the scope that this call needs.",
        causes: ["The role collection with this scope is not assigned to the user.", "The application was not granted the scope.", "auth.pins reserves the scope for other clients."],
        check: ["Assign the role collection in the BTP cockpit, then log out and log in again: a token keeps the scopes that it was issued with.", "Operators: the log line of the request says whether a pin is the cause."],
        again: "No. The scope must be granted first."
    }
    ForbiddenProvider {
        means: "This client is not allowed to manage tenant routes.",
        causes: ["No [[providers]] entry names its client id.", "The service instance was created anew, so the client id has changed."],
        check: ["The client id in the log line of the request.", "The [[providers]] entries. A change needs a restart of the broker."],
        again: "No. An operator must add the client first."
    }
    ForbiddenApp {
        means: "This client is not allowed to use the app.",
        causes: ["The request names another app than the client's [[providers]] entry allows."],
        check: ["The name of the app in the request.", "The apps of the client's [[providers]] entry. A change needs a restart of the broker."],
        again: "No. The request or the entry must change first."
    }
    ForbiddenDomain {
        means: "This client is not allowed to use the domain.",
        causes: ["The request names another domain than the client's [[providers]] entry allows."],
        check: ["The domain in the request.", "The domains of the client's [[providers]] entry. A change needs a restart of the broker."],
        again: "No. The request or the entry must change first."
    }
    DeniedByPolicy {
        means: "The CF API was not asked, because the broker does not let this call pass.",
        causes: ["The allow list has no rule for the method and path.", "A route, host, domain, app or label of the call is outside the client's [[providers]] entry."],
        check: ["The detail says what was outside.", "The allow list (policy.toml) and the client's [[providers]] entry."],
        again: "No. The call or the policy must change first."
    }
    LoginFailed {
        means: "A login in a browser could not be completed.",
        causes: ["The login was begun in another browser, took longer than 10 minutes, or was used before.", "XSUAA refused it."],
        check: ["Log in again, and do not use the back button in between.", "If it fails each time: operators find the reason in the log line of the request."],
        again: "No. Begin a new login."
    }
    CrossSite {
        means: "A form of another site was sent to the broker. Nothing was done.",
        causes: ["Another site tried to act in your name.", "A proxy in between changes the Origin header or the host."],
        check: ["Use the button on the broker's own page.", "Operators: the first entry of server.names must be the address that people open."],
        again: "No. Use the button on the broker's own page."
    }
    FormInvalid {
        means: "A form of the broker's page counts for one person, one destination and 15 minutes. Nothing was done.",
        causes: ["The page was open for more than 15 minutes.", "You have logged in again since, or as somebody else.", "The form was changed, or is for another destination."],
        check: ["Open the page again and use its button."],
        again: "No. The same form stays invalid: open the page again."
    }
    BadRequest {
        means: "The request is not of the form that this call takes.",
        causes: ["A member is missing, unknown, given twice or malformed.", "A body is not JSON, or a query parameter is unknown."],
        check: ["The members that errors names.", "The description of the call."],
        again: "No. The request must be corrected."
    }
    TenantMismatch {
        means: "One request names two different tenants.",
        causes: ["The tenant in the path and the tenant in the body differ.", "Two members of the body name different tenants."],
        check: ["Where the caller takes the tenant id from."],
        again: "No. The request must be corrected."
    }
    AppRequired {
        means: "The request must say which app is behind the tenant's URL.",
        causes: ["The client's [[providers]] entry has several apps, or allows any app of the space, and the request names none."],
        check: ["Name the app in the request. If the entry lists its apps, the detail names them."],
        again: "No. The request must name an app."
    }
    MalformedPath {
        means: "The path or the query is not in the one form that the broker accepts.",
        causes: ["An escape, a byte or a segment such as .. that is not allowed.", "A proxy in between rewrites the path."],
        check: ["The path as it was sent."],
        again: "No. The request must be corrected."
    }
    NotFound {
        means: "There is nothing at this address, or nothing that the caller may see.",
        causes: ["A wrong address.", "The route, the space or the operation does not exist any more, or belongs to another owner."],
        check: ["The spelling of the address.", "Whether a proxy in between adds or removes a part of the path."],
        again: "No. Another address is needed."
    }
    MethodNotAllowed {
        means: "The address exists, but not for this method.",
        causes: ["For example a POST where only GET is served."],
        check: ["The Allow header of the answer lists the methods."],
        again: "No. Use another method."
    }
    RequestTimeout {
        means: "The body of the request did not arrive in time.",
        causes: ["A slow or broken connection between the caller and the broker."],
        check: ["Whether the caller sends the whole body."],
        again: "No, not without a change: the caller or its connection must be faster."
    }
    TooLarge {
        means: "The body of the request is larger than the broker accepts.",
        causes: ["Too many entries in one request."],
        check: ["The limit in the detail. Send several smaller requests."],
        again: "No. The request must be smaller."
    }
    UriTooLong {
        means: "The path or the query is longer than the broker accepts.",
        causes: ["A filter with too many values."],
        check: ["A path may have 2048 bytes, a query 4096 bytes. Send several requests."],
        again: "No. The request must be shorter."
    }
    UnsupportedMediaType {
        means: "The broker does not read bodies of this content type or coding.",
        causes: ["Content-Type is missing or is not application/json.", "The body is compressed."],
        check: ["The headers Content-Type and Content-Encoding of the request."],
        again: "No. The request must be corrected."
    }
    ExpectationFailed {
        means: "The request expects something that the broker does not offer.",
        causes: ["An Expect header with another value than 100-continue."],
        check: ["The Expect header of the request."],
        again: "No. The request must be corrected."
    }
    Misdirected {
        means: "The request names a host that is not the broker's.",
        causes: ["A new route of the broker that it does not know yet.", "A proxy in between that changes the Host header."],
        check: ["The broker's names are application_uris and server.names. Both are read when the broker starts."],
        again: "No. The name must be made known first."
    }
    HostTaken {
        means: "Another route already has the host name.",
        causes: ["The subdomain is used by something else.", "A route was made by hand before."],
        check: ["Who uses the host. Choose another subdomain, or free the host."],
        again: "No. Another subdomain is needed, or the host must be freed."
    }
    HostTakenElsewhere {
        means: "A route in a space or organization that the technical user does not see has the host name.",
        causes: ["Another organization uses the same shared domain."],
        check: ["Choose another subdomain, or use a domain of your own."],
        again: "No. Another subdomain or domain is needed."
    }
    HostOfOtherTenant {
        means: "Another tenant of the same provider has the host name.",
        causes: ["Two tenants have the same subdomain.", "A tenant left, and its route was not removed."],
        check: ["Which tenant has the host: GET /routes lists them."],
        again: "No. Another subdomain is needed, or the other tenant's route must be removed."
    }
    RouteQuotaExceeded {
        means: "The organization or the space may have no more routes.",
        causes: ["The quota is used up."],
        check: ["The quota of organization and space in the BTP cockpit.", "Routes that nobody needs. One wildcard route can serve all tenants."],
        again: "No. The quota must be raised, or routes must be deleted."
    }
    AppRouteLimit {
        means: "The app may have no more routes.",
        causes: ["The limit max_routes_per_app of the client's [[providers]] entry is reached."],
        check: ["Routes that nobody needs. One wildcard route can serve all tenants."],
        again: "No. Routes must be deleted, or the limit must be raised."
    }
    WildcardNotMapped {
        means: "The tenant is to be served by the domain's wildcard route, and the app has none.",
        causes: ["The route * of the domain does not exist, or is not mapped to the app."],
        check: ["Create the route * for the domain and map it to the app, or let the entry use a route for each tenant."],
        again: "No. The wildcard route must be mapped first."
    }
    WeightedDestinations {
        means: "The apps behind the route have weights, and CF changes such a list only as a whole.",
        causes: ["Somebody gave the route's destinations weights at the CF API."],
        check: ["Send the list without weights, or without what is not needed, to the CF API (PATCH /v3/routes/{guid}/destinations)."],
        again: "No. The weights must be removed first."
    }
    RouteMetadataFull {
        means: "The route has no room for the broker's labels and annotations.",
        causes: ["The route that is to be adopted or deleted already has nearly as many as CF allows."],
        check: ["Remove labels or annotations of the route that nobody needs."],
        again: "No. There must be room first."
    }
    ReconcileGuard {
        means: "A list of tenants would have deleted routes that look needed. Nothing was deleted.",
        causes: ["The list is incomplete, for example only one page of it.", "A tenant was subscribed again in the meantime."],
        check: ["That the list holds all tenants."],
        again: "No. Check the list first."
    }
    ReleaseRepeated {
        means: "One logon was released within the last 65 minutes, and it was sent. Another one was not.",
        causes: ["Two people, or one person twice, release an attempt for the same destination."],
        check: ["What came of the first attempt: GET /destinations.", "Release another one only if the password is known to be right: too many wrong ones lock the user."],
        again: "No. Wait 65 minutes, or force it deliberately."
    }
    HostInvalid {
        means: "Subdomain and host template give no valid host name.",
        causes: ["The subdomain has other characters than a-z, 0-9 and -, or begins or ends with -."],
        check: ["The subdomain of the tenant, and host_template of the client's entry."],
        again: "No. Another subdomain is needed."
    }
    HostTooLong {
        means: "Subdomain and host template give a name that is too long.",
        causes: ["A long subdomain together with a long template or app name."],
        check: ["The length and the limit in the detail: a host has at most 63 characters, with its domain at most 253."],
        again: "No. Another subdomain or template is needed."
    }
    HostReserved {
        means: "The host name is kept for other purposes.",
        causes: ["It is a reserved word, a host of the broker itself, or one that CF keeps for itself."],
        check: ["Choose another subdomain."],
        again: "No. Another subdomain is needed."
    }
    HostPatternMismatch {
        means: "The application router would not find the subdomain in this host name.",
        causes: ["host_template and tenant_host_pattern of the client's entry do not fit."],
        check: ["Both settings, and TENANT_HOST_PATTERN of the application router."],
        again: "No. The entry or the pattern must be corrected first."
    }
    AppNotFound {
        means: "The technical user sees no such app in the space of the client's entry.",
        causes: ["The app is not deployed yet, has another name, or is in another space."],
        check: ["Name and space of the app. Blue-green deployments change names."],
        again: "No. The app must exist first."
    }
    DomainNotFound {
        means: "The organization may not use such a domain, or the domain has no public URLs.",
        causes: ["The domain is spelled wrongly, or is not shared with the organization.", "The domain is internal."],
        check: ["The domains of the organization (cf domains).", "The domain in the request and in the client's entry."],
        again: "No. Another domain is needed, or it must be made available."
    }
    NotMapped {
        means: "The app is not behind the route, so it cannot be taken away from it.",
        causes: ["It was removed already.", "The guid belongs to another route."],
        check: ["Nothing, if the app was to be taken off the route: it is off."],
        again: "No. There is nothing left to do."
    }
    TooManyRequests {
        means: "This caller asks more than its share. Nothing was begun.",
        causes: ["A loop without pauses, or many requests at once.", "Many people behind one client."],
        check: ["The detail says which limit was reached and whose requests it counts."],
        again: "Yes, after the time in Retry-After."
    }
    Overloaded {
        means: "The broker has as much to do as it takes at once.",
        causes: ["Many callers at once, or a slow CF API.", "Other requests for the same tenant or host have not ended.", "The broker's log is not read, so that no change can be audited."],
        check: ["The load of the broker (GET /metrics). More instances help, unless the CF API is the slow part."],
        again: "Yes, after the time in Retry-After."
    }
    Draining {
        means: "This instance is stopping and takes no new requests.",
        causes: ["A deployment, a restart or fewer instances."],
        check: ["Nothing, unless it lasts: another instance answers."],
        again: "Yes, after a second: another instance answers."
    }
    RouteBeingDeleted {
        means: "CF is still deleting the former route with this host name.",
        causes: ["A tenant left and comes back within a short time."],
        check: ["If it lasts for minutes: the state of the route in CF."],
        again: "Yes, after a few seconds."
    }
    KeysUnavailable {
        means: "The broker cannot check tokens or logins now, because XSUAA (or IAS) gives no usable answer.",
        causes: ["XSUAA or IAS is down or slow.", "The token names a key that is not known yet and may not be asked for again at once.", "The network between broker and XSUAA is broken."],
        check: ["The state of XSUAA in this region.", "The log lines of the broker about keys."],
        again: "Yes, after the time in Retry-After."
    }
    IssuerNotBound {
        means: "The broker has nothing to check tokens or logins with.",
        causes: ["No xsuaa service instance is bound (or no identity binding, for tokens of IAS).", "The binding lacks a field, or XSUAA refuses its credentials."],
        check: ["Bind the service instance, and restart the broker."],
        again: "No. Waiting does not help: bind it and restart."
    }
    DestinationMissing {
        means: "The destination with the technical user does not exist.",
        causes: ["It was not created yet, has another name, or is at a level that the broker does not look at.", "No Destination service is bound."],
        check: ["The name in the detail, in the subaccount or the service instance.", "Whether a Destination service is bound to the broker."],
        again: "No. The destination must be created first."
    }
    DestinationInvalid {
        means: "The destination exists, but what it says leads to no logon.",
        causes: ["A property is missing or wrong: URL, token URL, user, client or origin.", "The login server does not know the origin, or does not accept the client."],
        check: ["The detail names what is wrong. Correct it in the destination."],
        again: "No. The destination must be corrected first; the broker notices by itself, or after a restart if the detail says so."
    }
    DestinationUnavailable {
        means: "The destination with the technical user cannot be read now.",
        causes: ["The Destination service or its XSUAA is down or slow.", "The binding of the Destination service is no longer valid."],
        check: ["The state of the Destination service in this region.", "The log lines of the broker about the destination."],
        again: "Yes, after the time in Retry-After."
    }
    TechnicalUserRejected {
        means: "The login server refused the logon of the technical user. The broker does not send this password again, so that the user is not locked.",
        causes: ["The password was changed or is wrong.", "The user is at another identity provider than the one that was asked (origin).", "The user does not exist any more."],
        check: ["User, password and origin of the destination: the detail says first what looks odd.", "After a repair outside the destination, an operator releases one attempt at /destinations."],
        again: "No. Correct the destination: the broker logs on by itself when it has changed."
    }
    TechnicalUserMfa {
        means: "The login server asks the technical user for a second factor, which a program cannot give.",
        causes: ["Two-factor authentication is on for this user or for its whole identity provider."],
        check: ["Switch the second factor off for the technical user. Then an operator releases one attempt at /destinations."],
        again: "No. The second factor must be switched off first."
    }
    TechnicalUserActionRequired {
        means: "The login server knows the technical user, but wants something done before it lets the user in.",
        causes: ["The password must be changed, or has expired.", "The user has no role, is not verified, or is not known to CF yet.", "The trust between the login server and the identity provider is incomplete."],
        check: ["The detail says what is wanted. After a repair outside the destination, an operator releases one attempt at /destinations."],
        again: "No. Do first what the detail says."
    }
    TechnicalUserLocked {
        means: "The identity provider has locked the technical user after too many failed logons.",
        causes: ["A wrong password was sent too often, also by other programs or people."],
        check: ["Who else logs on as this user.", "Whether the password of the destination is right.", "Wait, or unlock the user at the identity provider and release one attempt at /destinations."],
        again: "Yes, after the time in Retry-After: the broker waits for the end of the lock and then tries once."
    }
    UaaUnavailable {
        means: "CF's login server gives no usable answer, and there is no valid token.",
        causes: ["The login server or the identity provider behind it is down or slow.", "The token URL of the destination leads to something else.", "The name of its host has no address."],
        check: ["The state of CF in this region.", "If it lasts: host and path of the token URL in the destination."],
        again: "Yes, after the time in Retry-After. The broker asks again by itself."
    }
    UpstreamAuthFailed {
        means: "The CF API refuses the technical user's token, also a new one.",
        causes: ["The token URL and the API URL of the destination belong to different regions."],
        check: ["Both URLs of the destination."],
        again: "No. The destination must be corrected first."
    }
    TechnicalUserLacksRole {
        means: "The technical user is not allowed to do this in CF.",
        causes: ["It has no role in the space, or was given the role with another origin."],
        check: ["Give it the role Space Supporter (or Space Developer) in the space, with the origin of the destination."],
        again: "No. The role must be given first."
    }
    CertificateRefused {
        means: "Another system shows a certificate that does not verify. Nothing was sent to it.",
        causes: ["It has expired, or is for another host.", "Its authority is missing in upstream.extra_ca_file."],
        check: ["The detail says which system it is. upstream.extra_ca_file is read when the broker starts."],
        again: "No. The certificate or the file must be corrected first."
    }
    CfRateLimited {
        means: "The technical user has used up its rate limit at the CF API.",
        causes: ["Many calls of all apps that share this user, also without the broker."],
        check: ["Who else uses this user. A user for each group of apps has a limit of its own."],
        again: "Yes, after the time in Retry-After."
    }
    CfUnavailable {
        means: "The CF API cannot be reached, or does not serve now.",
        causes: ["A maintenance or an outage of CF in this region.", "The network between broker and CF is broken.", "The property URL of the destination names a wrong host."],
        check: ["The state of CF in this region.", "The property URL of the destination."],
        again: "Yes, after the time in Retry-After."
    }
    CfTimeout {
        means: "The CF API did not answer in time.",
        causes: ["CF is slow.", "Much has to be read, for example many spaces."],
        check: ["After a change: look whether it was made. A change that has begun is completed."],
        again: "Yes, unless the answer says retryable: false. Then look first whether the change was made."
    }
    CfError {
        means: "The CF API failed, or answered in a way that the broker does not understand.",
        causes: ["A fault of CF.", "Something was deleted while it was read."],
        check: ["CF's own errors, if they are attached.", "After a change: look whether it was made."],
        again: "Yes, unless the answer says retryable: false. Then look first whether the change was made."
    }
    CfJobFailed {
        means: "CF accepted the deletion of a route, but could not complete it.",
        causes: ["A fault of CF.", "Somebody changed the route while CF deleted it."],
        check: ["CF's own errors, if they are attached."],
        again: "Yes. The route is still there, and the deletion can be repeated."
    }
    CfRefused {
        means: "The CF API refused. Its own errors are attached.",
        causes: ["A rule of CF that the broker does not check."],
        check: ["CF's own errors."],
        again: "No. What CF objects to must change first."
    }
    Internal {
        means: "The broker made a mistake.",
        causes: ["A fault of the program."],
        check: ["Report it, with the correlation id. The log of the broker has the cause under this id."],
        again: "No. It would probably fail again."
    }
}

#[cfg(test)]
mod tests {
    use super::ProblemCode;

    #[test]
    fn the_words_agree_with_the_code() {
        for code in ProblemCode::ALL {
            let (guide, spec) = (code.guide(), code.spec());
            let start = if spec.retryable { "Yes" } else { "No" };
            assert!(guide.again.starts_with(start), "{}: {}", spec.name, guide.again);
            let lists = guide.causes.iter().chain(guide.checks);
            for text in lists.chain([&guide.meaning, &guide.again]) {
                assert!(text.ends_with('.') && text.len() > 10, "{}: {text}", spec.name);
            }
        }
    }
}
