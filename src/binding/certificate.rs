//! Expiry of a bound certificate. XSUAA issues them for 7 days by default; the expiry must be
//! visible in advance.
//!
//! Invariant: reads one field of a certificate and trusts nothing in it; the TLS layer checks the
//! rest. Used by `ServiceBinding::summary`.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::time::{Duration, SystemTime};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// DER tags (ITU-T X.690) of the fields up to a certificate's validity (RFC 5280, 4.1).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads the expiry of the first certificate of a PEM chain: the client's own.
pub(super) fn not_after(chain: &str) -> Option<SystemTime> {
    let (_, rest) = chain.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    let certificate = Der(&der).enter(SEQUENCE)?;
    let mut fields = certificate.enter(SEQUENCE)?;
    if fields.0.first() == Some(&VERSION) {
        fields.next()?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields.next()?;
    }
    let mut validity = fields.enter(SEQUENCE)?;
    validity.next()?;
    let (tag, time) = validity.next()?;
    seconds(tag, std::str::from_utf8(time).ok()?)
        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The rest of a DER encoding.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Returns the next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            // Two length bytes are enough for any certificate that a binding can hold.
            let (bytes, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
            if bytes.len() > 2 {
                return None;
            }
            (bytes.iter().fold(0, |length, byte| length * 256 + usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn enter(mut self, expected: u8) -> Option<Self> {
        let (tag, content) = self.next()?;
        (tag == expected).then_some(Self(content))
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` as seconds since 1970. RFC 5280 allows no other form.
fn seconds(tag: u8, text: &str) -> Option<u64> {
    let digits =
        text.strip_suffix('Z').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME if digits.len() == 12 => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME if digits.len() == 14 => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let mut parts = [0_u64; 5];
    for (index, part) in parts.iter_mut().enumerate() {
        *part = rest.get(index * 2..index * 2 + 2)?.parse().ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    Some(days(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the Gregorian calendar; years begin in March here, so that the leap day
/// is the last day.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let whole_years = year * 365 + year / 4 - year / 100 + year / 400;
    // 719 468 days lie between the first of March of year 0 and 1970.
    (whole_years + (month * 153 + 2) / 5 + day - 1).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::{GENERALIZED_TIME, UTC_TIME, not_after, seconds};
    use rstest::rstest;
    use std::time::{Duration, SystemTime};

    /// Ends on 2026-12-02; the time is a `UTCTime`.
    const WEEK: &str = "\
-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUduTWmHgA2BcCbd0873U6RVSui18wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAeFw0yNjExMjQwMjM2MzFaFw0yNjEyMDIwMjM2MzFa
MA8xDTALBgNVBAMMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARVRcML
/QTdGqC3oN1b1qfSNgXEtWwldE7Uc0ml7VQvcomEoIZ3kor62ZZEWUJpuT+hf3/Y
lpTdT+m0OdcyVezAo1MwUTAdBgNVHQ4EFgQUDfKLytraisbX7qWbZshOP8IRolYw
HwYDVR0jBBgwFoAUDfKLytraisbX7qWbZshOP8IRolYwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEAl8Ds4sLGmdgqBMK32x/Pzo0yI8THgTIPHKvr
0aLWa1ACIAXWebKATBexmU9qeFGYSFJS6b9Oz8kRfg2WeyPyRUET
-----END CERTIFICATE-----
";

    /// Ends on 2059-10-02; the time is a `GeneralizedTime`.
    const LONG: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUeG3+fqN3lW2CdANGPwAnpymgjh8wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjQwMjM2MzFaGA8yMDU5MTAwMjAyMzYz
MVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJpo
BqkOyrkNdHj4c0nO86QDlLETSK9E5E2OGMzWb1rRsjfIzdA0iuL+h9iNRyB8ux4g
620Ui5vwNqllhL6p20ijUzBRMB0GA1UdDgQWBBQG+zgCeKSX8DACa1tgs9qPGYNW
8jAfBgNVHSMEGDAWgBQG+zgCeKSX8DACa1tgs9qPGYNW8jAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIC/hXzuu5JabI0c8LBd3s98YBql00zhyjkoS
DM+0qvHKAiB1VzEylX/uuFO3dMQymF3dCtiWtyoYIeklyEbUwTTqeQ==
-----END CERTIFICATE-----
";

    #[rstest]
    #[case(WEEK.to_owned(), 1_796_178_991)]
    #[case(LONG.to_owned(), 2_832_287_791)]
    #[case(format!("{WEEK}{LONG}"), 1_796_178_991)]
    fn the_expiry_of_the_first_certificate_is_read(#[case] chain: String, #[case] expected: u64) {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(expected);
        assert_eq!(not_after(&chain), Some(expected));
    }

    #[rstest]
    #[case(UTC_TIME, "700101000000Z", Some(0))]
    #[case(UTC_TIME, "000301000000Z", Some(951_868_800))]
    #[case(UTC_TIME, "240229235959Z", Some(1_709_251_199))]
    #[case(UTC_TIME, "261345000000Z", None)]
    #[case(UTC_TIME, "2611240236", None)]
    #[case(UTC_TIME, "261124023631+0100", None)]
    #[case(GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400))]
    #[case(GENERALIZED_TIME, "261124023631Z", None)]
    #[case(0x0c, "261124023631Z", None)]
    fn dates_become_seconds(#[case] tag: u8, #[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(seconds(tag, text), expected);
    }

    #[test]
    fn a_truncated_certificate_does_not_panic() {
        for length in 0..WEEK.len() {
            let cut = WEEK.get(..length).unwrap();
            let end = not_after(&format!("{cut}\n-----END CERTIFICATE-----"));
            assert!(end.is_none() || length > WEEK.len() - 40, "{length}");
        }
        assert_eq!(not_after("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"), None);
    }
}
