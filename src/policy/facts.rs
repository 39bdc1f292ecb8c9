//! What the CF API says about one route and the apps that matter.
//!
//! Invariant: read directly before the verdict and stored nowhere. Filled by `proxy`.

use super::bounds::{AppBounds, Bounds, Legacy, OwnerMarks};
use std::collections::BTreeMap;

/// A route as the CF API shows it now.
#[derive(Clone, Debug, Default)]
pub struct RouteFacts {
    /// Its host.
    pub host: String,
    /// Its path; empty if it has none.
    pub path: String,
    /// Guid of its space.
    pub space: String,
    /// Guid of its domain.
    pub domain: String,
    /// Guids of the apps mapped to it.
    pub apps: Vec<String>,
    /// Guids of its destinations, and of the app of each.
    pub targets: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An app as the CF API shows it now.
#[derive(Clone, Debug)]
pub struct AppFacts {
    /// Its guid.
    pub guid: String,
    /// Its name.
    pub name: String,
    /// Guid of its space.
    pub space: String,
}

/// The action on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteAction {
    Map,
    Delete,
}

impl RouteFacts {
    /// Returns whether the route is the caller's, by its marks; an unmarked route by its apps, if
    /// the caller's terms allow that.
    ///
    /// An unmarked route without apps has no owner. It may be mapped, as `PUT /routes` adopts it
    /// too, but not deleted, because nothing shows that it was made for this caller.
    pub(super) fn is_owned(&self, bounds: &Bounds, apps: &[AppFacts], action: RouteAction) -> bool {
        let marks = &bounds.marks;
        if self.has_label(marks) {
            return self.is_marked(marks);
        }
        let Legacy { map, delete } = bounds.legacy;
        let allowed = match action {
            RouteAction::Map => map,
            RouteAction::Delete => delete && !self.apps.is_empty(),
        };
        let own = |key: &String| key.split('/').next() == Some(marks.prefix.as_str());
        let unmarked = !self.labels.keys().any(own);
        allowed && unmarked && self.apps.iter().all(|app| bounds.has_app(app, apps))
    }

    /// Returns whether the route has the owner's label and the matching annotation.
    pub(super) fn is_marked(&self, marks: &OwnerMarks) -> bool {
        let (key, value) = &marks.owner_annotation;
        self.has_label(marks) && self.annotations.get(key) == Some(value)
    }

    fn has_label(&self, marks: &OwnerMarks) -> bool {
        let (key, value) = &marks.owner_label;
        self.labels.get(key) == Some(value)
    }
}

impl Bounds {
    /// Returns whether an app is within the bounds; `seen` holds the apps that were read from CF.
    pub(super) fn has_app(&self, guid: &str, seen: &[AppFacts]) -> bool {
        match &self.apps {
            AppBounds::Listed(guids) => guids.iter().any(|listed| listed == guid),
            AppBounds::AnyBut { name, guid: own } => seen.iter().any(|app| {
                let named = name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&app.name));
                let is_broker = named || own.as_ref() == Some(&app.guid);
                app.guid == guid && app.space == self.space && !is_broker
            }),
        }
    }

    /// Returns whether apps must be read before [`Bounds::has_app`] can decide.
    pub(super) fn asks_for_apps(&self) -> bool {
        match self.apps {
            AppBounds::Listed(_) => false,
            AppBounds::AnyBut { .. } => true,
        }
    }
}
