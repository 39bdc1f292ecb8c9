//! All doors behind one: leases by destination name.
//!
//! Invariant: a caller gets the lease of the credentials that the destination holds now, or the reason why there is
//! none; a fresh lease costs one pointer load, no lock and no allocation. Used by `TokenVault` only.

use super::{
    door::Door,
    error::{Reason, Refusal},
    holdoff::Revoked,
    house::{House, RealSlot},
    lease::{Freshness, Lease},
    ports::Ports,
    state::GateState,
    status::DestinationStatus,
};
use crate::destination::{CachePolicy, DestinationName};
use prometheus_client::metrics::counter::Counter;
use std::{fmt, ptr, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// How often a caller follows changing credentials before the refusal of the last ones is the answer.
const MOST_MOVES: usize = 3;

/// The doors.
pub(super) struct Vault<P: Ports> {
    doors: Vec<Entry<P>>,
    house: Arc<House<P>>,
}

/// A door with its counter, held so that the read path looks nothing up.
struct Entry<P: Ports> {
    door: Arc<Door<P>>,
    fresh: Counter,
}

/// Whether an operator's release respects a lock that has not run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refused while the waiting time of a lock runs.
    No,
    /// Also then; a probe that comes too early counts as a failure again.
    Yes,
}

/// What an operator's release came to.
#[derive(Clone, Debug)]
pub enum Attempt {
    /// There is a new token.
    Succeeded,
    /// The attempt was made, or could not be, and this came of it.
    Refused(Refusal),
}

/// Why no attempt was released.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RetryError {
    /// No destination of that name is configured.
    #[error("destination {0} is not configured")]
    UnknownDestination(String),
    /// The waiting time of a lock runs.
    #[error("the lock has not run out")]
    Locked(#[source] Refusal),
}

impl<P: Ports> Vault<P> {
    pub(super) fn new(names: &[DestinationName], house: House<P>) -> Self {
        let house = Arc::new(house);
        let entry = |name: &DestinationName| Entry {
            door: Arc::new(Door::new(name.clone(), Arc::clone(&house))),
            fresh: house.metrics.served_counter(name.as_str(), "fresh"),
        };
        let doors = names.iter().map(entry).collect();
        Self { doors, house }
    }

    /// Returns the lease on show, if there is one.
    pub(super) fn fresh(&self, name: &DestinationName) -> Option<Arc<Lease>> {
        let entry = self.entry(name)?;
        let lease = entry.door.look_at_front(Instant::now())?;
        entry.fresh.inc();
        Some(lease)
    }

    /// Returns a lease by the long way.
    pub(super) async fn lease(&self, name: &DestinationName) -> Result<Arc<Lease>, Refusal> {
        let Some(entry) = self.entry(name) else {
            return Err(Refusal::new(name, Reason::DestinationMissing, None));
        };
        let door = &entry.door;
        let now = Instant::now();
        let metrics = &self.house.metrics;
        if let Some(slot) = door.seat().as_ref() {
            door.look_behind(now);
            if let Some((lease, freshness)) = slot.serve(now) {
                if freshness == Freshness::Fresh {
                    door.show(slot, &lease, now);
                    entry.fresh.inc();
                } else {
                    metrics.token_served(name.as_str(), "ageing");
                }
                return Ok(lease);
            }
        }
        let outcome = self.wait(door).await;
        let result = if outcome.is_ok() { "waited" } else { "refused" };
        metrics.token_served(name.as_str(), result);
        outcome
    }

    async fn wait(&self, door: &Arc<Door<P>>) -> Result<Arc<Lease>, Refusal> {
        let mut moves = 0;
        loop {
            let slot = self.slot(door, CachePolicy::Cached).await?;
            let outcome = slot.lease().await;
            if door.is_seated(&slot) || moves == MOST_MOVES {
                return outcome;
            }
            moves += 1;
        }
    }

    async fn slot(&self, door: &Arc<Door<P>>, wanted: CachePolicy) -> Result<RealSlot<P>, Refusal> {
        if wanted == CachePolicy::Cached
            && let Some(slot) = door.seat().as_ref()
        {
            return Ok(Arc::clone(slot));
        }
        door.look(wanted).await.map_err(|error| {
            let now = Instant::now();
            let refusal = Refusal::of_destination(door.name(), error, now);
            door.record().refused(&refusal, now);
            refusal
        })
    }

    pub(super) fn revoke(&self, name: &DestinationName, used: &Lease) -> Revoked {
        let seat = self.entry(name).map(|entry| entry.door.seat());
        match seat.as_ref().and_then(|seat| seat.as_ref()) {
            Some(slot) => slot.revoke(used, Instant::now()),
            None => Revoked::Renewing,
        }
    }

    pub(super) async fn retry(
        &self,
        name: &DestinationName,
        force: Force,
    ) -> Result<Attempt, RetryError> {
        let Some(entry) = self.entry(name) else {
            return Err(RetryError::UnknownDestination(name.as_str().to_owned()));
        };
        let slot = match self.slot(&entry.door, CachePolicy::PastCache).await {
            Ok(slot) => slot,
            Err(refusal) => return Ok(Attempt::Refused(refusal)),
        };
        let gate = Arc::clone(&slot.source().gate);
        let now = Instant::now();
        if force == Force::No
            && gate.state(now) == GateState::Locked
            && let Some(hold) = gate.hold(now)
        {
            let refusal = Refusal::new(name, hold.reason, hold.retry_at);
            return Err(RetryError::Locked(refusal));
        }
        let outcome = slot.attempt(|source| source.gate.release()).await;
        gate.take_release();
        Ok(match outcome {
            Ok(_) => Attempt::Succeeded,
            Err(refusal) => Attempt::Refused(refusal),
        })
    }

    pub(super) fn warm(self: &Arc<Self>, name: &DestinationName, delay: Duration) {
        let (vault, name) = (Arc::clone(self), name.clone());
        self.house.tasks.spawn(async move {
            tokio::select! {
                () = vault.house.stop.cancelled() => {}
                () = sleep(delay) => {
                    // The gate and the destination have logged what stands in the way.
                    drop(vault.lease(&name).await);
                }
            }
        });
    }

    pub(super) fn reread(self: &Arc<Self>) {
        for entry in &self.doors {
            let door = Arc::clone(&entry.door);
            self.house.tasks.spawn(async move {
                let destination = door.name().as_str();
                match door.look(CachePolicy::PastCache).await {
                    Ok(_) => tracing::info!(destination, "destination read again"),
                    Err(error) => tracing::warn!(destination, %error, "destination not read"),
                }
            });
        }
    }

    pub(super) fn statuses(&self) -> Vec<DestinationStatus> {
        let now = Instant::now();
        self.doors.iter().map(|entry| self.status(&entry.door, now)).collect()
    }

    fn status(&self, door: &Door<P>, now: Instant) -> DestinationStatus {
        let content = self.house.ports.known(door.name());
        let hint = content.as_ref().and_then(|content| content.login_hint.as_ref());
        let gate = door.gate();
        let hold = gate.as_ref().and_then(|gate| gate.hold(now));
        let opens = hold.and_then(|hold| hold.retry_at);
        let lease = door.seat().as_ref().and_then(|slot| slot.live());
        DestinationStatus {
            name: door.name().clone(),
            source: content.as_ref().map(|content| content.source),
            user: content.as_ref().map(|content| content.credentials.user.clone()),
            origin: hint.map(|hint| hint.origin().as_str().to_owned()),
            gate: gate.map_or(GateState::Unknown, |gate| gate.state(now)),
            gate_opens_in: opens.map(|at| at.saturating_duration_since(now)),
            freshness: lease.as_ref().map(|lease| lease.freshness(now)),
            expires_in: lease.as_ref().map(|lease| lease.expires_in(now)),
            last_renewal: door.record().last_renewal(now),
            last_refusal: door.record().last_refusal(now),
        }
    }

    /// At most eight names: comparing is faster than hashing, and mostly it is the very same text.
    fn entry(&self, name: &DestinationName) -> Option<&Entry<P>> {
        self.doors.iter().find(|entry| {
            let known = entry.door.name();
            ptr::eq(known.as_str(), name.as_str()) || known == name
        })
    }
}

impl<P: Ports> fmt::Debug for Vault<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = self.doors.iter().map(|entry| &entry.door);
        out.debug_list().entries(doors).finish()
    }
}

#[cfg(test)]
mod tests;
