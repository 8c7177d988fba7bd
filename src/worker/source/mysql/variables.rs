//! Whether the server logs what is needed: whole rows, with the names of their columns.

use std::collections::HashMap;

use super::super::super::error::reported;
use super::control::Control;
use super::{Result, Trouble, literal};

/// Checks that the server logs what is needed; `own` is the worker's server id.
///
/// # Errors
/// It does not.
pub async fn check_server(control: &Control, own: u32) -> Result<()> {
    let names = [
        "log_bin",
        "binlog_format",
        "binlog_row_image",
        "binlog_row_metadata",
        "binlog_row_value_options",
        "log_bin_compress",
        "server_id",
    ];
    let list = names.map(literal).join(", ");
    let statement = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({list})");
    let found = control.rows("failed to look at the server", &statement).await?;
    let found: HashMap<String, String> = found
        .into_iter()
        .filter_map(|row| match <[_; 2]>::try_from(row).ok()? {
            [Some(name), value] => Some((name.to_lowercase(), value.unwrap_or_default())),
            _ => None,
        })
        .collect();
    check_variables(&found, own)
}

/// The server does not log what is needed.
pub fn unavailable(message: String, remedy: &str) -> Trouble {
    Trouble::Again(reported("ReplicationUnavailable", message, remedy))
}

/// Checks what the server writes into its log; `own` is the worker's server id.
fn check_variables(found: &HashMap<String, String>, own: u32) -> Result<()> {
    let is = |name: &str, value: &str| found.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    if !is("log_bin", "ON") {
        let remedy = "set log_bin in its configuration and restart it";
        return Err(unavailable("the server writes no binary log".to_owned(), remedy));
    }
    for (name, value) in [("binlog_format", "ROW"), ("binlog_row_image", "FULL"), ("binlog_row_metadata", "FULL")] {
        match found.get(name) {
            Some(_) if is(name, value) => {}
            Some(other) => {
                return Err(unavailable(
                    format!("{name} of the server is {other}"),
                    &format!(
                        "SET GLOBAL {name} = {value}, and in its configuration; sessions that are open keep the old one"
                    ),
                ));
            }
            // It is gone where rows are the only format.
            None if name == "binlog_format" => {}
            None => {
                return Err(unavailable(format!("the server has no {name}"), "use MySQL 8.0 or MariaDB 10.5 or later"));
            }
        }
    }
    if found.get("binlog_row_value_options").is_some_and(|options| !options.is_empty()) {
        let message = "binlog_row_value_options of the server is set: the log has parts of documents only".to_owned();
        return Err(unavailable(message, "SET GLOBAL binlog_row_value_options = '', and in its configuration"));
    }
    if is("log_bin_compress", "ON") {
        let message = "log_bin_compress of the server is ON".to_owned();
        return Err(unavailable(message, "SET GLOBAL log_bin_compress = OFF, and in its configuration"));
    }
    if found.get("server_id").is_some_and(|id| *id == own.to_string()) {
        return Err(Trouble::Again(reported(
            "ServerIdInUse",
            format!("source.mysql.serverId: {own} is the server's own id"),
            "set it to a number that no server and no other sync of this server has, or leave it out",
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_log_whole_rows() {
        let good = [
            ("log_bin", "ON"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_metadata", "FULL"),
            ("server_id", "1"),
        ];
        let with = |name: &str, value: &str| {
            let mut found: HashMap<String, String> =
                good.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            found.insert(name.to_owned(), value.to_owned());
            match check_variables(&found, 7) {
                Ok(()) => String::new(),
                Err(Trouble::Again(report) | Trouble::Stopped(report)) => {
                    format!("{}; {}", report.message, report.remedy)
                }
            }
        };
        assert_eq!(with("server_id", "1"), "");
        for (name, value, expected) in [
            ("log_bin", "OFF", "writes no binary log"),
            ("binlog_format", "MIXED", "binlog_format of the server is MIXED; SET GLOBAL binlog_format = ROW"),
            ("binlog_row_image", "MINIMAL", "SET GLOBAL binlog_row_image = FULL"),
            ("binlog_row_metadata", "NO_LOG", "SET GLOBAL binlog_row_metadata = FULL"),
            ("binlog_row_value_options", "PARTIAL_JSON", "parts of documents"),
            ("log_bin_compress", "ON", "log_bin_compress = OFF"),
            ("server_id", "7", "is the server's own id"),
        ] {
            let said = with(name, value);
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
}
