//! The values of the flags that the daemons share, and what is wrong with them.

use std::net::{Ipv4Addr, SocketAddr};

use sriov_config::resource_list::ResourceName;
use tracing::level_filters::LevelFilter;

/// The prefix of resources that name none, without the flag.
pub const RESOURCE_PREFIX: &str = "intel.com";

/// A wrong command line.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// An unknown flag, or a flag without its value.
    #[error("{0}")]
    Flag(#[from] lexopt::Error),
    /// A value that a flag cannot have.
    #[error("--{flag} `{value}` is not one of {allowed}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// The value.
        value: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// A subcommand without its operand.
    #[error("`{command}` needs {operand}")]
    Operand {
        /// The subcommand.
        command: &'static str,
        /// The missing operand.
        operand: &'static str,
    },
}

/// A flag with or without value, as Go's `flag` accepts it (`strconv.ParseBool`).
pub fn is_true(flag: &'static str, value: Option<&str>) -> Result<bool, ArgsError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(ArgsError::Value {
            flag,
            value: value.to_owned(),
            allowed: "true, false",
        }),
    }
}

/// An address, a port on loopback, or an empty text for no address.
pub fn metrics_address(value: String) -> Result<Option<SocketAddr>, ArgsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let port = value.strip_prefix(':').unwrap_or(&value).parse();
    let address = match port {
        Ok(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_not_a_port) => value.parse().ok(),
    };
    address.map(Some).ok_or(ArgsError::Value {
        flag: "metrics-address",
        value,
        allowed: "HOST:PORT with a numeric host, PORT",
    })
}

/// A resource prefix; an empty one is the default, as in a resource.
pub fn prefix(value: String) -> Result<String, ArgsError> {
    if value.is_empty() {
        return Ok(RESOURCE_PREFIX.to_owned());
    }
    match ResourceName::new(&value, "any") {
        Ok(_) => Ok(value),
        Err(_) => Err(ArgsError::Value {
            flag: "resource-prefix",
            value,
            allowed: "the DNS subdomains that the kubelet accepts, for instance intel.com",
        }),
    }
}

/// A number is a verbosity of the Go program, which ignores it: every manifest passes 10.
pub fn log_level(value: &str) -> Result<LevelFilter, ArgsError> {
    match value {
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        number if number == "info" || number.parse::<u32>().is_ok() => Ok(LevelFilter::INFO),
        _ => Err(ArgsError::Value {
            flag: "log-level",
            value: value.to_owned(),
            allowed: "error, warn, info, debug, trace, or a number",
        }),
    }
}
