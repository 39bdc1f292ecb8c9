//! The client certificate of a call: what the platform's router says about it, and whether the
//! token is bound to it.
//!
//! Invariant: `X-Forwarded-Client-Cert` alone is never a credential. It counts only on a host on
//! which the router writes it, and only with a token that is bound to this certificate. For
//! [`Verifier`](super::Verifier) only.

use super::{Caller, Settings, error::AuthRejection};
use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderName, header};
use percent_encoding::percent_decode_str;

/// Where the platform's router puts the caller's certificate.
const FORWARDED_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Whether callers must show the certificate that their token is bound to (RFC 8705 §3).
pub(super) enum CertificateBinding {
    /// A bearer token is enough.
    NotRequired,
    /// The token's certificate must be shown, on one of these hosts.
    Required {
        /// Hosts on which the router itself writes the header, in lower case.
        hosts: Vec<String>,
    },
}

impl CertificateBinding {
    /// Reads the settings.
    pub(super) fn from_settings(settings: &Settings) -> Self {
        if !settings.require_mtls {
            return Self::NotRequired;
        }
        let hosts = settings.cert_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self::Required { hosts }
    }

    /// Checks one request of a caller. This is needed for each request, also when the token itself
    /// was verified before.
    ///
    /// # Errors
    /// [`AuthRejection::Certificate`].
    pub(super) fn check(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), AuthRejection> {
        let Self::Required { hosts } = self else {
            return Ok(());
        };
        let is_shown = || {
            let host = only(headers, &header::HOST)?.to_ascii_lowercase();
            let shown = hosts.contains(&host).then(|| only(headers, &FORWARDED_CERTIFICATE))?;
            Some(thumbprint(&certificate(shown?)?) == caller.certificate()?)
        };
        if is_shown() == Some(true) { Ok(()) } else { Err(AuthRejection::Certificate) }
    }
}

/// The text of a header that is present exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

/// `x5t#S256` of a certificate (RFC 8705 §3.1).
fn thumbprint(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der))
}

/// The certificate in the header, as DER. It is written as PEM, as bare base64 or as Envoy's
/// elements. Of several elements the last one counts: the nearest proxy adds its own at the end.
fn certificate(value: &str) -> Option<Vec<u8>> {
    let value = value.trim();
    if value.starts_with(BEGIN) {
        return pem(value);
    }
    if let Ok(der) = STANDARD.decode(value) {
        return Some(der).filter(|der| !der.is_empty());
    }
    let element = split_outside_quotes(value, ',')?.pop()?;
    let mut certificates = split_outside_quotes(element, ';')?.into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("cert").then_some(value.trim())
    });
    let encoded = certificates.next()?;
    if certificates.next().is_some() {
        return None;
    }
    let encoded = encoded.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    pem(&percent_decode_str(encoded?).decode_utf8().ok()?)
}

/// The single block of a PEM text. A header has no line breaks; they are blanks or absent.
fn pem(text: &str) -> Option<Vec<u8>> {
    let block = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let packed: String = block.split_ascii_whitespace().collect();
    STANDARD.decode(packed).ok().filter(|der| !der.is_empty())
}

/// Splits at a separator outside of quotes; `None` if a quote is not closed.
fn split_outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|letter| {
        let is_plain = !is_escaped;
        is_escaped = is_quoted && is_plain && letter == '\\';
        if letter == '"' && is_plain {
            is_quoted = !is_quoted;
        }
        letter == separator && !is_quoted
    });
    let parts: Vec<_> = parts.collect();
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, STANDARD, certificate};
    use base64::Engine as _;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;
    use rstest::rstest;

    const DER: &[u8] = b"\x30\x82\x01\x0acertificate one";
    const OTHER: &[u8] = b"\x30\x82\x01\x0acertificate two";

    fn block(der: &[u8], separator: &str) -> String {
        let text = STANDARD.encode(der);
        let (first, rest) = text.split_at(16);
        format!("{BEGIN}{separator}{first}{separator}{rest}{separator}{END}")
    }

    /// `ONE` and `TWO` stand for percent-encoded PEM texts; `FLAT`, `BLANKS` and `JOINED` for other
    /// forms of the first.
    fn fill(text: &str) -> String {
        let encoded = |der| utf8_percent_encode(&block(der, "\n"), NON_ALPHANUMERIC).to_string();
        text.replace("ONE", &encoded(DER))
            .replace("TWO", &encoded(OTHER))
            .replace("FLAT", &STANDARD.encode(DER))
            .replace("BLANKS", &block(DER, " "))
            .replace("JOINED", &block(DER, ""))
    }

    #[rstest]
    #[case::pem_with_blanks("BLANKS")]
    #[case::pem_joined("JOINED")]
    #[case::pem_with_blanks_around(" BLANKS ")]
    #[case::flat("FLAT")]
    #[case::envoy("Hash=abc;Cert=\"ONE\"")]
    #[case::envoy_certificate_first("Cert=\"ONE\";Subject=\"\";URI=spiffe://x")]
    #[case::envoy_in_lower_case("hash=abc;cert=\"ONE\"")]
    #[case::two_elements_and_the_last_counts("Hash=a;Cert=\"TWO\",Hash=b;Cert=\"ONE\"")]
    #[case::commas_in_quotes("Subject=\"CN=x,OU=y;z\";Cert=\"ONE\"")]
    #[case::quotes_in_quotes("Subject=\"CN=\\\"x,\\\"\";Cert=\"ONE\"")]
    #[case::first_empty("Hash=a,Cert=\"ONE\"")]
    fn a_certificate_is_found_in_each_form(#[case] value: &str) {
        assert_eq!(certificate(&fill(value)).as_deref(), Some(DER));
    }

    #[rstest]
    #[case::empty("")]
    #[case::garbage("garbage!")]
    #[case::no_certificate("Hash=abc;Subject=\"x\"")]
    #[case::last_without_certificate("Hash=a;Cert=\"ONE\",Hash=b")]
    #[case::last_empty("Hash=a;Cert=\"ONE\",")]
    #[case::certificate_twice("Cert=\"ONE\";Cert=\"ONE\"")]
    #[case::certificate_empty("Cert=\"\"")]
    #[case::certificate_not_quoted("Cert=ONE")]
    #[case::quote_left_open("Hash=a;Cert=\"ONE")]
    #[case::not_pem("Cert=\"FLAT\"")]
    #[case::pem_cut("-----BEGIN CERTIFICATE-----MIIB")]
    #[case::pem_empty("-----BEGIN CERTIFICATE----------END CERTIFICATE-----")]
    #[case::two_blocks("BLANKS BLANKS")]
    #[case::trailing_text("BLANKS,x")]
    #[case::key("-----BEGIN PRIVATE KEY----- MIIB -----END PRIVATE KEY-----")]
    #[case::base64url("MIIB_-==")]
    #[case::certificate_in_a_subject("Subject=\"x;Cert=ONE\"")]
    fn anything_else_is_no_certificate(#[case] value: &str) {
        assert_eq!(certificate(&fill(value)), None);
    }

    #[rstest]
    #[case::last_other("Hash=a;Cert=\"ONE\",Hash=b;Cert=\"TWO\"")]
    #[case::both_in_a_list("Cert=\"ONE\",Cert=\"TWO\"")]
    fn an_earlier_element_does_not_count(#[case] value: &str) {
        assert_eq!(certificate(&fill(value)).as_deref(), Some(OTHER));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(value in "\\PC{0,80}") {
            drop(certificate(&value));
        }
    }
}
