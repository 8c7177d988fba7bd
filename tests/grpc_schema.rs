//! The generated gRPC files agree with `src/worker/grpc/dapr.proto`; `UPDATE=1 cargo test --test grpc_schema` writes them anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::fs;
use std::path::Path;

use prost::Message;
use prost_build::{Config, Module};

const FOLDER: &str = "src/worker/grpc";

#[test]
fn generated_files_agree_with_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut compiler = protox::Compiler::new([&folder]).unwrap();
    compiler.include_source_info(true).include_imports(true).open_file("dapr.proto").unwrap();
    let schema = compiler.file_descriptor_set();

    let mut config = Config::new();
    // Bodies are shared, not copied, between a request and a message.
    config.bytes(["."]).btree_map(["."]);
    let own = schema.file.iter().find(|file| file.name() == "dapr.proto").unwrap().clone();
    let module = Module::from_protobuf_package_name(own.package());
    let code = config.generate(vec![(module.clone(), own)]).unwrap().remove(&module).unwrap();
    compare(&folder.join("dapr.rs"), code.as_bytes());

    compiler.include_source_info(false);
    compare(&folder.join("dapr.bin"), &compiler.file_descriptor_set().encode_to_vec());
}

fn compare(path: &Path, expected: &[u8]) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, expected).unwrap();
    }
    let found = fs::read(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what dapr.proto says; run UPDATE=1 cargo test --test grpc_schema",
        path.display()
    );
}
