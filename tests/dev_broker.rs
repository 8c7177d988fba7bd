//! `rocketmq-connector dev --demo` and `test` against real brokers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rocketmq-connector"));
    command.args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(arguments).current_dir(folder).output().unwrap()
}

/// The demo against a broker that runs: messages go out and come back, and Ctrl-C ends it.
#[test]
fn the_demo_goes_round_and_drains() {
    for instance in ["4.9.7-plain", "5.4.0-plain"] {
        let folder =
            std::env::var("ROCKETMQ_TEST_RUN").expect("ROCKETMQ_TEST_RUN should name the folder of the brokers");
        let settings = std::fs::read_to_string(Path::new(&folder).join(instance).join("env")).unwrap();
        let name_server = settings.lines().find_map(|line| line.strip_prefix("NAME_SERVER=")).unwrap().to_owned();
        let mut demo = command(&["dev", "--demo", "--name-server", &name_server])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut text = String::new();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
            if line.starts_with("Ctrl-C") {
                // SIGINT by the shell's own kill: the standard library has no signals.
                Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
            }
        }
        assert!(demo.wait().unwrap().success(), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("published ")).count(), 3, "{text}");
        assert!(text.contains("all 3 messages went through RocketMQ and back"), "{text}");
    }
}

#[test]
fn a_connection_is_tested_against_real_brokers() {
    for instance in ["4.9.7-acl", "5.4.0-acl"] {
        let run_folder =
            std::env::var("ROCKETMQ_TEST_RUN").expect("ROCKETMQ_TEST_RUN should name the folder of the brokers");
        let settings = std::fs::read_to_string(Path::new(&run_folder).join(instance).join("env")).unwrap();
        let setting =
            |key: &str| settings.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap().to_owned();
        let manifest = |secret: &str| {
            format!(
                "apiVersion: connector.rocketmq.dev/v1alpha1
kind: RocketMQConnection
metadata: {{name: main}}
spec:
  nameServers: ['{}']
  credentials:
    accessKey: {{value: '{}'}}
    secretKey: {{value: '{secret}'}}
",
                setting("NAME_SERVER"),
                setting("APP_ACCESS_KEY")
            )
        };
        let folder = tempfile::tempdir().unwrap();
        let test = |secret: &str| {
            std::fs::write(folder.path().join("a.yaml"), manifest(secret)).unwrap();
            let output = run(folder.path(), &["test", "-f", "a.yaml"]);
            (
                output.status.success(),
                String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
            )
        };
        let (is_good, text) = test(&setting("APP_SECRET_KEY"));
        assert!(is_good && text.contains("every broker has accepted the credentials"), "{instance}: {text}");
        let (is_good, text) = test("wrong-secret");
        assert!(
            !is_good && text.contains("FAILED   Authenticated") && text.contains("accessKey"),
            "{instance}: {text}"
        );
    }
}
