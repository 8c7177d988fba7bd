//! The conformance suite of the RocketMQ layer: every case on every version and variant of the brokers that
//! `tests/cluster/rocketmq/matrix.sh` starts. The run prints a line a case, and a table that `docs/compatibility.md` shows.
//!
//! `ROCKETMQ_TEST_RUN` names the folder with the instances' `env` files. Arguments pick the cases whose name contains one of them;
//! `UPDATE=1` writes the table into the document, otherwise the document must agree with the run.

mod admin;
mod connect;
mod consume;
mod faults;
mod harness;
mod java;
mod own;
mod pressure;
mod send;

use harness::Case;

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(connect::cases());
    cases.extend(send::cases());
    cases.extend(consume::cases());
    cases.extend(admin::cases());
    cases.extend(java::cases());
    cases.extend(pressure::cases());
    cases.extend(faults::cases());
    cases.sort_by_key(|case| case.area); // stable: those of one area stay in their order
    cases
}

fn main() -> std::process::ExitCode {
    harness::run(cases())
}
