//! What every page must hold, whatever texts it shows.

use askama::Template as _;

use super::{
    Frame, PageScript, PageSection, Person, ProblemGuide, ProblemOccurrence, ProblemPage,
    ProblemSummary, Site, SpaceHtml, SpaceListHtml, StatusCard, StatusHtml, StatusMood,
};
use crate::{
    capi::Guid,
    overview::view::{
        AppRow, HeadRoom, OrganizationRow, OtherRouteRow, Paging, QuotaRow, RowQuery, RowWindow,
        Rows, SpacePage, SpaceRow, SpacesPage, TenantRouteRow,
    },
};

/// A name that is markup, breaks out of attributes, and turns the direction of what follows.
const NASTY: &str = "<script>alert(1)</script> \"' onload=x &amp; \u{202e}gpj";
const ESCAPED: &str =
    "&#60;script&#62;alert(1)&#60;/script&#62; &#34;&#39; onload=x &#38;amp; \u{202e}gpj";

fn frame() -> Frame {
    let person = Person { name: Some(NASTY.to_owned()), log_out: Some("/p/logout".to_owned()) };
    let site = Site::new("/p", Some(3));
    site.frame(PageSection::Spaces, PageScript::Local).seen_by(Some(person))
}

/// Asserts that the text is there only escaped, each time isolated from what stands around it.
fn assert_inert(html: &str, times: usize) {
    assert!(!html.contains("<script>") && !html.contains("\"' onload"), "{html}");
    // What the filter looks at is shown to nobody.
    let parts = html.split("data-text=\"").enumerate();
    let html: String = parts
        .map(|(at, part)| if at == 0 { part } else { part.split_once('"').unwrap().1 })
        .collect();
    assert_eq!(html.matches(ESCAPED).count(), times, "{html}");
    let isolated = html.matches(&format!("<bdi>{ESCAPED}</bdi>")).count();
    let labels = html.matches(&format!("{ESCAPED}\"")).count();
    assert_eq!(isolated + labels, times, "{html}");
}

fn guid() -> Guid {
    Guid::parse("5e1f9e5a-0000-4000-8000-000000000001").unwrap()
}

fn organization() -> OrganizationRow {
    OrganizationRow { guid: guid(), name: NASTY.to_owned() }
}

/// The list of spaces with these rows of all that match.
fn list(frame: Frame, rows: Vec<&SpaceRow>, total: usize, query: &RowQuery) -> String {
    let next = query.window.map(|window| window.page + 1).filter(|_| total > rows.len());
    let paging =
        query.window.map(|RowWindow { page, per_page }| Paging { total, page, per_page, next });
    let list = SpacesPage { resources: rows, total, pagination: paging };
    SpaceListHtml::new(frame, &list, query).render().unwrap()
}

fn row() -> SpaceRow {
    SpaceRow {
        guid: guid(),
        name: NASTY.to_owned(),
        created_at: Some("2026-11-30T10:20:30Z".to_owned()),
        organization: Some(organization()),
        tenant_routes: 4711,
        apps: 2,
    }
}

#[test]
fn names_of_spaces_are_text() {
    let html = list(frame(), vec![&row()], 1, &RowQuery::default());
    assert_inert(&html, 4);
    let time = "<time datetime=\"2026-11-30T10:20:30Z\">2026-11-30 10:20 UTC</time>";
    assert!(html.contains(time) && html.contains("4711"), "{html}");
}

#[test]
fn a_page_that_has_all_rows_filters_them_itself() {
    let html = list(frame(), vec![&row()], 1, &RowQuery::default());
    assert!(html.contains("data-rows=\"rows\"") && html.contains(">1 of 1 spaces<"), "{html}");
    let searched = format!("<tr data-text=\"{ESCAPED}\n{}\n{ESCAPED}\">", guid());
    assert!(html.contains(&searched), "{html}");
    assert!(!html.contains("Next page"), "{html}");
}

#[test]
fn a_part_of_a_list_leads_to_the_others_and_lets_the_broker_filter() {
    let query = RowQuery {
        filter: Some("a&b \"".to_owned()),
        window: Some(RowWindow { page: 2, per_page: 1 }),
    };
    let html = list(frame(), vec![&row()], 3, &query);
    assert!(!html.contains("data-rows"), "{html}");
    for text in [
        "1 of 3 spaces that match the filter",
        "value=\"a&#38;b &#34;\"",
        "href=\"/p/spaces?filter=a%26b+%22&#38;page=1&#38;per_page=1\"",
        "href=\"/p/spaces?filter=a%26b+%22&#38;page=3&#38;per_page=1\"",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
}

#[test]
fn what_a_space_holds_is_text() {
    let (guid, organization) = (guid(), organization());
    let apps = [NASTY.to_owned()];
    let route = TenantRouteRow {
        guid: &guid,
        host: NASTY,
        domain: NASTY,
        url: "https://acme.example.test".to_owned(),
        created_at: "2026",
        apps: &apps,
        state: "drifted",
        reason: Some("Because."),
        tenant: Some(NASTY),
        owner: Some(NASTY),
    };
    let other = OtherRouteRow {
        guid: &guid,
        host: "h",
        domain: "d",
        url: NASTY,
        created_at: "2026",
        apps: &apps,
    };
    let app = AppRow { guid: guid.clone(), name: NASTY.to_owned(), state: Some("started") };
    let quota = QuotaRow { space: Some(HeadRoom { limit: 100, used: 12 }), organization: None };
    let space = SpacePage {
        guid: &guid,
        name: NASTY,
        created_at: None,
        organization: Some(&organization),
        quota: &quota,
        tenant_routes: Rows { resources: vec![route], total: 1 },
        other_routes: Rows { resources: vec![other], total: 1 },
        apps: Rows { resources: vec![&app], total: 1 },
        pagination: None,
    };
    let html = SpaceHtml::new(frame(), &space, &RowQuery::default()).render().unwrap();
    // The title of the document is no element, so its name cannot be isolated there.
    let body = html.split_once("</title>").unwrap().1;
    assert_inert(body, 13);
    for text in ["12 of 100 used, 88 left", "drifted</span><br>Because.", "3 of 3 routes and apps"]
    {
        assert!(html.contains(text), "{text}: {html}");
    }
}

#[test]
fn what_stands_on_another_page_is_not_called_missing() {
    let guid = guid();
    let quota = QuotaRow { space: None, organization: None };
    let space = SpacePage {
        guid: &guid,
        name: "dev",
        created_at: None,
        organization: None,
        quota: &quota,
        tenant_routes: Rows { resources: Vec::new(), total: 0 },
        other_routes: Rows { resources: Vec::new(), total: 2 },
        apps: Rows { resources: Vec::new(), total: 3 },
        pagination: None,
    };
    let html = SpaceHtml::new(frame(), &space, &RowQuery::default()).render().unwrap();
    let counts = ["None here.", "None on this page."].map(|text| html.matches(text).count());
    assert_eq!(counts, [1, 2], "{html}");
}

#[test]
fn what_a_problem_repeats_is_text() {
    let guide = ProblemGuide { meaning: "m", causes: &["c"], checks: &["k"], again: "No." };
    let problem =
        ProblemSummary { code: "a_b", status: 400, title: "Title", retryable: false, guide };
    let occurrence = ProblemOccurrence {
        detail: Some(NASTY.to_owned()),
        fields: vec![[NASTY.to_owned(), NASTY.to_owned()]],
        cf_errors: vec![NASTY.to_owned()],
        wait: Some("7 seconds".to_owned()),
        correlation: "id".to_owned(),
        action: None,
    };
    let page = ProblemPage { frame: frame(), problem, occurrence: Some(occurrence), card: None };
    let html = page.render().unwrap();
    assert_inert(&html, 5);
    assert!(html.contains("7 seconds"), "{html}");
}

#[test]
fn a_page_says_where_it_is_who_looks_and_which_instance_answers() {
    let html = list(frame(), Vec::new(), 0, &RowQuery::default());
    assert_eq!(html.matches("aria-current=\"page\"").count(), 1, "{html}");
    assert!(html.contains("href=\"/p/spaces\" aria-current=\"page\""), "{html}");
    assert!(html.contains("instance 3") && html.contains("action=\"/p/logout\""), "{html}");
    assert!(html.contains("Space Developer"), "an empty list says what is missing: {html}");
    let site = Site::new("", Some(3));
    let nobody = site.frame(PageSection::Other, PageScript::None);
    let html = list(nobody, Vec::new(), 0, &RowQuery::default());
    assert!(!html.contains("aria-current") && !html.contains("instance 3"), "{html}");
}

#[test]
fn a_page_asks_for_news_in_a_session_of_the_broker_only() {
    let card = StatusCard {
        mood: StatusMood::Good,
        state: "Healthy".to_owned(),
        cause: None,
        next_step: None,
        facts: Vec::new(),
    };
    let page = |log_out: Option<&str>| {
        let frame = Site::new("/p", None).frame(PageSection::Other, PageScript::Live);
        let person = Person { name: None, log_out: log_out.map(str::to_owned) };
        StatusHtml { frame: frame.seen_by(Some(person)), card: card.clone() }
    };
    // With a token that an approuter passes on there is no session here.
    for (log_out, script) in [(Some("/p/logout"), PageScript::Live), (None, PageScript::Local)] {
        let page = page(log_out);
        assert_eq!(page.frame.script(), script);
        let is_live = script == PageScript::Live;
        assert_eq!(page.render().unwrap().contains("data-live"), is_live, "{log_out:?}");
    }
}
