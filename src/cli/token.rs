//! `tidegate token`: makes a token. It goes to standard output, once, with the table for the settings.

use super::{Ended, Failure, failed};
use crate::http::access::{Secret, TokenHash};

pub(super) fn run(name: &str, may: &[String], groups: Option<&str>) -> Result<Ended, Failure> {
    let secret = Secret::generate().map_err(failed("cannot make a token"))?;
    let hash = TokenHash::of(secret.as_str());
    let groups = groups.map(|groups| format!("match = {}\n", toml::Value::from(groups)));
    Ok(Ended::well(format!(
        "# The token, which is nowhere else: {}\n[[access.tokens]]\nname = {}\nhash = \"{hash}\"\n\
         may = {}\n{}",
        secret.as_str(),
        toml::Value::from(name),
        toml::Value::from(may.to_vec()),
        groups.unwrap_or_default().trim_end(),
    )))
}
