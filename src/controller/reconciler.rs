//! Runs the controller of one kind: its queue, turns, a time limit, and what follows a failure.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures::channel::mpsc;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Error as QueueError, ReconcileRequest, applier};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{Predicate, WatchStreamExt, predicates};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::backoff::jittered;
use super::context::{Context, Key};
use super::crds::scoped;
use super::error::{Class, Error};
use super::feed::{CONNECTION_KIND, Reference, Switchboard, Trigger};
use super::turns::{Turn, Turns};
use super::{malformed, memory};

/// A kind with a controller.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Kind name, for metrics and keys.
    const KIND: &'static str;

    /// The generation that its status tells of; none before the first.
    fn observed_generation(&self) -> Option<i64>;

    /// Whether the spec names `reference`, in which case its change is worth a reconciliation.
    fn names(&self, reference: &Reference) -> bool;

    /// Names of the RocketMQConnections, in its own namespace, that the object uses now; none while it is held back.
    fn uses(&self) -> Vec<String> {
        Vec::new()
    }

    /// What a change of the object means to objects of other kinds that name it.
    fn announcement(_key: &Key) -> Option<Reference> {
        None
    }

    /// Brings the cluster to what the spec asks for, and the status to what there is.
    fn reconcile(object: Arc<Self>, context: Arc<Context>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Runs the controller of `K` until `token` is cancelled; what is being reconciled then is finished first.
pub async fn run<K: Kind>(
    context: Arc<Context>,
    switchboard: Switchboard,
    triggers: mpsc::UnboundedReceiver<Trigger>,
    token: CancellationToken,
) {
    let (reader, writer) = reflector::store();
    let turns = Turns::new(context.settings.concurrency, Arc::clone(&context.pace));
    let main = main_stream::<K>(&context, &turns, switchboard, (reader.clone(), writer));
    let related = related_stream::<K>(Arc::clone(&context), reader.clone(), triggers);
    let queue = stream::select(main.boxed(), related.boxed()).take_until(token.clone().cancelled_owned());
    // Its concurrency is not bounded: objects wait for their turns, where they can be overtaken, and not in the queue.
    let config = Config::default().debounce(context.settings.debounce);
    let (store, ended) = (reader.clone(), token.clone());
    let reconcile = move |object, context| {
        let waiting = Waiting { turns: turns.clone(), store: store.clone(), ended: ended.clone() };
        reconcile::<K>(object, context, waiting)
    };
    let reconciling =
        applier(reconcile, after_failure::<K>, context, reader.clone(), queue, config).for_each(|outcome| async {
            match outcome {
                Ok(_) | Err(QueueError::ReconcilerFailed(..) | QueueError::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(kind = K::KIND, %error, "the watch is interrupted and will be resumed"),
            }
        });
    tokio::select! {
        () = reconciling => {}
        () = cancelled_before_first_list(&reader, &token) => {}
    }
}

/// Ends when `token` is cancelled before the store has its objects: the applier would wait for them without end.
async fn cancelled_before_first_list<K: Kind>(store: &Store<DeserializeGuard<K>>, token: &CancellationToken) {
    token.cancelled().await;
    if store.wait_until_ready().now_or_never().is_some() {
        std::future::pending::<()>().await;
    }
}

type Requests<K> = Result<ReconcileRequest<DeserializeGuard<K>>, watcher::Error>;

/// Objects whose spec, annotations or finalizers changed. Status changes, our own writes, are left out.
fn main_stream<K: Kind>(
    context: &Arc<Context>,
    turns: &Turns,
    switchboard: Switchboard,
    (reader, writer): (Store<DeserializeGuard<K>>, reflector::store::Writer<DeserializeGuard<K>>),
) -> impl futures::Stream<Item = Requests<K>> + Send + 'static {
    let (on_delete, on_change) = (Arc::clone(context), Arc::clone(context));
    let (turns, of_deleted) = (turns.clone(), turns.clone());
    let announce = switchboard.clone();
    let relevant = predicates::generation.combine(predicates::annotations).combine(predicates::finalizers);
    watcher(scoped::<DeserializeGuard<K>>(&context.client, &context.settings), watcher::Config::default())
        .default_backoff()
        .modify(|object: &mut DeserializeGuard<K>| object.managed_fields_mut().clear())
        .inspect_ok(move |event| {
            count_users(&on_delete, &announce, event);
            if let watcher::Event::Delete(object) = event {
                let key = key_of(object);
                of_deleted.forget(&key);
                on_delete.memory.forget(&key);
                on_delete.subscriptions.remove(&key);
                on_delete.instructions.forget(&key);
                on_delete.lag_scaling.forget(&key);
                on_delete.model_maps.forget(&key);
                on_delete.backoff.reset(&key.to_string());
                K::announcement(&key).into_iter().for_each(|reference| announce.changed(reference));
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(relevant, kube::runtime::PredicateConfig::default())
        .map_ok(move |object| {
            let key = key_of(&object);
            on_change.memory.invalidate(&key);
            // What is listed at first has not changed just now.
            if reader.wait_until_ready().now_or_never().is_some() {
                turns.hurry(&key);
            }
            K::announcement(&key).into_iter().for_each(|reference| switchboard.changed(reference));
            ReconcileRequest::from(key.reference())
        })
}

/// Keeps count of who uses which connection, and tells the connections concerned.
fn count_users<K: Kind>(context: &Context, switchboard: &Switchboard, event: &watcher::Event<DeserializeGuard<K>>) {
    let users = &context.users;
    let changed = match event {
        watcher::Event::Init => {
            users.begin(K::KIND);
            Vec::new()
        }
        watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
            users.put(K::KIND, &key_of(object), connections_of(object))
        }
        watcher::Event::Delete(object) => users.remove(&key_of(object)),
        watcher::Event::InitDone => {
            let (changed, is_complete) = users.end(K::KIND);
            if is_complete {
                switchboard.users_changed(None);
            }
            changed
        }
    };
    changed.into_iter().for_each(|connection| switchboard.users_changed(Some(connection)));
}

fn connections_of<K: Kind>(object: &DeserializeGuard<K>) -> Vec<Key> {
    let Ok(known) = &object.0 else { return Vec::new() };
    if known.meta().deletion_timestamp.is_some() {
        return Vec::new();
    }
    let namespace = known.namespace().unwrap_or_default();
    let key = |name| Key { kind: CONNECTION_KIND.to_owned(), namespace: namespace.clone(), name };
    known.uses().into_iter().map(key).collect()
}

/// Objects whose children, references or worker reports changed.
fn related_stream<K: Kind>(
    context: Arc<Context>,
    store: Store<DeserializeGuard<K>>,
    triggers: mpsc::UnboundedReceiver<Trigger>,
) -> impl futures::Stream<Item = Requests<K>> + Send + 'static {
    let requests = triggers.map(move |trigger| {
        let keys = concerned(&store, &trigger);
        if !matches!(trigger, Trigger::Report(_) | Trigger::Users(None)) {
            keys.iter().for_each(|key| context.memory.invalidate(key));
        }
        stream::iter(keys.into_iter().map(|key| Ok(ReconcileRequest::from(key.reference()))))
    });
    requests.flatten()
}

fn concerned<K: Kind>(store: &Store<DeserializeGuard<K>>, trigger: &Trigger) -> Vec<Key> {
    match trigger {
        Trigger::Users(None) => store.state().iter().map(|object| key_of(object)).collect(),
        Trigger::Child(key) | Trigger::Report(key) | Trigger::Users(Some(key)) => {
            // What is not in the store is deleted, or not in scope.
            store.get(&key.reference()).map(|_| key.clone()).into_iter().collect()
        }
        Trigger::Reference(reference) => {
            let concerns = |object: &DeserializeGuard<K>| match &object.0 {
                Ok(known) => known.namespace().as_deref() == Some(&reference.namespace) && known.names(reference),
                Err(_) => false,
            };
            store.state().iter().filter(|object| concerns(object)).map(|object| key_of(object)).collect()
        }
    }
}

fn key_of<K: Kind>(object: &DeserializeGuard<K>) -> Key {
    Key { kind: K::KIND.to_owned(), namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// What a reconciliation waits with.
struct Waiting<K: Kind> {
    turns: Turns,
    store: Store<DeserializeGuard<K>>,
    /// Cancelled when nothing is begun any more.
    ended: CancellationToken,
}

impl<K: Kind> Waiting<K> {
    /// Waits for the turn of an object, and gives it with the object as it is then; none where it is gone, or nothing is begun any more.
    async fn turn(self, object: Arc<DeserializeGuard<K>>) -> Option<(Turn, Arc<DeserializeGuard<K>>)> {
        let key = key_of(&object);
        let turn = self.ended.run_until_cancelled(self.turns.turn(key.clone(), is_changed(&object))).await??;
        Some((turn, self.store.get(&key.reference())?))
    }
}

/// Whether an object was changed since its status was written, or has never been seen.
fn is_changed<K: Kind>(object: &DeserializeGuard<K>) -> bool {
    let meta = object.meta();
    let observed = object.0.as_ref().ok().and_then(Kind::observed_generation);
    meta.deletion_timestamp.is_some() || observed != meta.generation
}

fn reconcile<K: Kind>(
    object: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
    waiting: Waiting<K>,
) -> BoxFuture<'static, Result<Action, Error>> {
    Box::pin(async move {
        let Some((_turn, object)) = waiting.turn(object).await else { return Ok(Action::await_change()) };
        let started = Instant::now();
        let key = key_of(&object);
        let limit = context.settings.reconcile_timeout;
        // A task of its own: a reconciliation that computes does not hold up the others.
        let running = tokio::spawn(tokio::time::timeout(limit, reconcile_one(object, Arc::clone(&context))));
        let result = match running.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::TimeOut(limit)),
            Err(error) => Err(Error::Join(error)),
        };
        let label = result.as_ref().map_or_else(Error::reason, |()| "ok");
        context.metrics.reconciled(K::KIND, label, started.elapsed());
        result?;
        context.backoff.reset(&key.to_string());
        Ok(Action::requeue(jittered(context.lag_scaling.next_look(&key).unwrap_or(memory::LIFETIME))))
    })
}

async fn reconcile_one<K: Kind>(object: Arc<DeserializeGuard<K>>, context: Arc<Context>) -> Result<(), Error> {
    if object.meta().deletion_timestamp.is_some() {
        // The garbage collector removes the children; nothing lives outside the cluster.
        return Ok(());
    }
    match &object.0 {
        Ok(known) => K::reconcile(Arc::new(known.clone()), context).await,
        Err(invalid) => {
            malformed::report::<K>(invalid, &context).await;
            Err(Error::ReadObject(Box::new(invalid.clone())))
        }
    }
}

fn after_failure<K: Kind>(object: Arc<DeserializeGuard<K>>, error: &Error, context: Arc<Context>) -> Action {
    let key = key_of(&object);
    let (namespace, name, reason) = (&key.namespace, &key.name, error.reason());
    match error.class() {
        Class::Terminal => {
            tracing::info!(kind = K::KIND, namespace, name, reason, %error, "waiting for a change of the object");
            context.backoff.reset(&key.to_string());
            Action::await_change()
        }
        Class::NotReady { requeue_after } => {
            tracing::info!(kind = K::KIND, namespace, name, reason, %error, "not ready");
            context.backoff.reset(&key.to_string());
            Action::requeue(jittered(requeue_after))
        }
        Class::Transient => {
            let wait = context.backoff.next(&key.to_string());
            tracing::warn!(kind = K::KIND, namespace, name, reason, %error, ?wait, "failed, will try again");
            Action::requeue(wait)
        }
    }
}
