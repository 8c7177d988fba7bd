//! Item of the connection test that compares the brokers' clocks with ours. Only one answer of a broker tells its time, and
//! that answer is dear for brokers of 5.x: it is asked for seldom, and not by all workers at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cluster::{list, masters};
use super::is_authorization;
use super::test::Outcome;
use crate::random;
use crate::rocketmq::Admin;
use crate::rocketmq::admin::ClusterInfo;

/// Largest difference that is not worth a word, in milliseconds. Brokers tell their time in whole seconds.
const TOLERANCE: i64 = 5_000;
/// The first question of a worker is within this time after its start.
const FIRST: Duration = Duration::from_mins(10);
/// Time between two questions.
const INTERVAL: Duration = Duration::from_hours(1);
/// Time until the next question after one that was not answered; it doubles up to [`INTERVAL`]. No shorter: many workers that ask are a
/// reason for having no answer.
const RETRY: Duration = Duration::from_mins(2);

/// What is known of the brokers' clocks, and when they are asked again.
#[derive(Debug)]
pub struct Clocks {
    due: Instant,
    retry: Duration,
    known: Option<Outcome>,
}

/// What came of a question.
enum Answer {
    /// It is as good as the next one would be.
    Known(Outcome),
    /// A broker could not be asked; what to say of that.
    Unanswered(String),
}

impl Clocks {
    /// Asked with the first test.
    #[must_use]
    pub fn asked_at_once() -> Self {
        Self::asked_at(Instant::now())
    }

    /// Asked with a test within the first ten minutes, at a time that differs between workers.
    #[must_use]
    pub fn asked_later() -> Self {
        Self::asked_at(Instant::now() + FIRST.mul_f64(random::share()))
    }

    fn asked_at(due: Instant) -> Self {
        Self { due, retry: RETRY, known: None }
    }

    /// Whether the brokers' clocks agree with ours: start positions by time and delays depend on it.
    pub async fn check(&mut self, admin: &Admin, info: &ClusterInfo) -> Outcome {
        let now = Instant::now();
        if self.due <= now {
            self.note(ask(admin, info).await, now);
        }
        self.known.clone().unwrap_or_else(|| {
            let minutes = self.due.duration_since(now).as_secs().div_ceil(60);
            Outcome::skipped(format!(
                "asked with the first test after {minutes} min, then once an hour: the answer is dear for brokers of 5.x"
            ))
        })
    }

    /// Takes note of an answer, and when the next question is due.
    fn note(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Known(outcome) => {
                self.known = Some(outcome);
                (self.due, self.retry) = (now + INTERVAL, RETRY);
            }
            Answer::Unanswered(why) => {
                self.known = Some(Outcome::skipped(why));
                self.due = now + self.retry;
                self.retry = (self.retry * 2).min(INTERVAL);
            }
        }
    }
}

async fn ask(admin: &Admin, info: &ClusterInfo) -> Answer {
    let mut differences = Vec::new();
    for (broker, address) in masters(info) {
        match admin.broker_runtime(address).await {
            Ok(runtime) => {
                let difference = difference(&runtime, jiff::Timestamp::now().as_millisecond());
                differences.extend(difference.map(|millis| (broker.name.clone(), millis)));
            }
            Err(error) if is_authorization(&error) => {
                let why = "not known: brokers tell their time to administrators only";
                return Answer::Known(Outcome::skipped(why));
            }
            Err(error) => return Answer::Unanswered(format!("not known: {error}")),
        }
    }
    Answer::Known(judge(&differences))
}

/// What to say of the brokers' clocks, each minus ours in milliseconds.
fn judge(differences: &[(String, i64)]) -> Outcome {
    if differences.is_empty() {
        return Outcome::skipped("not known: no broker told its time");
    }
    let seconds = |millis: i64| format!("{:.0} s", millis as f64 / 1000.0);
    let off: Vec<_> = differences.iter().filter(|(_, millis)| millis.abs() > TOLERANCE).collect();
    if off.is_empty() {
        return Outcome::passed(format!("the clocks agree within {}", seconds(TOLERANCE)));
    }
    Outcome::warning(
        list(off.iter().map(|(name, millis)| format!("the clock of {name} is {} off", seconds(*millis)))),
        "set the clocks with NTP on the brokers and on the nodes: start positions by time and delays are off",
    )
}

/// The broker's time is when it started and how long it has run; both come in its runtime figures.
fn difference(runtime: &BTreeMap<String, String>, now: i64) -> Option<i64> {
    let started: i64 = runtime.get("bootTimestamp")?.parse().ok()?;
    Some(started + up_time(runtime.get("runtime")?)? - now)
}

/// Milliseconds in a text such as `[ 1 days, 2 hours, 3 minutes, 4 seconds ]`.
fn up_time(text: &str) -> Option<i64> {
    let parts = text.trim_matches(['[', ']', ' ']).split(',').map(|part| part.trim().split_once(' '));
    parts.into_iter().try_fold(0, |sum, part| {
        let (number, unit) = part?;
        let millis = match unit {
            "days" => 86_400_000,
            "hours" => 3_600_000,
            "minutes" => 60_000,
            "seconds" => 1_000,
            _ => return None,
        };
        Some(sum + number.parse::<i64>().ok()? * millis)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::report::TestResult;

    #[test]
    fn the_brokers_clock_is_its_start_and_its_up_time() {
        let runtime = |started: i64| {
            [
                ("bootTimestamp", started.to_string()),
                ("runtime", "[ 1 days, 2 hours, 3 minutes, 4 seconds ]".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
        };
        let up = 93_784_000;
        assert_eq!(difference(&runtime(1_000), 1_000 + up), Some(0));
        let off = difference(&runtime(61_000), 1_000 + up).unwrap();
        let outcome = judge(&[("broker-a".to_owned(), off), ("broker-b".to_owned(), 0)]);
        assert_eq!(outcome.result, TestResult::Warning);
        assert_eq!(outcome.message, "the clock of broker-a is 60 s off");
        assert_eq!(judge(&[("broker-a".to_owned(), -4_000)]).result, TestResult::Passed);
        assert_eq!(judge(&[]).result, TestResult::Skipped);
    }

    #[test]
    fn a_clock_that_could_not_be_asked_is_asked_again_soon_and_then_less_often() {
        let (mut clocks, now) = (Clocks::asked_at_once(), Instant::now());
        let unanswered = || Answer::Unanswered("not known: broker-a is down".to_owned());
        let mut waits = Vec::new();
        for _ in 0..7 {
            clocks.note(unanswered(), now);
            waits.push(clocks.due.duration_since(now).as_secs() / 60);
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        let said = clocks.known.clone().unwrap();
        assert_eq!((said.result, said.message.as_str()), (TestResult::Skipped, "not known: broker-a is down"));
        clocks.note(Answer::Known(judge(&[("broker-a".to_owned(), 0)])), now);
        assert_eq!((clocks.due, clocks.known.clone().unwrap().result), (now + INTERVAL, TestResult::Passed));
        clocks.note(unanswered(), now);
        assert_eq!(clocks.due, now + RETRY, "the first failure after an answer");
    }

    #[test]
    fn workers_do_not_ask_all_at_once() {
        let (now, clocks) = (Instant::now(), [(); 50].map(|()| Clocks::asked_later().due));
        assert!(clocks.iter().all(|due| *due < now + FIRST + Duration::from_secs(1)));
        assert!(clocks.iter().max().unwrap().duration_since(*clocks.iter().min().unwrap()) > FIRST / 4);
        assert!(Clocks::asked_at_once().due <= Instant::now());
    }
}
