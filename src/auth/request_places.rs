//! The places that one request holds while the broker works for it: of its caller, and of all
//! requests together. A request that only waits for CF gives them back.
//!
//! Invariant: a request holds its places only while a part of it works, and none after its end. How
//! many of a caller's requests may wait at once has a bound of its own. Made by `http`, used by
//! `routes`.

use super::InFlightPermit;
use crate::telemetry::metrics::WaitingRequest;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// How long a request that goes on after a wait waits for its places. Then it goes on without them:
/// it is half done, and requests that have places may wait for its locks.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// The places of one request, or of one item of a batch; a clone is shallow.
#[derive(Clone, Debug, Default)]
pub struct RequestPlaces(Arc<PlacesInner>);

#[derive(Debug, Default)]
struct PlacesInner {
    state: Mutex<PlacesState>,
    /// Parts that go on at the same time take the places once.
    returning: AsyncMutex<()>,
    /// Of an item: it counts as a part of its request.
    request: Option<RequestPart>,
}

#[derive(Debug, Default)]
struct PlacesState {
    places: Vec<RequestPlace>,
    /// The waits that this caller may have.
    waits: Option<Arc<Semaphore>>,
    /// Parts besides the first one.
    further_parts: usize,
    /// Parts that do not work.
    idle_parts: usize,
}

/// One place. While the request waits there is no permit.
#[derive(Debug)]
struct RequestPlace {
    kind: PlaceKind,
    limit: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceKind {
    /// Among the requests of its caller.
    Caller,
    /// Among all requests.
    Process,
    /// Among the items of its batch.
    Batch,
}

/// A place among all requests; dropped when the head of the answer is ready.
#[derive(Debug)]
pub struct ProcessPlace(RequestPlaces);

/// A part of a request that runs beside others.
#[derive(Debug)]
pub struct RequestPart(RequestPlaces);

/// A part of a request that does not work. While all are like that, the request has no places.
#[derive(Debug)]
pub struct IdlePart {
    places: RequestPlaces,
    /// The bound of waiting.
    _permit: Option<OwnedSemaphorePermit>,
    _request: Option<Box<IdlePart>>,
    _counted: Option<WaitingRequest>,
}

impl RequestPlaces {
    /// Takes over the place of the caller.
    pub fn hold_caller(&self, permit: InFlightPermit) {
        let mut state = self.state();
        let InFlightPermit { place, sum, waits } = permit;
        state.waits = Some(waits);
        let places = [Some(place), sum].into_iter().flatten();
        state.places.extend(places.map(|place| RequestPlace::new(PlaceKind::Caller, place)));
    }

    /// Takes over a place among all requests until the result is dropped.
    #[must_use]
    pub fn hold_process(&self, permit: OwnedSemaphorePermit) -> ProcessPlace {
        self.state().places.push(RequestPlace::new(PlaceKind::Process, permit));
        ProcessPlace(self.clone())
    }

    /// Returns the places of an item of a batch, with its place among the items. The item is a part
    /// of this request; if the request has given its places back, it waits up to a second for them.
    pub async fn of_item(&self, permit: OwnedSemaphorePermit) -> Self {
        let part = self.part();
        self.take_again(Instant::now() + RETURN_TIMEOUT).await;
        let state = PlacesState {
            places: vec![RequestPlace::new(PlaceKind::Batch, permit)],
            waits: self.state().waits.clone(),
            ..PlacesState::default()
        };
        let (state, request) = (Mutex::new(state), Some(part));
        Self(Arc::new(PlacesInner { state, returning: AsyncMutex::default(), request }))
    }

    /// Begins a part that runs beside the others.
    #[must_use]
    pub fn part(&self) -> RequestPart {
        if let Some(request) = &self.0.request {
            request.0.state().further_parts += 1;
        }
        self.state().further_parts += 1;
        RequestPart(self.clone())
    }

    /// Says that this part does not work until the result is dropped: other parts work for it.
    #[must_use]
    pub fn idle(&self) -> IdlePart {
        self.idle_with(None, None)
    }

    /// Begins to wait for CF, counted in the metrics; `None` if as many requests of this caller
    /// wait as may. Without a caller there is no bound.
    pub fn begin_wait(&self, counted: WaitingRequest) -> Option<IdlePart> {
        let waits = self.state().waits.clone();
        let permit = match waits {
            Some(waits) => Some(waits.try_acquire_owned().ok()?),
            None => None,
        };
        Some(self.idle_with(permit, Some(counted)))
    }

    /// Gives the place among all requests back while the request waits for its client.
    pub fn leave_process(&self) {
        let mut state = self.state();
        let of_process = state.places.iter_mut().filter(|place| place.kind == PlaceKind::Process);
        of_process.for_each(|place| place.permit = None);
    }

    /// Takes the place among all requests again; false if there is none within a second.
    pub async fn return_to_process(&self) -> bool {
        let left =
            |place: &&RequestPlace| place.kind == PlaceKind::Process && place.permit.is_none();
        let limit = self.state().places.iter().find(left).map(|place| Arc::clone(&place.limit));
        let Some(limit) = limit else { return true };
        match timeout_at(Instant::now() + RETURN_TIMEOUT, limit.acquire_owned()).await {
            Ok(Ok(permit)) => {
                self.state().put(permit);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Gives all places back: the request has ended.
    pub fn end(&self) {
        self.state().places.clear();
    }

    fn idle_with(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        counted: Option<WaitingRequest>,
    ) -> IdlePart {
        let request = self.0.request.as_ref().map(|request| Box::new(request.0.idle()));
        let mut state = self.state();
        state.idle_parts += 1;
        state.give_back_if_idle();
        drop(state);
        IdlePart { places: self.clone(), _permit: permit, _request: request, _counted: counted }
    }

    /// Takes the places again that were given back.
    async fn take_again(&self, until: Instant) {
        let _only = self.0.returning.lock().await;
        let missing = self.state().limits_without_permit();
        for limit in missing {
            let taken = timeout_at(until, limit.acquire_owned()).await;
            if let Ok(Ok(permit)) = taken {
                self.state().put(permit);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, PlacesState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlacesState {
    fn give_back_if_idle(&mut self) {
        if self.idle_parts > self.further_parts {
            self.places.iter_mut().for_each(|place| place.permit = None);
        }
    }

    fn limits_without_permit(&self) -> Vec<Arc<Semaphore>> {
        let places = self.places.iter().filter(|place| place.permit.is_none());
        places.map(|place| Arc::clone(&place.limit)).collect()
    }

    /// Keeps a permit, if its place is still needed.
    fn put(&mut self, permit: OwnedSemaphorePermit) {
        let is_for = |place: &&mut RequestPlace| Arc::ptr_eq(&place.limit, permit.semaphore());
        if let Some(place) = self.places.iter_mut().find(is_for) {
            place.permit = Some(permit);
        }
        self.give_back_if_idle();
    }
}

impl RequestPlace {
    fn new(kind: PlaceKind, permit: OwnedSemaphorePermit) -> Self {
        Self { kind, limit: Arc::clone(permit.semaphore()), permit: Some(permit) }
    }
}

impl IdlePart {
    /// Goes on with the work, with the places of the request if they are free within a second.
    pub async fn resume(self) {
        let (own, request) = (self.places.clone(), self.places.0.request.as_ref());
        let request = request.map(|request| request.0.clone());
        drop(self);
        let until = Instant::now() + RETURN_TIMEOUT;
        own.take_again(until).await;
        if let Some(request) = request {
            request.take_again(until).await;
        }
    }
}

impl Drop for IdlePart {
    fn drop(&mut self) {
        self.places.state().idle_parts -= 1;
    }
}

impl Drop for RequestPart {
    fn drop(&mut self) {
        let ended = |places: &RequestPlaces| {
            let mut state = places.state();
            state.further_parts -= 1;
            state.give_back_if_idle();
        };
        ended(&self.0);
        if let Some(request) = &self.0.0.request {
            ended(&request.0);
        }
    }
}

impl Drop for ProcessPlace {
    fn drop(&mut self) {
        self.0.state().places.retain(|place| place.kind != PlaceKind::Process);
    }
}

#[cfg(test)]
mod tests {
    use super::{InFlightPermit, ProcessPlace, RequestPlaces};
    use crate::telemetry::metrics::{Metrics, WaitingRequest};
    use std::{sync::Arc, time::Duration};
    use tokio::{
        sync::Semaphore,
        time::{Instant, sleep},
    };

    /// A request with the only place of its caller and the only place among all requests.
    fn request() -> (RequestPlaces, Arc<Semaphore>, Arc<Semaphore>, ProcessPlace) {
        let (caller, process) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let places = RequestPlaces::default();
        let take = |limit: &Arc<Semaphore>| Arc::clone(limit).try_acquire_owned().unwrap();
        let place = places.hold_process(take(&process));
        places.hold_caller(InFlightPermit::for_tests(take(&caller)));
        (places, caller, process, place)
    }

    fn counted() -> WaitingRequest {
        Metrics::default().wait_started("job")
    }

    fn free(limits: [&Arc<Semaphore>; 2]) -> [usize; 2] {
        limits.map(|limit| limit.available_permits())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_for_its_client_has_no_place_among_all_requests() {
        let (places, caller, process, _end) = request();
        assert!(places.return_to_process().await, "it has its place");
        places.leave_process();
        assert_eq!((caller.available_permits(), process.available_permits()), (0, 1));
        let other = Arc::clone(&process).try_acquire_owned();
        assert!(!places.return_to_process().await, "there is none");
        drop(other);
        assert!(places.return_to_process().await);
        assert_eq!(process.available_permits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_has_no_places_and_takes_them_again() {
        let (places, caller, process, _place) = request();
        assert_eq!(free([&caller, &process]), [0, 0]);
        let wait = places.begin_wait(counted()).unwrap();
        assert_eq!(free([&caller, &process]), [1, 1]);
        wait.resume().await;
        assert_eq!(free([&caller, &process]), [0, 0]);
        places.end();
        assert_eq!(free([&caller, &process]), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_beyond_the_bound_is_not_begun() {
        let (places, caller, process, _place) = request();
        let first = places.begin_wait(counted()).unwrap();
        assert!(places.begin_wait(counted()).is_none());
        drop(first);
        assert!(places.begin_wait(counted()).is_some());
        assert!(
            RequestPlaces::default().begin_wait(counted()).is_some(),
            "without a caller no bound"
        );
        assert_eq!(free([&caller, &process]), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_goes_on_without_a_place_after_a_second() {
        let (places, caller, _, _place) = request();
        let wait = places.begin_wait(counted()).unwrap();
        let other = caller.acquire().await.unwrap();
        let begun = Instant::now();
        wait.resume().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        drop(other);
        assert_eq!(caller.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_is_taken_in_time() {
        let (places, caller, _, _place) = request();
        let wait = places.begin_wait(counted()).unwrap();
        let other = Arc::clone(&caller).acquire_owned().await.unwrap();
        let freeing = async {
            sleep(Duration::from_millis(900)).await;
            drop(other);
        };
        tokio::join!(wait.resume(), freeing);
        assert_eq!(caller.available_permits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_back_when_no_part_works() {
        let (places, caller, process, _place) = request();
        let whole = places.idle();
        assert_eq!(free([&caller, &process]), [1, 1], "nothing works");
        drop(whole);
        let (places, caller, process, _place) = request();
        let (one, two) = (places.part(), places.part());
        let _whole = places.idle();
        let wait = places.begin_wait(counted()).unwrap();
        assert_eq!(free([&caller, &process]), [0, 0], "one part works");
        drop(one);
        assert_eq!(free([&caller, &process]), [1, 1]);
        wait.resume().await;
        assert_eq!(free([&caller, &process]), [0, 0]);
        drop(two);
        assert_eq!(free([&caller, &process]), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_gives_back_its_place_and_with_the_last_one_those_of_the_request() {
        let (places, caller, process, _place) = request();
        let batch = Arc::new(Semaphore::new(2));
        let item = || places.of_item(Arc::clone(&batch).try_acquire_owned().unwrap());
        let (one, two) = (item().await, item().await);
        let _whole = places.idle();
        let wait = one.idle();
        assert_eq!((batch.available_permits(), free([&caller, &process])), (1, [0, 0]));
        let part = two.part();
        let (first, second) = (two.idle(), two.idle());
        assert_eq!((batch.available_permits(), free([&caller, &process])), (2, [1, 1]));
        wait.resume().await;
        assert_eq!((batch.available_permits(), free([&caller, &process])), (1, [0, 0]));
        first.resume().await;
        one.end();
        drop(one);
        assert_eq!((batch.available_permits(), free([&caller, &process])), (1, [0, 0]));
        drop((second, part, two));
        assert_eq!((batch.available_permits(), free([&caller, &process])), (2, [1, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_that_begins_takes_the_places_of_the_request_again() {
        let (places, caller, process, _place) = request();
        let _whole = places.idle();
        assert_eq!(free([&caller, &process]), [1, 1]);
        let batch = Arc::new(Semaphore::new(1));
        let item = places.of_item(Arc::clone(&batch).try_acquire_owned().unwrap()).await;
        assert_eq!(free([&caller, &process]), [0, 0]);
        drop(item);
        assert_eq!(free([&caller, &process]), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_has_ended_takes_nothing_again() {
        let (places, caller, process, _place) = request();
        let wait = places.begin_wait(counted()).unwrap();
        places.end();
        wait.resume().await;
        assert_eq!(free([&caller, &process]), [1, 1]);
    }
}
