//! Texts that stand where a password belongs: what templates, samples and masked logs leave there.
//!
//! Invariant: only texts that no identity provider accepts as a password, or that are made of the
//! words of samples. A logon with one would count as wrong, and five lock the user. Used by
//! `sealed` and by `destination`; `config` uses only [`is_template`], as settings may have words.

/// Begin and end of a variable that was not filled in, as `${…}` in shells, `((…))` in manifests,
/// `~{…}` in MTA descriptors, `{{…}}` in templates.
const TEMPLATES: &[(&str, &str)] =
    &[("${", "}"), ("{{", "}}"), ("((", "))"), ("~{", "}"), ("#{", "}"), ("$(", ")")];

/// The same with one character on each side. A password may have these too, so that the name
/// between them must be made of the words of samples.
const PLAIN_TEMPLATES: &[(&str, &str)] = &[("{", "}"), ("[", "]"), ("%", "%"), ("@", "@")];

/// What masks a value, if it is all that a text has.
const MASKS: &[char] = &['*', 'x', '•', '●', '.', '…', '?'];

/// Words of samples. A text that has one of them and otherwise only fillers is no password.
const WORDS: &[&str] = &[
    "change",
    "enter",
    "fill",
    "fixme",
    "insert",
    "null",
    "pass",
    "placeholder",
    "pwd",
    "redacted",
    "removed",
    "replace",
    "secret",
    "tbd",
    "todo",
    "undefined",
];

/// What stands around them, with or without a separator.
const FILLERS: &[&str] = &[
    "a",
    "actual",
    "cf",
    "cfapi",
    "cloud",
    "data",
    "foundry",
    "here",
    "hidden",
    "ias",
    "in",
    "initial",
    "it",
    "me",
    "my",
    "new",
    "of",
    "passwd",
    "password",
    "passwort",
    "private",
    "real",
    "technical",
    "the",
    "this",
    "user",
    "users",
    "value",
    "with",
    "your",
];

/// Longest text that is compared with the words.
const LONGEST: usize = 64;

/// Returns whether a text is a variable or sample that was not filled in: `<…>`, `${…}`, `YOUR_…`,
/// `***`.
pub(crate) fn is_unfilled(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let inner = |begin: &str, end: &str| {
        text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)).map(str::to_owned)
    };
    let is_plain_template = PLAIN_TEMPLATES.iter().any(|(begin, end)| {
        inner(begin, end).is_some_and(|name| {
            let letters: String = name.chars().filter(|c| !is_separator(*c)).collect();
            letters.len() <= LONGEST && is_made_of_words(&letters)
        })
    });
    let is_yours = text
        .strip_prefix("your")
        .is_some_and(|rest| rest.len() > 1 && rest.starts_with(['_', '-', ' ', '.']));
    let is_shell = text.strip_prefix('$').is_some_and(|name| {
        matches!(name, "password" | "cf_password" | "user" | "cf_user" | "username" | "cf_username")
    });
    let is_mask =
        text.chars().count() >= 3 && MASKS.iter().any(|mask| text.chars().all(|c| c == *mask));
    is_template(&text) || is_plain_template || is_yours || is_shell || is_mask
}

/// Returns whether the whole text is a variable that was not filled in: `<…>`, `${…}`, `((…))`. No
/// name that a setting can mean looks so.
pub(crate) fn is_template(text: &str) -> bool {
    let text = text.trim();
    let inner = |begin: &str, end: &str| {
        text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)).map(str::trim)
    };
    let is_name = |name: &str| {
        name.chars().any(char::is_alphabetic)
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '/'))
    };
    let is_filled_later = |(begin, end): &(&str, &str)| inner(begin, end).is_some_and(is_name);
    inner("<", ">").is_some() || TEMPLATES.iter().any(is_filled_later)
}

/// Returns whether a text stands where a password belongs: unfilled, or made of the words of
/// samples such as `changeme` and `Enter-password-here`.
pub(super) fn is_placeholder(text: &str) -> bool {
    let letters: String =
        text.chars().filter(|c| !is_separator(*c)).flat_map(char::to_lowercase).collect();
    let is_sample = || {
        letters.len() <= LONGEST
            && WORDS.iter().any(|word| letters.contains(word))
            && is_made_of_words(&letters)
    };
    is_unfilled(text) || is_sample()
}

fn is_separator(c: char) -> bool {
    matches!(c, '_' | '-' | ' ' | '.' | ':' | '!' | '\'' | '…')
}

/// Whether the whole text is a sequence of the words. `reached` holds the lengths of the beginnings
/// that are.
fn is_made_of_words(text: &str) -> bool {
    let mut reached = vec![0_usize];
    let mut next = 0;
    while let Some(start) = reached.get(next).copied() {
        next += 1;
        let rest = text.get(start..).unwrap_or_default();
        for word in WORDS.iter().chain(FILLERS).filter(|word| rest.starts_with(**word)) {
            let end = start + word.len();
            if end == text.len() {
                return true;
            }
            if !reached.contains(&end) {
                reached.push(end);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_placeholder;
    use rstest::rstest;

    #[rstest]
    #[case("<password>")]
    #[case("<PASSWORD>")]
    #[case(" <the technical user's password!> ")]
    #[case("<>")]
    #[case("<…>")]
    #[case("changeme")]
    #[case("ChangeMe")]
    #[case("CHANGE_ME")]
    #[case("change-me!")]
    #[case("changeit")]
    #[case("YOUR_PASSWORD")]
    #[case("your-cf-pw-42")]
    #[case("Your Password")]
    #[case("yourPassword")]
    #[case("my-password")]
    #[case("password")]
    #[case("Passwort")]
    #[case("secret")]
    #[case("Enter-password-here")]
    #[case("REPLACE_ME")]
    #[case("insert your password here")]
    #[case("TODO")]
    #[case("tbd")]
    #[case("null")]
    #[case("undefined")]
    #[case("${PASSWORD}")]
    #[case("$PASSWORD")]
    #[case("{{ cf.password }}")]
    #[case("((cf_password))")]
    #[case("~{password}")]
    #[case("%PASSWORD%")]
    #[case("@password@")]
    #[case("[REDACTED]")]
    #[case("[PRIVATE DATA HIDDEN]")]
    #[case("{password}")]
    #[case("***")]
    #[case("********")]
    #[case("xxx")]
    #[case("XXXXXXXX")]
    #[case("••••••••")]
    #[case("...")]
    fn what_samples_leave_is_no_password(#[case] text: &str) {
        assert!(is_placeholder(text));
    }

    #[rstest]
    #[case("sandbox-only-p&ss w=rd%ü")]
    #[case("")]
    #[case(" ")]
    #[case("p")]
    #[case("wrong")]
    #[case("something else")]
    #[case("Changeme123")]
    #[case("Welcome1")]
    #[case("Password1!")]
    #[case("[Summer2026]")]
    #[case("@Hello@")]
    #[case("%Winter%")]
    #[case("{Abc-1234}")]
    #[case("[password1]")]
    #[case("<a")]
    #[case("<<a")]
    #[case("yours4ever!")]
    #[case("Xx")]
    #[case("%a&3!kd%")]
    #[case("[7!kd$]")]
    #[case("{1234567}")]
    #[case("correct horse battery staple")]
    #[case("dummy")]
    #[case("new")]
    #[case("user")]
    #[case("mysecretz")]
    fn what_can_be_a_password_is_none(#[case] text: &str) {
        assert!(!is_placeholder(text));
    }

    #[test]
    fn a_long_text_of_words_ends() {
        assert!(!is_placeholder(&"me".repeat(10_000)));
    }
}
