//! Routes that are known: how old they may get, and when one that could not be renewed is asked for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::lock;
use super::error::{Error, ErrorKind};
use super::route::TopicRoute;

/// Pause after the first failure; it doubles up to the age at which routes are renewed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Routes by topic with the namespace.
#[derive(Default)]
pub(crate) struct RouteCache(Mutex<HashMap<String, Cached>>);

struct Cached {
    route: Arc<TopicRoute>,
    read_at: Instant,
    is_asked_for: bool,
    trouble: Option<Trouble>,
}

/// Why a route is older than it should be.
struct Trouble {
    kind: ErrorKind,
    asked_at: Instant,
    pause: Duration,
}

impl RouteCache {
    /// A route, and whether the caller has to renew it, because it is older than `age`. Who has to tells the outcome to
    /// [`put`](Self::put) or [`failed`](Self::failed); until then nobody else has to.
    pub fn get(&self, topic: &str, age: Duration) -> Option<(Arc<TopicRoute>, bool)> {
        let mut routes = lock(&self.0);
        let cached = routes.get_mut(topic)?;
        let is_due = match &cached.trouble {
            None => cached.read_at.elapsed() > age,
            Some(trouble) => trouble.asked_at.elapsed() > trouble.pause,
        };
        let is_wanted = is_due && !cached.is_asked_for;
        cached.is_asked_for |= is_wanted;
        Some((Arc::clone(&cached.route), is_wanted))
    }

    /// Keeps a route that was just read.
    pub fn put(&self, topic: &str, route: Arc<TopicRoute>) {
        let cached = Cached { route, read_at: Instant::now(), is_asked_for: false, trouble: None };
        let before = lock(&self.0).insert(topic.to_owned(), cached);
        if let Some(before) = before.filter(|before| before.trouble.is_some()) {
            let seconds = before.read_at.elapsed().as_secs();
            tracing::info!(topic, seconds, "a route is renewed again; the old one was in use");
        }
    }

    /// Takes note that a route could not be renewed by who had to: it is asked for again after a pause. What keeps failing in the
    /// same way is told once.
    pub fn failed(&self, topic: &str, age: Duration, error: &Error) {
        let is_known = {
            let mut routes = lock(&self.0);
            // Somebody else may have read or dropped it meanwhile.
            let Some(cached) = routes.get_mut(topic).filter(|cached| cached.is_asked_for) else { return };
            cached.is_asked_for = false;
            let before = cached.trouble.as_ref();
            let pause = before.map_or(FIRST_PAUSE, |before| before.pause * 2).min(age);
            let is_known = before.is_some_and(|before| before.kind == error.kind());
            cached.trouble = Some(Trouble { kind: error.kind(), asked_at: Instant::now(), pause });
            is_known
        };
        if is_known {
            tracing::debug!(topic, %error, "a route could still not be renewed");
        } else {
            let remedy = error.remedy();
            tracing::warn!(topic, %error, remedy, "a route could not be renewed; the old one stays in use until it can");
        }
    }

    /// Drops a route.
    pub fn forget(&self, topic: &str) {
        lock(&self.0).remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::super::{Client, ClientConfig};
    use super::*;

    /// Counts what is logged, by level.
    #[derive(Clone, Default)]
    struct Log {
        warnings: Arc<AtomicUsize>,
        infos: Arc<AtomicUsize>,
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            match (*event.metadata().level(), event.metadata().target().ends_with("route_cache")) {
                (Level::WARN, true) => _ = self.warnings.fetch_add(1, Ordering::Relaxed),
                (Level::INFO, true) => _ = self.infos.fetch_add(1, Ordering::Relaxed),
                _ => {}
            }
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    fn unreachable() -> Error {
        Error::new(ErrorKind::NameServerUnreachable, "no name server answers")
    }

    /// A client whose name servers are gone, in use.
    #[tokio::test]
    async fn a_route_that_cannot_be_renewed_is_told_once_and_so_is_the_end_of_that() {
        let log = Log::default();
        // Were there only one, an event that a test on another thread is the first to come by would be switched off for all.
        let _another = tracing::Dispatch::new(Log::default());
        let _guard = tracing::subscriber::set_default(log.clone());
        let mut config = ClientConfig::new(vec!["127.0.0.1:1".to_owned()]);
        config.route_refresh = Duration::from_millis(1);
        let client = Client::new(config).unwrap();
        client.0.routes.put("orders", Arc::default());
        for _ in 0..200 {
            assert!(client.0.cached_route("orders").is_some());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(log.warnings.load(Ordering::Relaxed), 1);
        client.0.routes.put("orders", Arc::default());
        client.0.routes.put("orders", Arc::default());
        assert_eq!((log.warnings.load(Ordering::Relaxed), log.infos.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn a_route_is_renewed_by_one_caller_and_again_after_a_pause_that_grows() {
        let (cache, age) = (RouteCache::default(), Duration::from_secs(30));
        let is_wanted = |age| cache.get("orders", age).is_some_and(|(_, is_wanted)| is_wanted);
        assert!(cache.get("orders", age).is_none());
        cache.put("orders", Arc::default());
        assert!(!is_wanted(age));
        std::thread::sleep(Duration::from_millis(2));
        assert!(is_wanted(Duration::ZERO) && !is_wanted(Duration::ZERO), "who asks first has to renew it");
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            lock(&cache.0).get_mut("orders").unwrap().is_asked_for = true;
            cache.failed("orders", age, &unreachable());
            assert!(!is_wanted(Duration::ZERO), "not before the pause is over");
            let mut routes = lock(&cache.0);
            assert_eq!(routes["orders"].trouble.as_ref().unwrap().pause, Duration::from_secs(expected));
            routes.get_mut("orders").unwrap().trouble.as_mut().unwrap().pause = Duration::ZERO;
            drop(routes);
            std::thread::sleep(Duration::from_millis(2));
            assert!(is_wanted(age), "when the pause is over");
            lock(&cache.0).get_mut("orders").unwrap().trouble.as_mut().unwrap().pause = Duration::from_secs(expected);
        }
    }

    #[test]
    fn a_failure_behind_a_success_changes_nothing() {
        let (cache, age) = (RouteCache::default(), Duration::from_secs(30));
        cache.failed("orders", age, &unreachable());
        cache.put("orders", Arc::default());
        cache.failed("orders", age, &unreachable());
        assert!(lock(&cache.0)["orders"].trouble.is_none());
    }
}
