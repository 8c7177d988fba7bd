//! `rocketmq-connector dev` accepts and refuses the same manifests as the API server: the tables of `tests/admission` that a
//! real API server has judged, judged without one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

#[path = "admission/cases.rs"]
mod cases;

use cases::{cases, manifest};
use rocketmq_connector::dev::schema::Schemas;

#[test]
fn dev_judges_like_the_api_server() {
    let schemas = Schemas::load().unwrap();
    let (mut wrong, mut total) = (Vec::new(), 0);
    for (kind, file) in
        [("RocketMQBinding", "binding.yaml"), ("RocketMQConnection", "connection.yaml"), ("RocketMQSync", "sync.yaml")]
    {
        for case in cases(file) {
            total += 1;
            match (schemas.admit(kind, &manifest(kind, &case.name, &case.spec)), case.refused.is_empty()) {
                (Ok(_), true) | (Err(_), false) => {}
                (Ok(_), false) => wrong.push(format!("{kind}: {}: accepted, the API server refuses it", case.case)),
                (Err(violations), true) => wrong.push(format!("{kind}: {}: refused: {violations:?}", case.case)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {total}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total >= 150, "{total} cases");
}
