//! One binary of integration tests: the real broker over sockets, against the sandbox.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_refusals;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod cf_cli;
#[cfg(test)]
mod cf_errors;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod early_answers;
#[cfg(test)]
mod hiccups;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod link_walk;
#[cfg(test)]
mod log_writer;
#[cfg(test)]
mod login;
#[cfg(test)]
mod login_refused;
#[cfg(test)]
mod logon_bytes;
#[cfg(test)]
mod main_job;
#[cfg(test)]
mod many_connections;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod problems;
#[cfg(test)]
mod process;
#[cfg(test)]
mod process_hardening;
#[cfg(test)]
mod provider_app;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod proxy_answers;
#[cfg(test)]
mod proxy_broken_answers;
#[cfg(test)]
mod proxy_headers;
#[cfg(test)]
mod proxy_links;
#[cfg(test)]
mod proxy_policy;
#[cfg(test)]
mod proxy_stream;
#[cfg(test)]
mod release;
#[cfg(test)]
mod revoked_tokens;
#[cfg(test)]
mod root_document;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod routes_bulk;
#[cfg(test)]
mod routes_deletion;
#[cfg(test)]
mod routes_entries;
#[cfg(test)]
mod routes_faults;
#[cfg(test)]
mod routes_limit;
#[cfg(test)]
mod routes_policy;
#[cfg(test)]
mod routes_property;
#[cfg(test)]
mod routes_refused;
#[cfg(test)]
mod routes_replace;
#[cfg(test)]
mod routes_soak;
#[cfg(test)]
mod routes_transfer;
#[cfg(test)]
mod routes_views;
#[cfg(test)]
mod routes_weighted;
#[cfg(test)]
mod sandbox_command;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod spaces;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod support;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod token;
#[cfg(test)]
mod token_handling;
#[cfg(test)]
mod uaa_faults;
#[cfg(test)]
mod unread_answers;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod weak_roles;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod wire_proxy;
