//! The boundaries of the code base, checked: who may import whom, who may name which library, how long a file may get.
//!
//! Reads `src/**/*.rs` as text. Test code (from a file's first `#[cfg(test)]` on, and files called `tests.rs` or
//! `*_tests.rs`) is exempt from all rules but the import rules.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file in production lines.
const LINE_LIMIT: usize = 400;

/// What a part of the code base must not name. A path ends in `/` when it is a folder.
struct Rule {
    part: &'static str,
    forbidden: &'static [&'static str],
    except: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        part: "src/api/",
        forbidden: &[
            "crate::admin",
            "crate::cli",
            "crate::controller",
            "crate::dev",
            "crate::metrics",
            "crate::rocketmq",
            "crate::shutdown",
            "crate::telemetry",
            "crate::worker",
            "crate::worker_config",
        ],
        except: &[],
        reason: "the API types depend on nothing of the crate",
    },
    Rule {
        part: "src/worker_config/",
        forbidden: &[
            "crate::admin",
            "crate::api",
            "crate::cli",
            "crate::controller",
            "crate::dev",
            "crate::metrics",
            "crate::rocketmq",
            "crate::shutdown",
            "crate::telemetry",
            "crate::worker",
            "kube",
            "k8s_openapi",
            "tokio",
        ],
        except: &[],
        reason: "the contract between the planes depends on neither plane",
    },
    Rule {
        part: "src/controller/",
        forbidden: &["crate::worker", "crate::rocketmq", "crate::dev", "crate::cli"],
        except: &[],
        reason: "the control plane opens no connection to a broker and shares only the contract with the workers",
    },
    Rule {
        part: "src/worker/",
        forbidden: &["kube", "k8s_openapi", "schemars", "crate::api", "crate::controller", "crate::dev", "crate::cli"],
        except: &[],
        reason: "workers never talk to the API server",
    },
    Rule {
        part: "src/rocketmq/",
        forbidden: &[
            "kube",
            "k8s_openapi",
            "schemars",
            "crate::api",
            "crate::controller",
            "crate::dev",
            "crate::cli",
            "crate::worker",
            "crate::worker_config",
        ],
        except: &[],
        reason: "the RocketMQ layer knows no caller",
    },
    Rule {
        part: "src/rocketmq_http/",
        forbidden: &[
            "kube",
            "k8s_openapi",
            "schemars",
            "crate::api",
            "crate::controller",
            "crate::dev",
            "crate::cli",
            "crate::worker",
            "crate::worker_config",
        ],
        except: &[],
        reason: "the layer of the Aliyun MQ HTTP protocol knows no caller",
    },
    Rule {
        part: "src/rocketmq/",
        forbidden: &["crate::rocketmq_http"],
        except: &[],
        reason: "RocketMQ's remoting protocol knows nothing of the other one",
    },
    Rule {
        part: "src/",
        forbidden: &[
            "std::env::var",
            "std::env::vars",
            "std::env::var_os",
            "std::env::args",
            "env::var(",
            "env::vars(",
            "env::var_os(",
            "env::args(",
            "clap",
        ],
        except: &["src/main.rs", "src/cli.rs", "src/cli/"],
        reason: "only main.rs and cli.rs read flags and environment",
    },
    Rule {
        part: "src/controller/connection/",
        forbidden: &["crate::controller::binding", "crate::controller::sync", "super::super::super"],
        except: &[],
        reason: "kinds share through api and the common modules only",
    },
    Rule {
        part: "src/controller/binding/",
        forbidden: &["crate::controller::connection", "crate::controller::sync", "super::super::super"],
        except: &[],
        reason: "kinds share through api and the common modules only",
    },
    Rule {
        part: "src/controller/sync/",
        forbidden: &["crate::controller::connection", "crate::controller::binding", "super::super::super"],
        except: &[],
        reason: "kinds share through api and the common modules only",
    },
];

/// Words that may not stand in production code.
const FORBIDDEN_WORDS: &[&str] = &["todo!", "unimplemented!", "dbg!", "TODO", "FIXME", "#[ignore"];

/// Words that would make a `build/` module asynchronous, fallible or a client.
const FORBIDDEN_IN_BUILD: &[&str] = &["async ", ".await", "Api<", "Client", "Result<"];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines of production code with their numbers.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let all_tests = name == "tests.rs" || name.ends_with("_tests.rs");
        let lines = self.text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
        lines.enumerate().filter(move |_| !all_tests).map(|(index, line)| (index + 1, line))
    }

    fn is_in(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| if part.ends_with('/') { self.path.starts_with(part) } else { self.path == *part })
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(option_env!("ARCHITECTURE_ROOT").unwrap_or(env!("CARGO_MANIFEST_DIR")));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    assert!(files.len() > 20, "only {} files were found below {}", files.len(), root.display());
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(root).unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(&file).unwrap(),
    };
    files.into_iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code of a line, without a comment that fills it or ends it.
fn code(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split_once(" // ").map_or(line, |(code, _)| code)
}

/// Whether `code` names `path`: as a whole path segment, so that `crate::worker` is not found in `crate::worker_config`.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        let is_word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let starts = !is_word(before) && before != Some(':') && before != Some('"') && before != Some('-');
        let is_call = path.ends_with('(');
        let is_library = !path.contains(':') && !is_call;
        // A library is named by a path that starts with it.
        starts && (is_call || !is_word(after)) && (!is_library || code[at + path.len()..].starts_with("::"))
    })
}

/// `use crate::{a, b::c}` as `crate::a crate::b`, so that [`names`] sees each.
fn expanded(code: &str) -> String {
    let Some((_, group)) = code.split_once("crate::{") else { return code.to_owned() };
    let mut depth = 0;
    let mut text = String::from("crate::");
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => text.push_str(" crate::"),
            ' ' => {}
            other => text.push(other),
        }
    }
    text
}

fn report(violations: &[String]) {
    let mut text = String::new();
    violations.iter().for_each(|violation| writeln!(text, "  {violation}").unwrap());
    assert!(violations.is_empty(), "{} violations:\n{text}", violations.len());
}

#[test]
fn parts_import_only_what_they_may() {
    let mut violations = Vec::new();
    for source in sources() {
        for rule in RULES.iter().filter(|rule| source.path.starts_with(rule.part) && !source.is_in(rule.except)) {
            for (number, line) in source.text.lines().enumerate() {
                let code = expanded(code(line));
                for forbidden in rule.forbidden.iter().filter(|forbidden| names(&code, forbidden)) {
                    violations.push(format!("{}:{}: names {forbidden}: {}", source.path, number + 1, rule.reason));
                }
            }
        }
    }
    report(&violations);
}

#[test]
fn building_is_synchronous_and_infallible() {
    let mut violations = Vec::new();
    for source in
        sources().iter().filter(|source| source.path.starts_with("src/controller/") && source.path.contains("/build/"))
    {
        for (number, line) in source.production() {
            for forbidden in FORBIDDEN_IN_BUILD.iter().filter(|forbidden| code(line).contains(**forbidden)) {
                violations.push(format!("{}:{number}: contains {forbidden:?}", source.path));
            }
        }
    }
    report(&violations);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut violations = Vec::new();
    for source in sources() {
        for (number, line) in source.production() {
            for forbidden in FORBIDDEN_WORDS.iter().filter(|forbidden| line.contains(**forbidden)) {
                violations.push(format!("{}:{number}: contains {forbidden}", source.path));
            }
        }
    }
    report(&violations);
}

#[test]
fn files_have_one_subject() {
    let mut violations = Vec::new();
    for source in sources() {
        let lines = source.production().count();
        if lines > LINE_LIMIT {
            violations.push(format!("{}:{lines}: has {lines} production lines, more than {LINE_LIMIT}", source.path));
        }
    }
    report(&violations);
}

/// `file::function` in the page on Dapr names a test.
#[test]
fn the_rocketmq_layer_alone_has_its_libraries() {
    // `benches/client` compiles `src/rocketmq` without the project, and is built by hand only.
    let dependencies = |path: &str| {
        let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let (_, section) = manifest.split_once("[dependencies]").unwrap();
        let lines = section.lines().take_while(|line| !line.starts_with('['));
        let named = lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
        named.collect::<BTreeSet<String>>()
    };
    let (all, layer) = (dependencies("Cargo.toml"), dependencies("benches/client/Cargo.toml"));
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/rocketmq/")) {
        for (number, line) in source.production() {
            let missing = all.difference(&layer).filter(|name| names(code(line), &name.replace('-', "_")));
            violations.extend(missing.map(|name| format!("{}:{number}: benches/client lacks {name}", source.path)));
        }
    }
    report(&violations);
}

#[test]
fn every_proof_of_the_page_on_dapr_is_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/dapr-compatibility.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2).filter_map(|text| text.split_once("::"));
    let quoted = quoted.filter(|(file, _)| !file.is_empty());
    let (mut count, mut missing) = (0, Vec::new());
    for (file, function) in quoted {
        let mut candidates = vec![root.join(format!("tests/{file}.rs"))];
        if root.join(format!("tests/{file}")).is_dir() {
            collect(&root.join(format!("tests/{file}")), &mut candidates);
        }
        let text: String = candidates.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        count += 1;
        if !text.contains(&format!("\nasync fn {function}(")) {
            missing.push(format!("{file}::{function}"));
        }
    }
    assert!(count > 15, "only {count} proofs were found");
    report(&missing);
}

/// `docs/compatibility.md` shows a run of the conformance suite; this notices a case that was added, renamed or taken away since.
#[test]
fn the_page_on_compatibility_has_every_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    collect(&root.join("tests/rocketmq_conformance"), &mut sources);
    let mut cases: Vec<String> = sources.iter().flat_map(|file| cases_of(&fs::read_to_string(file).unwrap())).collect();
    let page = fs::read_to_string(root.join("docs/compatibility.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| area")).collect();
    assert!(!rows.iter().any(|row| row.contains("| NO |")), "the page shows a case that failed");
    let mut shown: Vec<String> =
        rows.iter().map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | ")).collect();
    cases.sort();
    shown.sort();
    assert!(cases.len() > 50, "only {} cases were found", cases.len());
    assert_eq!(cases, shown, "UPDATE=1 make conformance writes docs/compatibility.md");
}

/// `case("area", "title", …)` as the beginning of its row.
fn cases_of(source: &str) -> Vec<String> {
    let literals = |text: &str| text.split('"').skip(1).step_by(2).take(2).map(str::to_owned).collect::<Vec<_>>();
    let calls = source.match_indices(" case(").map(|(at, word)| &source[at + word.len()..]);
    calls
        .filter(|call| call.trim_start().starts_with('"'))
        .map(|call| format!("| {}", literals(call).join(" | ")))
        .collect()
}

#[test]
fn the_checks_find_what_they_look_for() {
    assert!(names("use crate::worker::pipeline;", "crate::worker"));
    assert!(names(&expanded("use crate::{admin, worker::run};"), "crate::worker"));
    assert!(!names("use crate::worker_config::Role;", "crate::worker"));
    assert!(names("use kube::Api;", "kube"));
    assert!(!names("let kube = \"kube\";", "kube"));
    assert!(!names("use kube_lease_manager::X;", "kube"));
    assert!(names("let home = std::env::var(\"HOME\");", "std::env::var"));
    assert!(names("env::var(\"HOME\")", "env::var("));
    assert_eq!(code("    // use crate::worker;"), "");
    assert_eq!(cases_of("pub fn case(…\n   case(\n \"send\",\n \"a, b\", run)"), ["| send | a, b"]);
}
