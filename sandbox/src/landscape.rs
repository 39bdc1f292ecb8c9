//! Everything that the parts of one landscape share. Invariant: no part holds the landscape, so it
//! ends with its owner. Created by `lib`, changed by levers.

use std::sync::Arc;

use crate::clock::Clock;
use crate::destination::Destinations;
use crate::ias::Ias;
use crate::journal::Journal;
use crate::levers::part_faults::PartFaults;
use crate::part::{Addresses, Part, PerPart};
use crate::service::{Instruments, RecentRequests};
use crate::token::CfTokens;
use crate::uaa::Uaa;
use crate::world::CfWorld;
use crate::xsuaa::Xsuaa;

/// The state of a landscape.
#[derive(Debug)]
pub(crate) struct Landscape {
    pub(crate) addresses: Addresses,
    pub(crate) clock: Clock,
    pub(crate) journal: Arc<Journal>,
    pub(crate) faults: PerPart<Arc<PartFaults>>,
    pub(crate) recent_requests: PerPart<Arc<RecentRequests>>,
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) xsuaa: Arc<Xsuaa>,
    pub(crate) uaa: Arc<Uaa>,
    pub(crate) tokens: Arc<CfTokens>,
    pub(crate) cf: Arc<CfWorld>,
    pub(crate) ias: Arc<Ias>,
}

impl Landscape {
    /// Creates a landscape that will listen at these addresses.
    pub(crate) fn new(addresses: Addresses) -> Self {
        let clock = Clock::default();
        let (uaa_base, cf_base) = (addresses.url(Part::Uaa), addresses.url(Part::Cf));
        let tokens = Arc::new(CfTokens::with_clock(uaa_base.clone(), clock.clone()));
        let xsuaa = Arc::new(Xsuaa::new(addresses.url(Part::Xsuaa), clock.clone()));
        let destinations = Destinations::new(&uaa_base, &cf_base, Arc::clone(&xsuaa));
        let cf = CfWorld::seeded(cf_base, uaa_base.clone(), Arc::clone(&tokens));
        Self {
            addresses,
            journal: Arc::new(Journal::new()),
            faults: PerPart::default(),
            recent_requests: PerPart::default(),
            destinations: Arc::new(destinations),
            xsuaa,
            uaa: Arc::new(Uaa::new(uaa_base, clock.clone(), Arc::clone(&tokens))),
            tokens,
            cf: Arc::new(cf),
            ias: Arc::new(Ias::new(addresses.url(Part::Ias), clock.clone())),
            clock,
        }
    }

    /// Clears the journal and the kept bytes of requests.
    pub(crate) fn forget_requests(&self) {
        self.journal.clear();
        for part in Part::ALL {
            self.recent_requests.of(part).clear();
        }
    }

    /// Returns the journal, faults and kept requests of a part.
    pub(crate) fn instruments(&self, part: Part) -> Instruments {
        Instruments {
            part,
            journal: Arc::clone(&self.journal),
            faults: Arc::clone(self.faults.of(part)),
            recent_requests: Arc::clone(self.recent_requests.of(part)),
        }
    }
}
