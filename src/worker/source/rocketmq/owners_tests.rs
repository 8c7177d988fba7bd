//! Workers that have a queue one after the other, or at the same time, with the code that takes deliveries, gathers, writes and
//! acknowledges; a folder of objects is their target. Whatever happens in which order: each message is in one object.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio_util::sync::CancellationToken;

use super::open::Open;
use super::record;
use crate::rocketmq::consumer::AssignedQueue;
use crate::rocketmq::{Client, ClientConfig, Queue, ReceivedMessage};
use crate::worker::record::{Position, Record};
use crate::worker::report::Reporter;
use crate::worker::sink::Sink as _;
use crate::worker::sink::objects::ObjectSink;
use crate::worker::sync::Setting;
use crate::worker::sync::batch::Batch;
use crate::worker::sync::settlement::Settlement;
use crate::worker_config::sync::{
    BatchConfig, Compression, ErrorConfig, FileFormat, FilterConfig, Format, Mode, ObjectStorageTargetConfig, OnExists,
    OnInvalid, OnMissing, PartitionBy, RocketMqSourceConfig, SourceConfig, StoreConfig, SyncStart, TargetConfig,
    WriteConfig,
};
use crate::worker_config::{Identity, SyncConfig};

/// Messages in the queue.
const COUNT: i64 = 600;
/// Messages of a pull.
const PULL: i64 = 16;
const WORKERS: usize = 2;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The worker gets the queue, from what is committed on, also when it has it.
    Assign,
    /// The queue goes away from the worker, which commits once more what it may, later or not at all.
    Revoke,
    /// The worker reads some messages.
    Read(i64),
    /// The worker writes some of what it has read.
    Write(usize),
    /// The worker looks whether it still has the queue.
    Look,
    /// The worker's objects are old enough.
    Roll,
    /// The worker commits.
    Commit,
    /// The worker ends in order.
    Stop,
    /// The worker is killed.
    Kill,
}

/// What workers have in common.
struct Shared {
    folder: tempfile::TempDir,
    client: Client,
    /// What the broker has of the group.
    committed: i64,
    epochs: u64,
    /// How often a worker found that another one had made its object.
    overtaken: usize,
}

struct Worker {
    sink: ObjectSink,
    settlement: Settlement,
    open: Open,
    queue: Option<AssignedQueue>,
    /// Went away and is not committed yet.
    leaving: Option<AssignedQueue>,
    /// Offset of the next message to read.
    next: i64,
    /// Read and not written.
    on_the_way: VecDeque<Record>,
}

impl Shared {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let client = Client::new(ClientConfig::new(vec!["127.0.0.1:1".to_owned()])).unwrap();
        Self { folder: folder.unwrap(), client, committed: 0, epochs: 0, overtaken: 0 }
    }

    fn target(&self) -> ObjectStorageTargetConfig {
        ObjectStorageTargetConfig {
            store: StoreConfig::Folder { path: self.folder.path().to_string_lossy().into_owned() },
            file_format: FileFormat::JsonLines,
            compression: Compression::None,
            partition_by: PartitionBy::None,
            roll_bytes: 1 << 30,
            roll_records: None,
            roll_millis: 3_600_000,
            buffer_bytes: 1 << 30,
        }
    }

    fn setting(&self) -> Setting {
        let source = RocketMqSourceConfig {
            cluster: Default::default(),
            topics: vec!["orders".to_owned()],
            discovery: None,
            heartbeat: None,
            filter: FilterConfig::All,
            group: "group".to_owned(),
            start_from: SyncStart::First,
            cluster_id: "c".to_owned(),
        };
        let config = SyncConfig {
            name: "test/owners".to_owned(),
            source: SourceConfig::RocketMq(source),
            target: TargetConfig::ObjectStorage(self.target()),
            mode: Mode::Incremental,
            format: Format::Raw,
            transforms: Vec::new(),
            batch: BatchConfig { max_records: 100, max_bytes: 1 << 20, max_wait_millis: 50 },
            writers: 1,
            write: WriteConfig { insert: OnExists::Update, update: OnMissing::Insert, delete: OnMissing::Ignore },
            errors: ErrorConfig { retry_interval_millis: 1, retry_for_millis: None, on_invalid: OnInvalid::Stop },
            verify: None,
        };
        let identity = Identity { kind: "RocketMQSync".into(), namespace: "n".into(), name: "s".into(), generation: 1 };
        Setting {
            config: Arc::new(config),
            identity: identity.clone(),
            reporter: Reporter::new(identity),
            session: CancellationToken::new(),
            has_waited: Arc::default(),
        }
    }

    /// Offsets of the records of each object.
    fn objects(&self) -> Vec<Vec<i64>> {
        let entries = std::fs::read_dir(self.folder.path().join("orders")).into_iter().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let offset = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_i64().unwrap();
        let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
        texts.map(|text| text.lines().map(offset).collect()).collect()
    }
}

impl Worker {
    async fn new(shared: &Shared) -> Self {
        let sink = ObjectSink::open(&shared.setting(), &shared.target()).await.unwrap();
        let (settlement, open) = (Settlement::default(), Open::default());
        Self { sink, settlement, open, queue: None, leaving: None, next: 0, on_the_way: VecDeque::new() }
    }

    async fn take(&mut self, step: Step, shared: &mut Shared) {
        match step {
            Step::Assign => self.assign(shared),
            Step::Revoke => self.revoke(),
            Step::Read(count) => self.read(count, shared),
            Step::Write(count) => self.write(count, shared).await,
            Step::Look => {
                let open = &self.open;
                self.sink.let_go(|first| open.is_held(first)).await;
            }
            Step::Roll => self.roll(shared).await,
            Step::Commit => self.commit(shared),
            Step::Stop => {
                let all = self.on_the_way.len();
                self.write(all, shared).await;
                self.roll(shared).await;
                self.end(shared).await;
            }
            Step::Kill => *self = Self::new(shared).await,
        }
    }

    fn assign(&mut self, shared: &mut Shared) {
        self.revoke();
        self.leaving = None;
        shared.epochs += 1;
        let queue = Queue { topic: "orders".into(), broker_name: "broker-a".into(), queue_id: 0 };
        self.next = shared.committed;
        self.queue = Some(AssignedQueue::begin(&shared.client, queue, shared.committed, shared.epochs));
    }

    fn revoke(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.revoke();
            self.leaving = Some(queue);
        }
    }

    fn read(&mut self, count: i64, shared: &mut Shared) {
        if let Some(queue) = self.queue.as_mut().filter(|queue| queue.is_to_begin_anew()) {
            shared.epochs += 1;
            queue.begin_anew(shared.committed, shared.epochs);
            self.next = shared.committed;
        }
        for _ in 0..count {
            let Some(queue) = self.queue.as_mut().filter(|_| self.next < COUNT) else { return };
            if self.next == queue.pulled() {
                queue.pull((self.next + PULL).min(COUNT));
            }
            let Some(delivery) = queue.hand_out(message(self.next)) else { return };
            let (partition, offset) = (self.open.partition(delivery.message(), "group"), self.next as u64);
            let position = Position { partition: partition.clone(), offset, index: 0, epoch: delivery.epoch() };
            self.on_the_way.push_back(record(delivery.message(), position, None));
            self.open.push(partition, offset, delivery);
            self.next += 1;
        }
    }

    async fn write(&mut self, count: usize, shared: &mut Shared) {
        let mut batch = Batch::default();
        for record in self.on_the_way.drain(..count.min(self.on_the_way.len())) {
            batch.note(&record);
            batch.push(record);
        }
        match self.sink.write(&batch.records).await {
            Ok(_) => {
                self.settlement.note(&batch);
                self.settle(shared);
            }
            Err(_) => self.end(shared).await,
        }
    }

    async fn roll(&mut self, shared: &mut Shared) {
        match self.sink.finish(true).await {
            Ok(_) => self.settle(shared),
            Err(_) => self.end(shared).await,
        }
    }

    fn settle(&mut self, shared: &mut Shared) {
        let settled = self.settlement.settle(&self.sink);
        settled.aside.iter().for_each(|position| self.open.set_aside(position));
        settled.durable.iter().for_each(|position| self.open.acknowledge(position));
        for first in self.sink.overtaken() {
            shared.overtaken += 1;
            self.open.read_again(&first);
        }
    }

    fn commit(&mut self, shared: &mut Shared) {
        if let Some(queue) = self.leaving.take() {
            shared.committed = queue.committable();
        }
        if let Some(queue) = &self.queue {
            shared.committed = queue.committable();
        }
    }

    /// Ends the session as a sync does, and begins another one.
    async fn end(&mut self, shared: &mut Shared) {
        self.open.let_go();
        self.commit(shared);
        let ended = std::mem::replace(self, Self::new(shared).await);
        ended.sink.close().await.unwrap();
    }
}

fn message(offset: i64) -> ReceivedMessage {
    ReceivedMessage {
        topic: "orders".into(),
        message_id: format!("{offset:032}").into(),
        broker_name: "broker-a".into(),
        queue_id: 0,
        queue_offset: offset,
        commit_log_offset: offset * 100,
        body: Bytes::from_static(b"x"),
        tag: None,
        keys: Vec::new(),
        sharding_key: None,
        properties: Default::default(),
        system_properties: Default::default(),
        born_timestamp: 1_795_752_662_123,
        born_host: None,
        store_host: None,
        store_timestamp: 1_795_752_662_123 + offset,
        reconsume_times: 0,
        sys_flag: 0,
        flag: 0,
    }
}

async fn run(steps: &[(usize, Step)]) -> Result<usize, TestCaseError> {
    let mut shared = Shared::new();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Worker::new(&shared).await);
    }
    for (worker, step) in steps {
        workers[*worker].take(*step, &mut shared).await;
    }
    drop(workers);
    let mut last = Worker::new(&shared).await;
    last.assign(&mut shared);
    last.read(COUNT, &mut shared);
    last.write(COUNT as usize, &mut shared).await;
    last.roll(&mut shared).await;
    last.commit(&mut shared);
    let objects = shared.objects();
    let mut found: Vec<i64> = objects.concat();
    found.sort_unstable();
    let twice: Vec<i64> = found.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    let lost: Vec<i64> = (0..COUNT).filter(|offset| found.binary_search(offset).is_err()).collect();
    let ranges: Vec<_> = objects.iter().map(|object| (object.first(), object.last())).collect();
    prop_assert!(twice.is_empty() && lost.is_empty(), "twice {:?}, lost {:?}, of objects {:?}", twice, lost, ranges);
    prop_assert_eq!(shared.committed, COUNT);
    Ok(shared.overtaken)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Assign),
        2 => Just(Step::Revoke),
        8 => (1..40i64).prop_map(Step::Read),
        8 => (1..40usize).prop_map(Step::Write),
        3 => Just(Step::Look),
        3 => Just(Step::Roll),
        4 => Just(Step::Commit),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ]
}

fn block_on<Outcome>(work: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn each_message_is_in_one_object_whoever_has_the_queue(steps in prop::collection::vec((0..WORKERS, step()), 1..150)) {
        block_on(run(&steps))?;
    }
}

/// A worker gets the queue and gathers messages of it.
fn gathers(worker: usize, count: usize) -> Vec<(usize, Step)> {
    vec![(worker, Step::Assign), (worker, Step::Read(count as i64)), (worker, Step::Write(count))]
}

/// A worker gets the queue and makes objects of messages of it.
fn makes(worker: usize, count: usize) -> Vec<(usize, Step)> {
    [gathers(worker, count), vec![(worker, Step::Roll)]].concat()
}

/// A queue goes away and comes back, while its object waits for its age, and a part of it comes again. When the object is there, `meanwhile`
/// has happened. Another worker reads from what is committed then.
fn comes_back(meanwhile: &[Step]) {
    let again = [Step::Revoke, Step::Commit, Step::Assign, Step::Read(20)];
    let steps = again.iter().chain(meanwhile).chain(&[Step::Roll, Step::Commit]).map(|step| (0, *step)).collect();
    block_on(run(&[gathers(0, 50), steps, makes(1, 100)].concat())).unwrap();
}

/// When the object is there, some of its messages have come again.
#[test]
fn a_queue_that_comes_back_is_never_committed_within_an_object() {
    comes_back(&[Step::Write(20)]);
}

/// When the object is there, nothing of what comes again has reached the target.
#[test]
fn what_is_on_its_way_again_is_not_acknowledged_by_what_came_before() {
    comes_back(&[]);
}

/// What a worker has gathered of a queue that is another's now is not made durable by the two of them.
#[test]
fn a_queue_that_has_gone_is_gathered_by_its_new_worker_alone() {
    let steps = [
        (0, Step::Assign),
        (0, Step::Read(50)),
        (0, Step::Write(30)),
        (0, Step::Revoke),
        (0, Step::Look),
        (0, Step::Write(20)),
        (0, Step::Roll),
        (0, Step::Commit),
    ];
    assert_eq!(block_on(run(&[steps.to_vec(), makes(1, 50)].concat())).unwrap(), 0);
}

/// Two workers have the queue at the same time; one of them is told by the store.
#[test]
fn of_two_workers_that_gather_the_same_one_is_overtaken() {
    assert_eq!(block_on(run(&[gathers(0, 50), makes(1, 30), vec![(0, Step::Roll)]].concat())).unwrap(), 1);
}

/// It goes on with the session that it has, and the other one's object is passed over.
#[test]
fn who_was_overtaken_reads_the_queue_again_and_goes_on_with_it() {
    let all = COUNT as usize;
    let goes_on = [Step::Roll, Step::Read(COUNT), Step::Write(all), Step::Roll, Step::Commit].map(|step| (0, step));
    let steps = [gathers(0, 50), makes(1, 30), vec![(1, Step::Commit)], goes_on.to_vec()].concat();
    assert_eq!(block_on(run(&steps)).unwrap(), 1);
}

/// What comes of the queue before it is begun anew is left out, also in the batch in which its object turns out to be another's.
#[test]
fn what_is_on_its_way_of_a_queue_that_was_overtaken_is_left_out() {
    let late = [Step::Read(20), Step::Roll, Step::Write(20), Step::Commit, Step::Read(40), Step::Write(40), Step::Roll];
    let steps = [gathers(0, 50), makes(1, 30), late.map(|step| (0, step)).to_vec(), vec![(0, Step::Commit)]].concat();
    assert_eq!(block_on(run(&steps)).unwrap(), 1);
}

/// Records of a queue of its own.
fn records(queue: &str, offsets: std::ops::Range<i64>, epoch: u64) -> Vec<Record> {
    let record = |offset: i64| {
        let position = Position { partition: queue.into(), offset: offset as u64, index: 0, epoch };
        record(&message(offset), position, None)
    };
    offsets.map(record).collect()
}

#[test]
fn who_was_overtaken_in_one_queue_keeps_what_it_has_of_the_others() {
    block_on(async {
        let shared = Shared::new();
        let setting = shared.setting();
        let mut sink = ObjectSink::open(&setting, &shared.target()).await.unwrap();
        let mut other = ObjectSink::open(&shared.setting(), &shared.target()).await.unwrap();
        sink.write(&[records("orders@a@0", 0..50, 1), records("orders@a@1", 0..40, 1)].concat()).await.unwrap();
        other.write(&records("orders@a@0", 0..30, 1)).await.unwrap();
        assert_eq!(other.finish(true).await.unwrap().written, 30);
        assert_eq!(sink.finish(true).await.unwrap().written, 40);
        assert_eq!(sink.overtaken(), [Position { partition: "orders@a@0".into(), offset: 0, index: 0, epoch: 1 }]);
        assert!(sink.overtaken().is_empty(), "told once");
        assert!(!setting.session.is_cancelled());
        // Nothing of it is durable until it is begun anew.
        sink.write(&records("orders@a@0", 50..60, 1)).await.unwrap();
        assert_eq!(sink.first_gathered("orders@a@0").map(|first| first.offset), Some(0));
        let again = sink.write(&records("orders@a@0", 0..60, 2)).await.unwrap();
        let end = sink.finish(true).await.unwrap();
        assert_eq!((again.repeated, end.written, sink.first_gathered("orders@a@0")), (30, 30, None));
        let mut written: Vec<i64> = shared.objects().concat();
        written.sort_unstable();
        let mut expected: Vec<i64> = (0..60).chain(0..40).collect();
        expected.sort_unstable();
        assert_eq!(written, expected);
    });
}
