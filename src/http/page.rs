//! The pages for people: written here, with every text escaped.
//!
//! Invariant: no page holds a script, a style or an address of another server, and no text of
//! another system is written unescaped.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
};

/// A page with a heading and paragraphs.
#[derive(Debug)]
pub(crate) struct HtmlPage {
    title: String,
    content: String,
    /// Where a form of the page may lead besides the broker.
    forms_lead_to: String,
}

/// What a person can do next.
#[derive(Clone, Debug)]
pub(crate) enum PageAction {
    /// A link.
    Follow {
        /// What it says.
        label: &'static str,
        /// Where it leads.
        url: String,
    },
    /// A button that ends the session.
    LogOut {
        /// The address of the logout.
        url: String,
        /// The origin of XSUAA: the form is led there, and browsers apply the policy to that too.
        xsuaa: String,
    },
}

impl HtmlPage {
    /// Begins a page.
    pub(crate) fn new(title: &str) -> Self {
        let title = escaped(title);
        let content = format!("<h1>{title}</h1>");
        Self { title, content, forms_lead_to: String::new() }
    }

    /// Adds a paragraph.
    #[must_use]
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.content.extend(["<p>", &escaped(text), "</p>"]);
        self
    }

    /// Adds a table. The first cell of each row is its heading.
    #[must_use]
    pub(crate) fn table<const N: usize>(
        mut self,
        head: [&str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) -> Self {
        self.content.push_str("<table><thead><tr>");
        for cell in head {
            self.content.extend(["<th scope=\"col\">", &escaped(cell), "</th>"]);
        }
        self.content.push_str("</tr></thead><tbody>");
        for row in rows {
            self.content.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let (open, close) =
                    if at == 0 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
                self.content.extend([open, "<bdi>", &escaped(cell), "</bdi>", close]);
            }
            self.content.push_str("</tr>");
        }
        self.content.push_str("</tbody></table>");
        self
    }

    /// Adds what a person can do next.
    #[must_use]
    pub(crate) fn action(mut self, action: &PageAction) -> Self {
        let element = match action {
            PageAction::Follow { label, url } => {
                format!("<p><a href=\"{}\">{}</a></p>", escaped(url), escaped(label))
            }
            PageAction::LogOut { url, xsuaa } => {
                self.forms_lead_to = format!(" {xsuaa}");
                let url = escaped(url);
                format!("<form method=\"post\" action=\"{url}\"><button>Log out</button></form>")
            }
        };
        self.content.push_str(&element);
        self
    }

    /// Returns the answer.
    pub(crate) fn answer(self, status: StatusCode) -> Response {
        let Self { title, content, forms_lead_to } = self;
        let html = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title} - cfapi-broker</title></head><body><main>{content}</main></body></html>"
        );
        let policy = format!(
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
             form-action 'self'{forms_lead_to}; frame-ancestors 'none'"
        );
        let mut response = (status, html).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// The headers of every answer of the broker's own paths: a browser must not frame, guess, store or
/// leak it. The first one is for answers that are no page.
pub(crate) const BROWSER_HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (http::header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ),
    (http::header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
];

/// Writes a text so that it is a text in HTML, also inside a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_text_stays_a_text() {
        let name = "<script>alert(\"a\" & 'b')</script>";
        let expected = "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;";
        assert_eq!(escaped(name), expected);
    }
}
