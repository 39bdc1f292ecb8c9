//! Many spaces, apps and routes at once: a landscape that has grown.

use tokio::time::Instant;

use crate::world::{CfWorld, Metadata, Role, Route, TECHNICAL_USER, Target, WorldState, new_guid};

/// What to add. In the values of labels and annotations `{n}` is the number of the route.
#[derive(Clone, Debug, Default)]
pub struct Fill {
    /// Spaces, in `provider-org`; the technical user is developer there.
    pub spaces: usize,
    /// Apps, one space after the other.
    pub apps: usize,
    /// Routes, one space after the other, each mapped to the first app of its space.
    pub routes: usize,
    /// Labels of each route.
    pub labels: Vec<(String, String)>,
    /// Annotations of each route.
    pub annotations: Vec<(String, String)>,
}

impl CfWorld {
    /// Adds many spaces, apps and routes. The route quota of the organisation ends.
    ///
    /// # Errors
    /// Apps or routes without a space.
    pub fn fill(&self, fill: &Fill) -> Result<(), String> {
        if fill.spaces == 0 && fill.apps + fill.routes > 0 {
            return Err("apps and routes need spaces".to_owned());
        }
        self.quota("provider-org", None)?;
        self.with_state(|state| state.fill(fill));
        Ok(())
    }
}

impl WorldState {
    fn fill(&mut self, fill: &Fill) {
        let Some((org, domain)) = self.first_org_and_domain() else { return };
        let spaces: Vec<String> = (1..=fill.spaces).map(|_| new_guid()).collect();
        for (space, number) in spaces.iter().zip(1..) {
            self.add_space(space, &format!("space-{number:04}"), &org);
            self.grant(TECHNICAL_USER, space, Role::SpaceDeveloper);
        }
        let apps: Vec<String> = (1..=fill.apps).map(|_| new_guid()).collect();
        for ((app, space), number) in apps.iter().zip(spaces.iter().cycle()).zip(1..) {
            self.add_app(app, &format!("app-{number:04}"), space, "STARTED");
        }
        for (place, number) in (0..spaces.len()).cycle().zip(1..=fill.routes) {
            let Some(space) = spaces.get(place) else { return };
            let numbered = |entries: &[(String, String)]| {
                let entries = entries.iter();
                entries
                    .map(|(key, value)| (key.clone(), value.replace("{n}", &number.to_string())))
                    .collect()
            };
            let targets = apps.get(place).map(|app| Target {
                guid: new_guid(),
                app: app.clone(),
                process: "web".to_owned(),
                port: 8080,
                weight: None,
                protocol: "http1".to_owned(),
                stamp: self.stamp(),
                mapped: Instant::now(),
            });
            let route = Route {
                guid: new_guid(),
                host: format!("tenant-{number:04}"),
                path: String::new(),
                space: space.clone(),
                domain: domain.clone(),
                options: Vec::new(),
                targets: targets.into_iter().collect(),
                metadata: Metadata {
                    labels: numbered(&fill.labels),
                    annotations: numbered(&fill.annotations),
                },
                stamp: self.stamp(),
            };
            self.routes.push(route);
        }
    }

    fn first_org_and_domain(&self) -> Option<(String, String)> {
        Some((self.orgs.first()?.guid.clone(), self.domains.first()?.guid.clone()))
    }
}
